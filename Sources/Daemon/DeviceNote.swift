import Glibc
package import LinuxIO
package import Model

/// `V.device` in the runtime folder: what a daemon leaves there for the next one of this node, which finds the device again
/// by it. It goes when the device goes.
package struct DeviceNote: Equatable, Sendable {
    package var device: KernelBlockDevice
    package var attachment: KernelBlockDevice.Attachment
    package var sockets: Int
    /// The line of writes that the device belongs to: what it still holds may be written while that goes on. None: it
    /// has ended, and the device is only to be disconnected.
    package var generation: GenerationID
    /// The sockets stand between two requests and were given to the next daemon.
    package var isHandedOver = false

    package init(
        device: KernelBlockDevice, attachment: KernelBlockDevice.Attachment, sockets: Int, generation: GenerationID
    ) {
        self.device = device
        self.attachment = attachment
        self.sockets = sockets
        self.generation = generation
    }

    // The file.

    package var text: String {
        """
        device \(device.path)
        attachment \(attachment.rawValue)
        sockets \(sockets)
        generation \(generation)
        handed-over \(isHandedOver ? "yes" : "no")

        """
    }

    /// nil: not such a file.
    package init?(text: String) {
        var fields: [Substring: Substring] = [:]
        for line in text.split(separator: "\n") {
            let words = line.split(separator: " ")
            guard words.count == 2, fields.updateValue(words[1], forKey: words[0]) == nil else { return nil }
        }
        guard fields.count == 5, let path = fields["device"], let device = KernelBlockDevice(path: String(path)),
            let attachment = fields["attachment"].flatMap({ KernelBlockDevice.Attachment(rawValue: String($0)) }),
            let sockets = fields["sockets"].flatMap({ Int($0) }), 1...64 ~= sockets,
            let generation = fields["generation"].flatMap({ UInt64($0, radix: 16) }),
            let handedOver = fields["handed-over"], ["yes", "no"].contains(handedOver)
        else { return nil }
        self.init(
            device: device, attachment: attachment, sockets: sockets, generation: GenerationID(rawValue: generation))
        isHandedOver = handedOver == "yes"
    }

    package init?(path: String) {
        guard let text = RuntimeFile.contents(path) else { return nil }
        self.init(text: text)
    }

    /// Whole or not at all. The folder lies in memory: this waits for no disk.
    package func write(_ path: String) {
        let new = "\(path).new"
        guard RuntimeFile.write(text, to: new) else { return }
        rename(new, path)
    }
}

extension DeviceNote {
    /// Whether the line that the device belongs to goes on here: no other node was primary since. A primary that went on
    /// alone began a generation of its own before its first acknowledgement; one that had this node in step is named by
    /// the record here.
    package func goesOn(in superblock: Superblock) -> Bool {
        if let primary = superblock.record.primary, primary != superblock.node { return false }
        guard !generation.isNone else { return false }
        for known in [superblock.current] + superblock.history {
            if known.id == generation { return true }
            guard known.node == superblock.node else { return false }
        }
        return false
    }
}
