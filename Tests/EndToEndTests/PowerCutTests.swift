import Foundation
import Testing

extension EndToEnd {
    /// The power goes in mid-load. What no flush covers is lost or torn, in sectors of 512 bytes, in data and metadata
    /// alike: acknowledged writes are there as promised, and the copies become equal by themselves.
    @Suite struct PowerCutTests {
        /// How many crash images are tried for a primary, half as many for the rest; Tools/soak takes hundreds.
        static let images = Int(ProcessInfo.processInfo.environment["HABLK_POWER_CUTS"] ?? "") ?? 20
        /// Which ones.
        static let seed = UInt64(ProcessInfo.processInfo.environment["HABLK_POWER_CUT_SEED"] ?? "") ?? 1
        private static let blocks = 1024

        /// Sixteen extents; with fewer slots in the activity log there is a transaction at any time.
        private static func options(slots: Int) -> TestCluster.Options {
            .init(size: 64 * mebibyte, settings: ["activity-log": "\(slots)", "epoch": slots < 16 ? "256KiB" : "8MiB"])
        }

        private static func load(on node: TestNode, _ timeline: PowerTimeline? = nil) -> LoadClient {
            LoadClient(node, blocks: blocks, spacing: 65536, seed: seed, timeline: timeline)
        }

        /// Records `story` on both nodes, then plays `images` moments of it to their end as if the power had gone.
        /// `moments`: after how many entries of the timeline, and whose power.
        private func tryMoments(
            slots: Int, images: Int, promised: (BlockHistory) -> BlockHistory,
            story: (TestCluster, LoadClient) throws -> Void,
            moments: (PowerTimeline, inout SeededGenerator) -> [(count: Int, victim: PowerStage.Victim, loss: UInt64)],
            judge: (TestCluster, PowerStage.Victim) throws -> Void = { _, _ in }
        ) throws {
            try withCluster(Self.options(slots: slots), comparing: false) { cluster in
                try cluster.create()
                let stage = try PowerStage(cluster)
                for node in cluster.nodes { try node.start() }
                for node in cluster.nodes { try node.wait(for: "in-sync") }
                let load = Self.load(on: cluster.alpha, stage.timeline)
                try story(cluster, load)
                load.stop()
                try stage.end()
                var random = SeededGenerator(seed: Self.seed)
                let chosen = moments(stage.timeline, &random)
                #expect(chosen.count >= images, "\(chosen.count) moments")
                var (lost, taken) = (0, 0)
                for (number, moment) in chosen.prefix(images).enumerated() {
                    do {
                        let histories = stage.timeline.histories(blocks: Self.blocks, upTo: moment.count)
                        lost += try stage.restore(moment.count, cutting: moment.victim, seed: moment.loss)
                        for node in cluster.nodes where moment.victim.includes(node) {
                            taken += try load.wrongBlocks(histories, inImage: node.diskPath)
                        }
                        for node in cluster.nodes { try node.launch() }
                        for node in cluster.nodes { try node.wait(for: "in-sync", seconds: 30) }
                        try judge(cluster, moment.victim)
                        var left = histories.map(promised)
                        try cluster.nodes[number % 2].promote()
                        try load.verify(&left, on: cluster.nodes[number % 2])
                        try cluster.expectEqualCopies()
                    } catch {
                        let what = "\(moment.victim) cut after \(moment.count) entries"
                        throw Trouble("seed \(Self.seed), image \(number), \(what): \(error)")
                    }
                }
                // Otherwise nothing was tried. With a small log nearly every write comes with a flush.
                #expect(lost > 0, "no cut took a sector")
                #expect(taken > 0 || slots < 16, "no cut took an acknowledged write from a copy")
            }
        }

        private func tryLoad(
            _ victim: PowerStage.Victim, slots: Int, images: Int, promised: (BlockHistory) -> BlockHistory
        ) throws {
            try tryMoments(
                slots: slots, images: images, promised: promised,
                story: { cluster, load in
                    try cluster.alpha.promote()
                    try withLoad(load) { try load.makeProgress(2000, seconds: 60) }
                },
                moments: { timeline, random in
                    let sand = timeline.metadataBuiltOnSand
                    #expect(sand.isEmpty, "\(sand.count) metadata writes were not durable before the next")
                    let began = timeline.entries.firstIndex { if case .client = $0 { true } else { false } } ?? 0
                    // Not the first few: a log without an extent has nothing to be cautious about.
                    return (0..<images).map { _ in
                        (Int.random(in: began + 100...timeline.count, using: &random), victim, random.next())
                    }
                },
                judge: { cluster, victim in
                    for node in cluster.nodes {
                        let wasSuspect = node.lastLog.contains("may have lost its cache")
                        #expect(wasSuspect == victim.includes(node), "\(node.name) suspect: \(wasSuspect)")
                        let isSuspect = try node.status().suspect
                        #expect(!isSuspect, "\(node.name) is suspect although a peer vouched")
                    }
                })
        }

        @Test func `a primary's power cut in mid-load loses nothing that was acknowledged`() throws {
            try tryLoad(.alpha, slots: 16, images: Self.images) { $0 }
        }

        @Test func `a secondary's power cut beside its primary's death loses nothing that was acknowledged`() throws {
            try tryLoad(.bravo, slots: 8, images: Self.images / 2) { $0 }
        }

        @Test func `when both lose their power at once everything flushed is there, on both`() throws {
            try tryLoad(.both, slots: 16, images: Self.images / 2) { $0.afterPowerLoss }
        }

        @Test func `metadata torn at any moment of a pair's life is noticed and healed`() throws {
            try tryMoments(
                slots: 8, images: Self.images / 2, promised: \.afterPowerLoss,
                story: { cluster, load in
                    try cluster.alpha.promote()
                    try withLoad(load) {
                        // The peer is lost, extents leave the log with marks, a resync begins and ends.
                        cluster.bravo.killDaemon()
                        try load.makeProgress(300, seconds: 30)
                        try cluster.bravo.start()
                        for node in cluster.nodes { try node.wait(for: "in-sync") }
                    }
                    load.stop()
                    try cluster.alpha.demote()
                    try cluster.bravo.promote()
                    load.redirect(to: cluster.bravo)
                    try withLoad(load) {}
                    load.stop()
                    try cluster.bravo.demote()
                    try cluster.alpha.down()
                    try cluster.alpha.start()
                    try cluster.alpha.wait(for: "in-sync")
                },
                moments: { Self.tornMetadata(in: $0, &$1) })
        }

        /// After each metadata write that is in a disk's cache, the kinds and the disks in turn.
        private static func tornMetadata(
            in timeline: PowerTimeline, _ random: inout SeededGenerator
        ) -> [(count: Int, victim: PowerStage.Victim, loss: UInt64)] {
            var kinds: [String: [(count: Int, victim: PowerStage.Victim, loss: UInt64)]] = [:]
            for (index, entry) in timeline.entries.enumerated() {
                guard case .write(let disk, _, let bytes, _) = entry, bytes.starts(with: "HABLK".utf8)
                else { continue }
                let kind = "\(disk)" + String(decoding: bytes[..<8], as: UTF8.self)
                let victim: PowerStage.Victim = random.next() % 4 == 0 ? .both : disk == 0 ? .alpha : .bravo
                kinds[kind, default: []].append((index + 1, victim, random.next()))
            }
            #expect(kinds.count == 6, "not every kind of metadata was written: \(kinds.keys.sorted())")
            var turns = kinds.sorted { $0.key < $1.key }.map { $0.value.shuffled(using: &random)[...] }
            var chosen: [(count: Int, victim: PowerStage.Victim, loss: UInt64)] = []
            while turns.contains(where: { !$0.isEmpty }) {
                for index in turns.indices { if let next = turns[index].popFirst() { chosen.append(next) } }
            }
            return chosen
        }
    }
}
