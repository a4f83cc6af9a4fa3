import Daemon
import LinuxIO
import Model
import Testing

@Suite struct DeviceNoteTests {
    private let me = NodeID(0)!
    private let other = NodeID(1)!

    private var note: DeviceNote {
        DeviceNote(
            device: KernelBlockDevice(index: 3), attachment: .netlink, sockets: 4,
            generation: GenerationID(rawValue: 0xabc))
    }

    private func superblock(_ line: [(UInt64, NodeID)], primary: NodeID?) -> Superblock {
        var superblock = Superblock(
            node: me, instance: InstanceID(rawValue: 9), size: 1 << 20, logExtents: 4, zeroes: false)
        let generations = line.map { Generation(id: GenerationID(rawValue: $0.0), node: $0.1, began: 0) }
        superblock.current = generations[0]
        superblock.history = Array(generations.dropFirst())
        superblock.record.primary = primary
        return superblock
    }

    // The file.

    @Test func `a note comes back as it was written`() {
        var handedOver = note
        handedOver.isHandedOver = true
        for note in [note, handedOver] { #expect(DeviceNote(text: note.text) == note) }
    }

    @Test func `what is no whole note is none`() {
        let text = note.text
        for length in 0..<text.count - 1 { #expect(DeviceNote(text: String(text.prefix(length))) == nil) }
        let replacements = [
            ("/dev/nbd3", "/dev/sda"), ("/dev/nbd3", "/dev/nbd03"), ("/dev/nbd3", "/dev/nbd-1"), ("netlink", "magic"),
            ("sockets 4", "sockets 0"), ("sockets 4", "sockets 99"), ("generation ", "generation x"),
            ("handed-over no", "handed-over maybe"), ("sockets 4", "sockets 4\nsockets 4"),
            ("sockets 4", "sockets 4\ncolour red"),
        ]
        for (old, new) in replacements {
            #expect(DeviceNote(text: text.replacing(old, with: new)) == nil, "\(new)")
        }
    }

    // The line.

    @Test func `the line goes on in its own generation and in those that this node began after it`() {
        #expect(note.goesOn(in: superblock([(0xabc, me)], primary: me)))
        #expect(note.goesOn(in: superblock([(0xabc, other)], primary: nil)))
        #expect(note.goesOn(in: superblock([(3, me), (2, me), (0xabc, other), (1, other)], primary: nil)))
    }

    @Test func `the line is over when another node began a generation or is named primary`() {
        #expect(!note.goesOn(in: superblock([(2, other), (0xabc, me)], primary: nil)))
        #expect(!note.goesOn(in: superblock([(3, me), (2, other), (0xabc, me)], primary: me)))
        #expect(!note.goesOn(in: superblock([(0xabc, me)], primary: other)))
    }

    @Test func `a line that is not this copy's is over, and so is one that was ended`() {
        #expect(!note.goesOn(in: superblock([(3, me), (2, me)], primary: me)))
        var ended = note
        ended.generation = .none
        #expect(!ended.goesOn(in: superblock([(0xabc, me)], primary: me)))
        #expect(!ended.goesOn(in: superblock([(0, me)], primary: me)))
    }
}
