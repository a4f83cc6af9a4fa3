import Formats
import Model
import ReplicationCore

/// Crash points of `create`, over a disk of zeroes and over an older copy: what is found is the new copy, whole and
/// clean, or the older one exactly as it was, or a disk that is refused by name.
package enum CrashCreation {
    /// - Parameters:
    ///   - string: what the older copy went through; nil: the disk is all zeroes.
    ///   - flushes: planted: false leaves out all flushes but the last.
    ///   - subsets: most states of one moment.
    package static func run(
        over string: CrashString?, _ options: SimulationOptions, flushes: Bool = true, subsets: Int = 1024
    ) -> CrashReport {
        var report = CrashReport()
        report.strings = 1
        var script = CrashScript(options)
        do throws(CrashRunStuck) {
            for deed in string?.deeds ?? [] { try script.perform(deed) }
        } catch {
            report.findings.append(CrashFinding(rule: "script", text: error.description))
            return report
        }
        let cluster = script.scripted.cluster
        let node = cluster.nodes[0]
        let layout = MetadataBytes.layout(of: node, cluster.layout)
        let disk = SimulatedDisk(
            side: 0, copies: Copies(sectors: options.sectors), metadataBytes: Int(layout.deviceEnd))
        if string != nil { disk.landMetadata(offset: 0, bytes: node.disk.metadata) }
        let created = Superblock(
            node: node.id, instance: InstanceID(rawValue: 0xC0FFEE), size: options.size,
            logExtents: options.logExtents, zeroes: true)
        var run = Run(
            disk: disk, layout: layout, created: created,
            older: try? MetadataBytes.read(disk.metadata, layout).get(), subsets: subsets,
            random: SplitMix(seed: options.seed, subject: "creation"))
        run.perform(flushes: flushes, &report)
        return report
    }

    private struct Run {
        let disk: SimulatedDisk
        let layout: DiskLayout
        let created: Superblock
        let older: ReadMetadata?
        let subsets: Int
        var random: SplitMix

        mutating func perform(flushes: Bool, _ report: inout CrashReport) {
            var submitted: [Int] = []
            for (index, step) in layout.creation.enumerated() {
                if step == .flush {
                    guard flushes || index == layout.creation.count - 1 else { continue }
                    for slot in submitted {
                        guard case .metadata(let offset, let bytes, _) = disk.finish(slot).deed else { continue }
                        disk.landMetadata(offset: offset, bytes: bytes)
                    }
                    submitted.removeAll()
                }
                for write in MetadataBytes.writes(of: step, created, layout) {
                    let deed = SimulatedDisk.Deed.metadata(offset: write.offset, bytes: write.bytes, answer: .tick)
                    submitted.append(disk.submit(deed, fails: false))
                }
                report.moments += 1
                look(&report)
                guard report.findings.isEmpty else { return }
            }
            guard case .success(let read) = MetadataBytes.read(disk.metadata, layout), read.found.superblock == created
            else { return report.findings.append(CrashFinding(rule: "creation", text: "it is not there at the end")) }
        }

        private mutating func look(_ report: inout CrashReport) {
            let moment = CrashMoment(disk)
            for kept in moment.subsets(of: moment.metadata, limit: subsets, &random) {
                report.states += 1
                guard let text = judge(MetadataBytes.read(moment.metadata(keeping: kept), layout)) else { continue }
                let detail = "\(kept.count) of \(moment.metadata.count) sectors kept"
                return report.findings.append(CrashFinding(rule: "creation", text: text).with(detail))
            }
        }

        private func judge(_ result: Result<ReadMetadata, MetadataError>) -> String? {
            let read: ReadMetadata
            switch result {
            case .success(let opened): read = opened
            case .failure(.neverCreated), .failure(.damaged), .failure(.twoInstances): return nil
            case .failure(let error): return "refused without need: \(error)"
            }
            if read.found.superblock.instance == created.instance {
                let isMarked = read.bitmaps.contains { $0.words.contains { $0 != 0 } }
                let isHot = read.log.damaged || read.log.table.contains { $0 != nil }
                let isWhole = read.found.superblock == created && !isMarked && !isHot && read.log.spoiled == 0
                return isWhole ? nil : "the new copy opens before it is whole"
            }
            guard let older, read.found.superblock == older.found.superblock else {
                return "a copy opens that never was there"
            }
            let isSame =
                read.log.table == older.log.table && read.damagedPages == older.damagedPages
                && zip(read.bitmaps, older.bitmaps).allSatisfy { $0.words == $1.words }
            return isSame ? nil : "the older copy opens, but not as it was"
        }
    }
}
