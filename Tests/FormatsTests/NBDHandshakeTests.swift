import Formats
import Testing

private func agreed(_ flags: UInt16, structured: Bool, context: UInt32?) -> NBDHandshakeStep.State {
    .transmission(
        NBDNegotiated(
            size: 16 << 20, flags: NBDTransmissionFlags(rawValue: flags), structuredReplies: structured,
            baseAllocation: context))
}

@Suite struct NBDHandshakeTests {
    @Test func `the greeting comes before any input`() {
        #expect(nbdConverse([]) == NBDTestOutcome(output: nbdGreeting, state: .wantsInput, consumed: 0))
    }

    @Test func `nbdinfo learns everything and goes`() {
        let outcome = nbdConverse(NBDConversation.nbdinfo.bytes)
        #expect(outcome.state == agreed(0x0ded, structured: true, context: nil))
        let information = { (option: UInt32) -> [NBDTestReply] in
            [.export(option, flags: 0x0ded), .name(option), .description(option), .blockSize(option), .ack(option)]
        }
        #expect(
            nbdReplies(in: outcome.output) == [.ack(8)] + information(6) + [.context(9, id: 0), .ack(9)]
                + information(7))
    }

    @Test func `nbdinfo lists`() {
        let outcome = nbdConverse(NBDConversation.nbdinfoList.bytes)
        #expect(outcome.state == .closed(.aborted))
        let found = nbdReplies(in: outcome.output) ?? []
        #expect(found[1...2] == [NBDTestReply(option: 3, type: 2, data: [0, 0, 0, 2] + "r0volume r0".utf8), .ack(3)])
        #expect(found.last == .ack(2))
    }

    @Test func `qemu selects base allocation`() {
        let outcome = nbdConverse(NBDConversation.qemu.bytes)
        #expect(outcome.state == agreed(0x0ded, structured: true, context: 1))
        #expect(
            nbdReplies(in: outcome.output)
                == [.ack(8), .context(10, id: 1), .ack(10), .export(7, flags: 0x0ded), .blockSize(7), .ack(7)])
    }

    @Test func `nbd-client goes without asking for anything`() {
        let outcome = nbdConverse(NBDConversation.nbdClient.bytes)
        #expect(outcome.state == agreed(0x0d6d, structured: false, context: nil))
        #expect(nbdReplies(in: outcome.output) == [.export(7, flags: 0x0d6d), .ack(7)])
    }

    @Test func `EXPORT_NAME is followed by 124 zeroes unless the client waived them`() {
        let answer = nbdGreeting + nbdHex("0000000001000000 0d6d")
        let outcome = nbdConverse(NBDConversation.tester.bytes)
        #expect(outcome.output == answer + [UInt8](repeating: 0, count: 124))
        #expect(outcome.state == agreed(0x0d6d, structured: false, context: nil))
        #expect(nbdConverse(NBDConversation.ancient.bytes).output.count == 18 + 10 + 124)
        #expect(nbdConverse(nbdClientFlags(3) + nbdOption(1, Array("r0".utf8))).output == answer)
        #expect(nbdConverse(nbdClientFlags(3) + nbdOption(8) + nbdOption(1)).output.suffix(2) == [0x0d, 0xed])
    }

    @Test func `wrong and unknown options are answered and the stream stays in step`() {
        let outcome = nbdConverse(NBDConversation.probing.bytes)
        #expect(outcome.state == .closed(.aborted))
        #expect(
            nbdReplies(in: outcome.output) == [
                .error(5, 1, "this server has no TLS"), .error(4, 1), .error(11, 1),
                .error(3, 3, "this option takes no data"), .error(8, 3, "this option takes no data"),
                .error(0xdead_beef, 1), .error(10, 3, "structured replies come first"), .ack(8), .ack(10),
                .context(9, id: 0), .ack(9), .error(6, 3, "malformed option"), .error(7, 6, "no such export here"),
                .ack(2),
            ])
    }

    @Test func `a secondary is listed and says where the primary is`() {
        let found = nbdReplies(in: nbdConverse(NBDConversation.nbdinfo.bytes, nbdSecondaryOffer).output) ?? []
        let text = "r0 is secondary on bravo; primary: alpha"
        #expect(found == [.ack(8), .error(6, 2, text), .error(9, 2, text), .error(7, 2, text)])
        let listed = nbdReplies(in: nbdConverse(NBDConversation.nbdinfoList.bytes, nbdSecondaryOffer).output) ?? []
        #expect(listed[1...2] == [NBDTestReply(option: 3, type: 2, data: [0, 0, 0, 2] + "r0".utf8), .ack(3)])
        #expect(nbdConverse(NBDConversation.tester.bytes, nbdSecondaryOffer).state == .closed(.exportUnavailable(text)))
        #expect(nbdConverse(NBDConversation.tester.bytes, nbdSecondaryOffer).output == nbdGreeting)
        let other = nbdConverse(nbdClientFlags(3) + nbdOption(7, nbdInfoQuery("other", [])), nbdSecondaryOffer)
        #expect(nbdReplies(in: other.output) == [.error(7, 6, "no such export here")])
    }

    @Test func `a role that changes shows in the next answer`() {
        var handshake = NBDHandshake()
        var memory = [UInt8](repeating: 0, count: 4096)
        let go = nbdClientFlags(3) + nbdOption(7, nbdInfoQuery("", []))
        let states = memory.withUnsafeMutableBytes { raw in
            var writer = ByteWriter(raw)
            let refused = go.withUnsafeBytes { handshake.advance($0, offer: nbdSecondaryOffer, into: &writer) }
            let granted = go[4...].withUnsafeBytes { handshake.advance($0, offer: nbdPrimaryOffer, into: &writer) }
            return [refused.state, granted.state]
        }
        #expect(states == [.wantsInput, agreed(0x0d6d, structured: false, context: nil)])
    }

    @Test func `a context is kept only for the name it was selected by and until the next selection`() {
        let start = nbdClientFlags(3) + nbdOption(8)
        let select = nbdOption(10, nbdContextQuery("r0", [nbdAllocationName]))
        let go = nbdOption(7, nbdInfoQuery("r0", []))
        let with = agreed(0x0ded, structured: true, context: 1)
        let without = agreed(0x0ded, structured: true, context: nil)
        #expect(nbdConverse(start + select + go).state == with)
        #expect(nbdConverse(start + select + nbdOption(1, Array("r0".utf8))).state == with)
        #expect(nbdConverse(start + select + nbdOption(7, nbdInfoQuery("", []))).state == without)
        #expect(nbdConverse(start + select + nbdOption(10, nbdContextQuery("r0", [])) + go).state == without)
        #expect(
            nbdConverse(start + select + nbdOption(10, nbdContextQuery("no", [nbdAllocationName])) + go).state
                == without)
        #expect(nbdConverse(start + select + nbdOption(10, [1, 2, 3]) + go).state == without)
        #expect(nbdConverse(start + select + nbdOption(10, [UInt8](repeating: 0, count: 9000)) + go).state == without)
        #expect(nbdConverse(start + nbdOption(10, nbdContextQuery("r0", ["base:"])) + go).state == without)
        let doubled = nbdConverse(start + nbdOption(10, nbdContextQuery("r0", [nbdAllocationName, nbdAllocationName])))
        #expect(nbdReplies(in: doubled.output)?.suffix(2) == [.context(10, id: 1), .ack(10)])
    }

    @Test func `a GO that failed can be tried again`() {
        let bytes = nbdClientFlags(3) + nbdOption(7, nbdInfoQuery("no", [])) + nbdOption(7, nbdInfoQuery("r0", []))
        #expect(nbdConverse(bytes).state == agreed(0x0d6d, structured: false, context: nil))
    }

    @Test func `repeated and unknown kinds of information are asked for once or not at all`() {
        let bytes = nbdClientFlags(3) + nbdOption(7, nbdInfoQuery("r0", [1, 1, 0, 77, 1, 0, 0xffff, 1]))
        #expect(nbdReplies(in: nbdConverse(bytes).output) == [.export(7, flags: 0x0d6d), .name(7), .ack(7)])
    }

    @Test func `what follows GO belongs to transmission`() {
        for conversation in [NBDConversation.qemu, .nbdClient, .tester] {
            let pipelined = [UInt8](repeating: 0x25, count: 100)
            let plain = nbdConverse(conversation.bytes)
            #expect(nbdConverse(conversation.bytes + pipelined) == plain)
            #expect(plain.consumed == conversation.bytes.count)
        }
    }

    @Test(arguments: NBDConversation.allCases)
    func `every split gives the same result`(_ conversation: NBDConversation) {
        let bytes = conversation.bytes + [1, 2, 3]
        for offer in [nbdPrimaryOffer, nbdSecondaryOffer] {
            let whole = nbdConverse(bytes, offer)
            for cut in 0...bytes.count { #expect(nbdConverse(bytes, offer, pieces: [cut]) == whole) }
            #expect(nbdConverse(bytes, offer, pieces: repeatElement(1, count: bytes.count)) == whole)
            #expect(nbdConverse(bytes, offer, room: NBDHandshake.maximumReplyLength) == whole)
        }
    }

    @Test func `the longest answers fit their limit`() {
        let offer = NBDExportOffer(
            name: String(repeating: "n", count: 255), size: .max, description: String(repeating: "é", count: 4000),
            state: .available)
        let query = nbdOption(6, nbdInfoQuery(offer.name, [1, 2, 3]))
        let found = nbdReplies(
            in: nbdConverse(nbdClientFlags(3) + nbdOption(3) + query, offer, room: NBDHandshake.maximumReplyLength)
                .output)
        #expect(found?.count == 7)
        #expect(found?[4].data.count == 2 + 512)
        var refusing = offer
        refusing.state = .unavailable("a" + String(repeating: "é", count: 4000))
        let refused = nbdReplies(in: nbdConverse(nbdClientFlags(3) + query, refusing).output)
        #expect(refused?.first?.data.count == 511)  // not half a character
        #expect(String(validating: refused?.first?.data ?? [0xff], as: UTF8.self) != nil)
    }
}
