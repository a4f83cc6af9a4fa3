import Foundation
import Testing

extension EndToEnd {
    /// An ordinary filesystem on a loop device on the volume: what was synced is there after a failover.
    @Suite struct FileSystemTests {
        /// The volume as a mounted ext4, through nbdfuse and a loop device; all of it is undone by `detach`.
        private final class MountedVolume {
            let mountpoint: String
            private let fuseFile: String
            private let server: ChildProcess
            let device: String
            private var isDetached = false

            init(_ node: TestNode, folder: String) throws {
                for means in ["/dev/fuse", "/dev/loop-control"] where !FileManager.default.fileExists(atPath: means) {
                    throw Trouble("\(means) is missing; this test needs it")
                }
                mountpoint = folder + "/mnt"
                fuseFile = folder + "/nbd"
                try FileManager.default.createDirectory(atPath: mountpoint, withIntermediateDirectories: true)
                try Data().write(to: URL(fileURLWithPath: fuseFile))
                server = try ChildProcess(
                    ["nbdfuse", fuseFile, node.uri], outputPath: folder + "/fuse.out", errorsPath: folder + "/fuse.err")
                let path = fuseFile
                try until("nbdfuse serves the volume", seconds: 10) {
                    var facts = stat()
                    return stat(path, &facts) == 0 && facts.st_size > 0
                }
                let loop = try Program.run("losetup", "-f", "--show", "--direct-io=on", fuseFile).expecting()
                device = loop.output.trimmingCharacters(in: .whitespacesAndNewlines)
            }

            func mount() throws { try Program.run("mount", device, mountpoint).expecting() }
            func unmount() throws { try Program.run("umount", mountpoint).expecting() }

            /// Lazy at each step: after a failover the device beneath is dead.
            func detach() {
                guard !isDetached else { return }
                isDetached = true
                _ = try? Program.run("umount", "-l", mountpoint, seconds: 20)
                _ = try? Program.run("losetup", "-d", device, seconds: 20)
                _ = try? Program.run("umount", "-l", fuseFile, seconds: 20)
                if eventually(seconds: 3, { server.exitCode }) == nil { server.end() }
            }
        }

        /// Writes a file and syncs it; false when the device is gone.
        private func writeSynced(_ path: String, _ content: [UInt8]) -> Bool {
            let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o644)
            guard descriptor >= 0 else { return false }
            defer { close(descriptor) }
            let written = content.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
            return written == content.count && fsync(descriptor) == 0
        }

        private func content(_ index: Int) -> [UInt8] { NumberedBlock.content(write: UInt64(index + 1), block: index) }

        @Test func `files that were synced before the primary died are on its successor, and the filesystem is clean`()
            throws
        {
            try withCluster(.init(size: 128 * mebibyte)) { cluster in
                try cluster.startWithPrimary()
                let first = try MountedVolume(cluster.alpha, folder: cluster.folder + "/first")
                cluster.atEnd { first.detach() }
                try Program.run("mke2fs", "-q", "-t", "ext4", first.device).expecting()
                try first.mount()
                var synced = 0
                while synced < 200, writeSynced("\(first.mountpoint)/file-\(synced)", content(synced)) { synced += 1 }
                #expect(synced == 200)
                cluster.alpha.killDaemon()
                try cluster.bravo.promote()
                first.detach()

                let second = try MountedVolume(cluster.bravo, folder: cluster.folder + "/second")
                cluster.atEnd { second.detach() }
                try second.mount()  // replays the journal
                for index in 0..<synced {
                    let found = FileManager.default.contents(atPath: "\(second.mountpoint)/file-\(index)")
                    #expect(found.map { Array($0) } == content(index), "file-\(index)")
                }
                #expect(writeSynced("\(second.mountpoint)/after", content(1000)))
                try second.unmount()
                try Program.run("e2fsck", "-f", "-n", second.device).expecting()
                second.detach()
                try until("no client") { try cluster.bravo.status().clients == 0 }
                try cluster.alpha.start()
                try cluster.alpha.wait(for: "in-sync")
            }
        }
    }
}
