import Daemon
import Formats
import Glibc
import Model

/// What happens in the demo, act by act, told a line each.
struct DemoStory {
    private let cluster: DemoCluster
    private let isTold: Bool
    private let began = Now.nanoseconds
    private var checks: [(what: String, held: Bool)] = []
    private var files: DemoFiles
    private var writer: DemoWriter
    private var failoverWait: UInt64 = 0
    private var lostWrites = 0
    private var resyncedBytes: UInt64 = 0

    private let coloured = Shade.isWanted(on: 1)
    private var volume: String { DemoCluster.volume }
    private var alpha: DemoNode { cluster.alpha }
    private var bravo: DemoNode { cluster.bravo }

    init(cluster: DemoCluster, isTold: Bool) {
        self.cluster = cluster
        self.isTold = isTold
        files = DemoFiles(in: cluster.folder)
        let first = DemoCluster.fileSystemSize / DemoWriter.blockSize
        // The last blocks are for the split brain.
        writer = DemoWriter(
            endpoints: [.socket(cluster.alpha.socket), .socket(cluster.bravo.socket)], export: DemoCluster.volume,
            blocks: first..<DemoCluster.size / DemoWriter.blockSize - 256)
    }

    var isGood: Bool { checks.allSatisfy(\.held) }

    mutating func play() throws(CommandFailure) {
        if isTold { Output.line("hablk demo: two nodes on loopback, in \(cluster.folder)\n") }
        try build()
        try failOver()
        try bringBack()
        try splitBrain()
        try heal()
    }

    private mutating func build() throws(CommandFailure) {
        try cluster.create()
        let size = ConfigurationScalar.describe(bytes: DemoCluster.size)
        let log = "activity log of \(DemoCluster.activityLog) extents"
        tell("alpha and bravo created, started, connected", "\(size), sync, quorum off, \(log)")
        try alpha.must("promote", volume)
        tell("alpha promoted", "serves NBD at alpha/demo.nbd")
        try files.build()
        try files.copyIn(alpha)
        tell("ext4 built by mke2fs, copied in by nbdcopy", "\(files.count) files of this machine")
    }

    /// The primary is killed under load and the other takes over.
    private mutating func failOver() throws(CommandFailure) {
        try write(for: 1_500_000_000)
        let before = writer.acknowledgedCount
        tell("a client writes, eight 4 KiB blocks at a time", "\(before) writes acknowledged")
        alpha.kill()
        tell("alpha killed with kill -9, the client still writing", "")
        let promotion = try bravo.begin("promote", volume, "--timeout", "20s")
        var code: Int32?
        let deadline = Now.nanoseconds + 30_000_000_000
        while code == nil || code == 0 && writer.acknowledgedCount < before + 200 {
            writer.step()
            if code == nil { code = promotion.poll() }
            try Interruption.check()
            if Now.nanoseconds > deadline { break }
        }
        if code == nil {
            promotion.send(SIGKILL)
            _ = promotion.wait()
        }
        failoverWait = writer.longestWait
        check(
            "bravo promoted; the client went on by itself", code == 0 && writer.acknowledgedCount > before,
            "it waited \(Self.seconds(failoverWait))")
        try write(for: 500_000_000)
        check(
            "the client's last writes and a flush", writer.finish(), "\(writer.acknowledgedCount) acknowledged in all")
        do {
            let client = try bravo.client()
            lostWrites = try writer.countLost(client)
            client.disconnect()
        } catch {
            throw .failed("demo", "the writes could not be read back", remedy: "look into \(bravo.log)")
        }
        check("every acknowledged write read back from bravo", lostWrites == 0, "\(lostWrites) lost")
        check(
            "ext4 on bravo: e2fsck -fn clean, files as they were", try files.verify(bravo),
            "\(files.count) files compared")
    }

    /// The old primary returns and is filled with what it lacks.
    private mutating func bringBack() throws(CommandFailure) {
        try alpha.start()
        let (code, _) = try alpha.hablk("wait", volume, "--for", "in-sync", "--timeout", "20s")
        resyncedBytes = try alpha.status().peers.first?.lastResync?.bytes ?? 0
        let copied = ConfigurationScalar.describe(bytes: resyncedBytes)
        let whole = ConfigurationScalar.describe(bytes: DemoCluster.size)
        // The log's extents, and what was written meanwhile: all of it behind the file system.
        let most = UInt64(DemoCluster.activityLog) * Geometry.extentSize + DemoCluster.size - DemoCluster.fileSystemSize
        check(
            "alpha back as secondary, resynced", code == 0 && resyncedBytes <= most,
            "\(copied) of \(whole) copied, by its activity log")
        check("both copies equal byte for byte", try cluster.copiesAreEqual(), "")
    }

    /// Both are promoted while apart, and each writes what the other lacks.
    private mutating func splitBrain() throws(CommandFailure) {
        _ = try alpha.hablk("disconnect", volume, "--force")
        _ = try bravo.hablk("disconnect", volume, "--force")
        try mark(bravo, with: 1_000_001, at: 1)
        var how = "promoted while apart"
        if try alpha.hablk("promote", volume, "--timeout", "2s").code != 0 {
            try alpha.must("promote", volume, "--force", "--timeout", "5s")
            how = "promoted by --force"
        }
        try mark(alpha, with: 1_000_002, at: 2)
        tell("cut apart by hand; alpha primary too, both write", how)
        let first = try alpha.hablk("connect", volume, "--timeout", "5s").code
        let second = try bravo.hablk("connect", volume, "--timeout", "5s").code
        var reasons: [String?] = []
        let deadline = Now.nanoseconds + 5_000_000_000
        repeat {
            reasons = [try alpha.status().peers.first?.reason, try bravo.status().peers.first?.reason]
            if reasons.allSatisfy({ $0 == "split-brain" }) { break }
            Now.sleep(milliseconds: 50)
        } while Now.nanoseconds < deadline
        check(
            "connected again: split brain, named by both, nothing moved",
            reasons.allSatisfy { $0 == "split-brain" } && [first, second].contains(3),
            "exit codes \(first) and \(second)")
    }

    private mutating func heal() throws(CommandFailure) {
        try alpha.must("demote", volume, "--timeout", "10s")
        let (code, _) = try alpha.hablk("connect", volume, "--discard-my-data", "--timeout", "10s")
        let (synced, _) = try alpha.hablk("wait", volume, "--for", "in-sync", "--timeout", "20s")
        let copied = try alpha.status().peers.first?.lastResync?.bytes ?? 0
        check(
            "healed by alpha's connect --discard-my-data", code == 0 && synced == 0,
            "\(ConfigurationScalar.describe(bytes: copied)) copied")
        let isEqual = try cluster.copiesAreEqual()
        let isGone = try !holds(1_000_002, at: 2)
        let isKept = try holds(1_000_001, at: 1)
        check("copies equal; bravo's write is there, alpha's is gone", isEqual && isGone && isKept, "")
    }

    private mutating func write(for span: UInt64) throws(CommandFailure) {
        let end = Now.nanoseconds + span
        while Now.nanoseconds < end {
            writer.step()
            try Interruption.check()
        }
    }

    /// A block at the end of the volume, `place` blocks before it.
    private static func block(_ place: UInt64) -> UInt64 { DemoCluster.size / DemoWriter.blockSize - place }

    private func mark(_ node: DemoNode, with number: UInt64, at place: UInt64) throws(CommandFailure) {
        let block = Self.block(place)
        let client = try node.client()
        do {
            try client.write(offset: block * DemoWriter.blockSize, DemoWriter.content(block, number))
            try client.flush()
        } catch {
            throw .failed("demo", "\(node.name): NBD: \(error.message)", remedy: "look into \(node.log)")
        }
        client.disconnect()
    }

    /// Whether the primary's block holds that write.
    private func holds(_ number: UInt64, at place: UInt64) throws(CommandFailure) -> Bool {
        let block = Self.block(place)
        let client = try bravo.client()
        defer { client.disconnect() }
        do {
            let length = UInt32(DemoWriter.blockSize)
            return try client.read(offset: block * DemoWriter.blockSize, length: length)
                == DemoWriter.content(block, number)
        } catch {
            throw .failed("demo", "bravo: NBD: \(error.message)", remedy: "look into \(bravo.log)")
        }
    }
}

/// How it is told.
extension DemoStory {
    private mutating func tell(_ what: String, _ figure: String) { line("  ", .plain, what, figure) }

    private mutating func check(_ what: String, _ held: Bool, _ figure: String) {
        checks.append((what, held))
        line(held ? "ok" : "NO", held ? .good : .bad, what, figure)
    }

    private func line(_ mark: String, _ shade: Shade, _ what: String, _ figure: String) {
        guard isTold else { return }
        let tenths = String((Now.nanoseconds - began) / 100_000_000)
        let padded = String(repeating: "0", count: max(0, 2 - tenths.count)) + tenths
        let time = "\(padded.dropLast()).\(padded.suffix(1))s"
        let margin = String(repeating: " ", count: max(0, 6 - time.count))
        let gap = figure.isEmpty ? "" : String(repeating: " ", count: max(1, 60 - what.count))
        Output.line("\(margin)\(time)  \(shade.paint(mark, coloured))  \(what)\(gap)\(figure)")
    }

    private static func seconds(_ nanoseconds: UInt64) -> String {
        JSONValue.number(Double(nanoseconds) / 1e9).text + "s"
    }

    func tellResult() {
        Output.line(
            """

            failover wait:             \(Self.seconds(failoverWait))
            acknowledged writes:       \(writer.acknowledgedCount)
            acknowledged writes lost:  \(lostWrites)
            resynced:                  \(resyncedBytes) of \(DemoCluster.size) bytes
            """)
    }

    func tellHowToPlay() {
        let settings = { (node: DemoNode) in
            node.variables.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: " ")
        }
        Output.line(
            """

            Both nodes run on. To speak for one of them:
              export \(settings(alpha))
              export \(settings(bravo))
            Then: hablk status demo; hablk events demo; nbdinfo '\(DemoFiles.address(bravo))'
            To end it: `hablk down demo` as each of them, and rm -r \(cluster.folder)
            """)
    }

    var json: JSONValue {
        .object([
            .init("version", .integer(1)), .init("result", .string("done")),
            .init("directory", .string(cluster.folder)),
            .init("failover-seconds", .number(Double(failoverWait) / 1e9)),
            .init("acknowledged-writes", .integer(Int64(writer.acknowledgedCount))),
            .init("lost-writes", .integer(Int64(lostWrites))), .init("resynced-bytes", .unsigned(resyncedBytes)),
            .init("volume-bytes", .unsigned(DemoCluster.size)),
            .init(
                "checks",
                .array(
                    checks.map { .object([.init("what", .string($0.what)), .init("held", .bool($0.held))]) })),
        ])
    }
}
