import LinuxIO
import Testing

@Suite struct DeviceHoldersTests {
    private func mountPoint(_ line: Substring) -> String? {
        DeviceHolders.mountPoint(line, number: "43:0", path: "/dev/nbd0")
    }

    @Test func `a mount is found by the device's number`() {
        #expect(mountPoint("36 35 43:0 / /mnt rw,noatime shared:1 - ext4 /dev/nbd0 rw") == "/mnt")
        #expect(mountPoint("36 35 43:0 / /my\\040disk rw - xfs /dev/disk/by-id/x rw") == "/my disk")
    }

    @Test func `a file system of several devices is found by its source`() {
        #expect(mountPoint("36 35 0:45 / /mnt rw - btrfs /dev/nbd0 rw") == "/mnt")
    }

    @Test func `other mounts and broken lines are none`() {
        #expect(mountPoint("36 35 43:01 / /mnt rw - ext4 /dev/nbd1 rw") == nil)
        #expect(mountPoint("36 35 8:1 / /mnt rw - ext4 /dev/sda1 rw") == nil)
        #expect(mountPoint("36 35 43:0 /") == nil)
        #expect(mountPoint("") == nil)
    }

    @Test func `a device is known by its path only when it is written as the kernel does`() {
        #expect(KernelBlockDevice(path: "/dev/nbd12")?.index == 12)
        for path in ["/dev/nbd", "/dev/nbd01", "/dev/nbd1p1", "/dev/nbd-1", "nbd1", "/dev/nbd99999999999"] {
            #expect(KernelBlockDevice(path: path) == nil)
        }
    }
}
