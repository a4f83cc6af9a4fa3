import Foundation
import Testing

extension EndToEnd {
    /// `quorum: off` with a fence command: nothing goes on without a peer before the command says that it is out of the way.
    @Suite struct FencingTests {
        /// A command that notes each call and ends as a file says: with an exit code, or with `wait` not yet.
        private struct Command {
            let folder: String
            var path: String { folder + "/fence" }

            init(_ cluster: TestCluster, code: String) throws {
                folder = cluster.folder
                let script = """
                    #!/bin/sh
                    echo "$HABLK_NODE $1 $2 $HABLK_PEER $DRBD_RESOURCE" >>\(folder)/calls
                    while [ "$(cat \(folder)/code)" = wait ]; do sleep 0.05; done
                    exit "$(cat \(folder)/code)"

                    """
                try script.write(toFile: folder + "/fence", atomically: true, encoding: .utf8)
                chmod(folder + "/fence", 0o755)
                try say(code)
            }

            func say(_ code: String) throws {
                try code.write(toFile: folder + "/code", atomically: true, encoding: .utf8)
            }

            var calls: [String] { readText(folder + "/calls").split(separator: "\n").map { String($0) } }
        }

        private func withFencing(
            _ kind: String, code: String, comparing: Bool = true, _ body: (TestCluster, Command) throws -> Void
        ) throws {
            var command: Command?
            var options = TestCluster.Options()
            options.settings = ["fencing": kind]
            options.prepareDisks = { cluster in command = try Command(cluster, code: code) }
            options.extraSettings = { ["fence-command": $0.folder + "/fence"] }
            try withCluster(options, comparing: comparing) { cluster in
                try cluster.startWithPrimary()
                try body(cluster, try #require(command))
            }
        }

        @Test func `with stonith writers wait until the peer is fenced, and then go on`() throws {
            try withFencing("stonith", code: "wait") { cluster, command in
                let load = LoadClient(cluster.alpha)
                try withLoad(load) {
                    cluster.bravo.killDaemon()
                    try until("the command is called", seconds: 10) { !command.calls.isEmpty }
                    #expect(command.calls == ["alpha r0 bravo bravo r0"])
                    pause(0.5)
                    let before = load.report.acknowledgedWrites
                    pause(1)
                    #expect(load.report.acknowledgedWrites == before, "acknowledged before the peer was fenced")
                    #expect(try cluster.alpha.status().suspended.contains("fencing"))
                    try command.say("7")
                    try load.makeProgress()
                    #expect(try cluster.alpha.status().suspended == [])
                    try cluster.bravo.start()
                    try cluster.bravo.wait(for: "in-sync")
                }
                #expect(load.report.connections == 1 && command.calls.count == 1)
                try load.verify(on: cluster.alpha)
            }
        }

        @Test func `a peer that is back first makes the command's answer void`() throws {
            try withFencing("stonith", code: "wait") { cluster, command in
                let load = LoadClient(cluster.alpha)
                try withLoad(load) {
                    cluster.link.cut()
                    try until("the command is called", seconds: 10) { !command.calls.isEmpty }
                    cluster.link.pass()
                    try cluster.alpha.wait(for: "in-sync")
                    try load.makeProgress()
                    try command.say("7")
                    try until("the late answer is ignored", seconds: 10) {
                        cluster.alpha.log.contains("a late answer is ignored")
                    }
                    try load.makeProgress()
                }
                #expect(try cluster.alpha.status().inStep == ["alpha", "bravo"])
                #expect(load.report.connections == 1)
                try load.verify(on: cluster.bravo.status().role == "primary" ? cluster.bravo : cluster.alpha)
            }
        }

        @Test func `a failing command keeps writers waiting, and a promotion refused`() throws {
            try withFencing("stonith", code: "1") { cluster, command in
                let load = LoadClient(cluster.alpha)
                try withLoad(load) {
                    cluster.link.cut()
                    try until("the command is called", seconds: 10) { !command.calls.isEmpty }
                    pause(1)
                    #expect(try cluster.alpha.status().suspended.contains("fencing"))
                    #expect(try cluster.alpha.status().inStep == ["alpha", "bravo"])
                    let refused = try cluster.bravo.attempt("promote", "--timeout", "5s")
                    #expect(refused.code == 3 && refused.errors.contains("(fencing-failed)"), "\(refused)")
                    #expect(refused.errors.contains("exit code 1"), "\(refused)")
                    cluster.link.pass()
                    try cluster.alpha.wait(for: "in-sync")
                    try load.makeProgress()
                }
                #expect(load.report.connections == 1)
                try load.verify(on: cluster.alpha)
            }
        }

        @Test func `writers that wait for a failed fencing go on by the word that the peer is off`() throws {
            try withFencing("stonith", code: "1") { cluster, command in
                let load = LoadClient(cluster.alpha)
                try withLoad(load) {
                    cluster.bravo.killDaemon()
                    try until("the command failed", seconds: 10) {
                        cluster.alpha.log.contains("failed with exit code 1")
                    }
                    #expect(cluster.alpha.log.contains("hablk promote r0 --peer-fenced bravo"), "no remedy is said")
                    #expect(try cluster.alpha.status().suspended.contains("fencing"))
                    let before = load.report.acknowledgedWrites
                    pause(1)
                    #expect(load.report.acknowledgedWrites == before, "acknowledged before the peer was fenced")
                    let answer = try cluster.alpha.hablk("promote", "--peer-fenced", "bravo")
                    #expect(answer.output.contains("bravo is taken for fenced"), "\(answer)")
                    try load.makeProgress()
                    try cluster.bravo.start()
                    try cluster.bravo.wait(for: "in-sync")
                }
                #expect(load.report.connections == 1)
                try load.verify(on: cluster.alpha)
            }
        }

        @Test func `a promotion without its peer waits for the command, or for the word that the peer is off`() throws {
            try withFencing("stonith", code: "wait") { cluster, command in
                let load = LoadClient(cluster.alpha)
                try withLoad(load) {}
                load.stop()
                cluster.alpha.killDaemon()
                let late = try cluster.bravo.attempt("promote", "--timeout", "2s")
                #expect(late.code == 2 && late.errors.contains("(fencing)"), "\(late)")
                #expect(try cluster.bravo.status().role == "secondary")
                try command.say("4")
                try cluster.bravo.promote()
                try load.verify(on: cluster.bravo)
                #expect(command.calls == ["bravo r0 alpha alpha r0"])
                try cluster.alpha.start()
                try cluster.alpha.wait(for: "in-sync")
                cluster.bravo.killDaemon()
                try command.say("1")
                try cluster.alpha.promote("--peer-fenced", "bravo")
                try load.verify(on: cluster.alpha)
                try cluster.bravo.start()
            }
        }

        @Test func `with resource the command is called and writers go on meanwhile`() throws {
            try withFencing("resource", code: "wait") { cluster, command in
                let load = LoadClient(cluster.alpha)
                try withLoad(load) {
                    cluster.bravo.killDaemon()
                    try load.makeProgress()
                    try until("the command is called", seconds: 10) { !command.calls.isEmpty }
                    try load.makeProgress()
                    try command.say("4")
                    try cluster.bravo.start()
                    try cluster.bravo.wait(for: "in-sync")
                }
                #expect(load.report.connections == 1)
                try load.verify(on: cluster.alpha)
            }
        }
    }
}
