import Foundation
import Testing

extension EndToEnd {
    /// `promote --force` where a majority decides: for what is lost for ever, and never over a primary that lives.
    @Suite struct ForcedMajorityTests {
        @Test func `what is on a disk is made the volume by force, and fills the other copy`() throws {
            try withQuorumCluster(.init(isBlank: true)) { cluster in
                try cluster.startInSync()
                let refused = try cluster.alpha.attempt("promote", "--timeout", "2s")
                #expect(refused.code == 3 && refused.errors.contains("(no-good-copy)"), "\(refused)")
                try cluster.alpha.promote("--force")
                let load = LoadClient(cluster.alpha)
                try withLoad(load) { try cluster.bravo.wait(for: "in-sync") }
                try load.verify(on: cluster.alpha)
                #expect(try cluster.alpha.status().votes?.present.count == 3)
            }
        }

        @Test func `a survivor without a majority serves by force, and the others' return is a split brain that heals`()
            throws
        {
            try withQuorumCluster { cluster in
                try cluster.startWithPrimary()
                let witness = try #require(cluster.witness)
                let load = LoadClient(cluster.alpha)
                try withLoad(load) {
                    cluster.alpha.killDaemon()
                    witness.killDaemon()
                    let refused = try cluster.bravo.attempt("promote", "--timeout", "2s")
                    #expect(refused.code == 2 && refused.errors.contains("(no-quorum)"), "\(refused)")
                    try cluster.bravo.promote("--force")
                    load.redirect(to: cluster.bravo)
                    try load.makeProgress()
                }
                try load.verify(on: cluster.bravo)
                try cluster.alpha.start()
                try until("the split brain is told", seconds: 15) {
                    try cluster.alpha.status().reason == "split-brain"
                }
                try cluster.alpha.hablk("connect", "--peer", "bravo", "--discard-my-data")
                try cluster.alpha.wait(for: "in-sync --peer bravo")
                try until("it votes again", seconds: 10) {
                    try cluster.bravo.status().votes?.present == ["alpha", "bravo"]
                }
                // The witness follows the former line until its memory is deleted. It is no copy that anybody waits for.
                try witness.start()
                try until("it is told why the witness does not vote", seconds: 10) {
                    try cluster.bravo.hablk("status").output.contains("r0, witness: other-line: ")
                }
                try cluster.bravo.wait(for: "in-sync")
                #expect(try cluster.bravo.status().votes?.present == ["alpha", "bravo"])
                witness.killDaemon()
                try FileManager.default.removeItem(atPath: witness.folder + "/state/r0.witness")
                try witness.start()
                try until("three votes", seconds: 10) { try cluster.bravo.status().votes?.present.count == 3 }
                try load.verify(on: cluster.bravo)
            }
        }

        @Test func `a primary that stands still for a moment is not overruled by force`() throws {
            try withQuorumCluster(.init(settings: ["lease": "4s", "ping-timeout": "2s"])) { cluster in
                try cluster.startWithPrimary()
                cluster.alpha.freeze()
                let refused = try cluster.bravo.attempt("promote", "--force", "--timeout", "1s")
                cluster.alpha.thaw()
                #expect(refused.code == 2 || refused.code == 3, "\(refused)")
                try cluster.alpha.wait(for: "primary,in-sync")
                #expect(try cluster.bravo.status().reason == nil)
            }
        }
    }
}
