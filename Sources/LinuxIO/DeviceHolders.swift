import CLinuxURing
import Glibc

/// One who uses a block device.
struct DeviceHolder: Equatable, CustomStringConvertible {
    enum Kind: Equatable { case mount, swap, device, process(Int) }
    let kind: Kind
    let description: String

    /// udev and what it starts look into every new device, for a moment.
    var mayPass: Bool {
        guard case .process(let number) = kind else { return false }
        let name = TextFile.firstLine("/proc/\(number)/comm") ?? ""
        return ["udev", "blkid", "hablk", "lvm", "multipath", "mdadm"].contains { name.contains($0) }
    }
}

/// Finds who uses a device or one of its partitions: mounts of every mount namespace, swap, devices on top of it, and
/// processes that have it open. Root sees all; what another container hides, only the exclusive open finds.
package enum DeviceHolders {
    static func of(_ device: KernelBlockDevice) -> [DeviceHolder] {
        var nodes: [(path: String, number: String)] = []
        for name in [""] + TextFile.names(in: device.folder).filter({ $0.hasPrefix("nbd\(device.index)p") }).sorted() {
            let folder = name.isEmpty ? device.folder : "\(device.folder)/\(name)"
            guard let number = TextFile.firstLine("\(folder)/dev") else { continue }
            nodes.append((name.isEmpty ? device.path : "/dev/\(name)", number))
        }
        var holders = devices(above: device)
        for node in nodes {
            holders += mounts(of: node.path, number: node.number)
            if isSwap(node.path) {
                holders.append(DeviceHolder(kind: .swap, description: "\(node.path) is swap space"))
            }
        }
        holders += processes(nodes.map(\.number))
        return holders
    }

    private static func devices(above device: KernelBlockDevice) -> [DeviceHolder] {
        let partitions = TextFile.names(in: device.folder).filter { $0.hasPrefix("nbd\(device.index)p") }
        let folders = [device.folder] + partitions.map { "\(device.folder)/\($0)" }
        return folders.flatMap { TextFile.names(in: "\($0)/holders") }.map {
            DeviceHolder(kind: .device, description: "/dev/\($0) lies on it")
        }
    }

    /// - Parameter number: MAJOR:MINOR.
    private static func mounts(of path: String, number: String) -> [DeviceHolder] {
        var namespaces: Set<String> = []
        var found: [DeviceHolder] = []
        for process in processNumbers() {
            guard let namespace = TextFile.link("/proc/\(process)/ns/mnt"), namespaces.insert(namespace).inserted else {
                continue
            }
            for line in TextFile.contents("/proc/\(process)/mountinfo").split(separator: "\n") {
                guard let mount = mountPoint(line, number: number, path: path) else { continue }
                let holder = DeviceHolder(kind: .mount, description: "\(path) is mounted on \(mount)")
                if !found.contains(holder) { found.append(holder) }
            }
        }
        return found
    }

    /// Of a line of mountinfo that is about the device: `36 35 98:0 / /mnt rw … - ext4 /dev/nbd0 rw`. A file system of
    /// several devices has a number of its own there, and names one of them behind the dash.
    package static func mountPoint(_ line: Substring, number: String, path: String) -> String? {
        let fields = line.split(separator: " ")
        guard fields.count > 6 else { return nil }
        let source = fields.firstIndex(of: "-").flatMap { $0 + 2 < fields.count ? fields[$0 + 2] : nil }
        guard fields[2] == number || source.map(String.init) == path else { return nil }
        return String(fields[4].replacing("\\040", with: " "))
    }

    private static func isSwap(_ path: String) -> Bool {
        TextFile.contents("/proc/swaps").split(separator: "\n").contains { $0.hasPrefix("\(path) ") }
    }

    private static func processes(_ numbers: [String]) -> [DeviceHolder] {
        let own = Int(getpid())
        return processNumbers().filter { $0 != own }.compactMap { process in
            let opened = TextFile.names(in: "/proc/\(process)/fd").contains { name in
                var major: UInt32 = 0
                var minor: UInt32 = 0
                let path = "/proc/\(process)/fd/\(name)"
                return hablk_is_block_device(path, &major, &minor) && numbers.contains("\(major):\(minor)")
            }
            guard opened else { return nil }
            let name = TextFile.firstLine("/proc/\(process)/comm") ?? "a process"
            return DeviceHolder(kind: .process(process), description: "\(name) (process \(process)) has it open")
        }
    }

    private static func processNumbers() -> [Int] { TextFile.names(in: "/proc").compactMap { Int($0) }.sorted() }
}
