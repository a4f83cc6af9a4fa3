import LinuxIO
import Testing

@Suite struct NBDNetlinkTests {
    /// Hexadecimal digits; blanks do not count.
    private func bytes(_ hex: String) -> [UInt8] {
        let digits = hex.compactMap { $0.hexDigitValue.map(UInt8.init) }
        return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
    }

    // The golden bytes come from a client in another language that a kernel obeyed.

    @Test func `connect says all that a device is, and its sockets nested`() {
        let device = NBDNetlinkRequest.Connection(
            index: 5, size: 1 << 30, blockSize: 4096, flags: 0x16d, timeout: 5, deadConnectionTimeout: 3600,
            backend: "hablk:r0", sockets: [7, 9])
        let golden = bytes(
            """
            84000000 21000500 02000000 00000000 01010000 08000100 05000000 0c000200 00000040 00000000
            0c000300 00100000 00000000 0c000500 6d010000 00000000 0c000400 05000000 00000000 0c000800
            100e0000 00000000 0d000a00 6861626c 6b3a7230 00000000 1c000780 0c000180 08000100 07000000
            0c000180 08000100 09000000
            """)
        #expect(NBDNetlinkRequest.connect(device).message(family: 33, sequence: 2).bytes == golden)
    }

    @Test func `a device of the kernel's choice has no index`() {
        let device = NBDNetlinkRequest.Connection(
            index: nil, size: 4096, blockSize: 4096, flags: 1, timeout: 5, deadConnectionTimeout: 9, backend: "b",
            sockets: [3])
        let message = NBDNetlinkRequest.connect(device).message(family: 33, sequence: 2).bytes
        // The first attribute is the size (2).
        #expect(message[20..<24] == [12, 0, 2, 0])
    }

    @Test func `reconfigure bears the backend, and a time-out only when it changes`() {
        let request = NBDNetlinkRequest.reconfigure(index: 5, sockets: [7], backend: "hablk:r0", timeout: 10)
        let golden = bytes(
            """
            48000000 21000500 02000000 00000000 03010000 08000100 05000000 0d000a00 6861626c 6b3a7230
            00000000 0c000400 0a000000 00000000 10000780 0c000180 08000100 07000000
            """)
        #expect(request.message(family: 33, sequence: 2).bytes == golden)
        let shorter = NBDNetlinkRequest.reconfigure(index: 5, sockets: [7], backend: "hablk:r0", timeout: nil)
        #expect(shorter.message(family: 33, sequence: 2).bytes.count == golden.count - 12)
    }

    @Test func `disconnect names the device`() {
        let golden = bytes("1c000000 21000500 02000000 00000000 02010000 08000100 05000000")
        #expect(NBDNetlinkRequest.disconnect(index: 5).message(family: 33, sequence: 2).bytes == golden)
    }

    // Answers.

    /// The index of a new device, then the end.
    private var answer: [UInt8] {
        bytes("1c000000 21000000 02000000 00000000 01010000 08000100 05000000")
            + bytes("24000000 02000001 02000000 00000000 00000000 00000000 00000000 00000000 00000000")
    }

    @Test func `answers are told apart`() {
        let replies = NetlinkReply.decode(answer)
        #expect(replies.count == 2)
        guard case .data(2, let attributes) = replies.first else {
            Issue.record("no data")
            return
        }
        #expect(attributes.map(\.type) == [1])
        #expect(attributes.first?.word == 5)
        #expect(attributes.first?.halfWord == nil)
        #expect(replies.last == .end(sequence: 2, code: 0))
    }

    @Test func `an error is an errno`() {
        let refusal = bytes("24000000 02000001 02000000 00000000 f0ffffff 00000000 00000000 00000000 00000000")
        #expect(NetlinkReply.decode(refusal) == [.end(sequence: 2, code: 16)])
    }

    @Test func `no cut and no corrupted byte does harm`() {
        let whole = NetlinkReply.decode(answer)
        for length in answer.indices {
            let replies = NetlinkReply.decode(Array(answer[..<length]))
            #expect(replies == Array(whole.prefix(replies.count)))
        }
        for index in answer.indices {
            for value: UInt8 in [0, 1, 4, 0x7f, 0x80, 0xff] {
                var damaged = answer
                damaged[index] = value
                #expect(NetlinkReply.decode(damaged).count <= 3)
            }
        }
    }
}
