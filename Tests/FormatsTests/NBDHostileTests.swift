import Formats
import Testing

/// Values that broke other servers, and values that nobody thought of. To pass is to return.
@Suite struct NBDHostileTests {
    private let start = nbdClientFlags(3) + nbdOption(8)

    private func onlyReply(_ option: UInt32, _ data: [UInt8]) -> NBDTestReply? {
        let outcome = nbdConverse(start + message(option, data))
        #expect(outcome.state == .wantsInput)
        return nbdReplies(in: outcome.output)?.last
    }
    private func message(_ number: UInt32, _ data: [UInt8]) -> [UInt8] { nbdOption(number, data) }

    @Test func `unknown client flags close`() {
        for bit in 2..<32 {
            let flags = UInt32(1) << bit | 3
            #expect(nbdConverse(nbdClientFlags(flags)).state == .closed(.unknownClientFlags(flags)))
        }
    }

    @Test func `a client without fixed newstyle may only say EXPORT_NAME`() {
        for number: UInt32 in [0, 2, 3, 6, 7, 8, 99] {
            #expect(
                nbdConverse(nbdClientFlags(0) + nbdOption(number)).state == .closed(.notFixedNewstyle(option: number)))
        }
    }

    @Test func `something that is no option closes`() {
        #expect(nbdConverse(nbdClientFlags(3) + [UInt8](repeating: 0, count: 16)).state == .closed(.notAnOption(0)))
    }

    @Test func `an option over the cap closes before its data`() {
        for length: UInt32 in [65537, 1 << 25, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, 0xffff_ffff] {
            for number: UInt32 in [1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 77] {
                let outcome = nbdConverse(nbdClientFlags(3) + nbdOptionHeader(number, length: length) + [0, 0])
                #expect(outcome.state == .closed(.optionTooLong(option: number, length: length)))
                #expect(outcome.consumed == 20)
            }
        }
    }

    @Test func `an option up to the cap is read past`() {
        let data = [UInt8](repeating: 0, count: 65536)
        #expect(onlyReply(77, data) == .error(77, 1))
        #expect(onlyReply(3, data) == .error(3, 3, "this option takes no data"))
        for number: UInt32 in [6, 7, 9, 10] {
            #expect(onlyReply(number, data) == .error(number, 9, "the option is too long"))
            #expect(onlyReply(number, Array(data.prefix(8193))) == .error(number, 9, "the option is too long"))
        }
    }

    @Test func `EXPORT_NAME of any wrong name closes`() {
        for count in [1, 3, 255, 256, 257, 4095, 4096] {
            let name = [UInt8](repeating: 0x72, count: count)
            #expect(nbdConverse(start + nbdOption(1, name)).state == .closed(.unknownExport))
        }
        let long = nbdConverse(start + nbdOption(1, [UInt8](repeating: 0x72, count: 4097)))
        #expect(long.state == .closed(.optionTooLong(option: 1, length: 4097)))
    }

    @Test func `names of any length and content are unknown, and are not repeated`() {
        for number: UInt32 in [6, 7, 9, 10] {
            for count in [1, 255, 256, 257, 1024, 4095, 4096] {
                for byte: UInt8 in [0, 0x0a, 0x1b, 0x72, 0x80, 0xff] {
                    let name = nbdString([UInt8](repeating: byte, count: count))
                    let rest: [UInt8] = number < 9 ? [0, 0] : [0, 0, 0, 0]
                    #expect(onlyReply(number, name + rest) == .error(number, 6, "no such export here"))
                }
            }
            let tooLong = nbdString([UInt8](repeating: 0x72, count: 4097)) + [0, 0, 0, 0]
            #expect(onlyReply(number, tooLong) == .error(number, 3, "malformed option"))
            #expect(
                onlyReply(number, nbdString("r0\0".utf8) + (number < 9 ? [0, 0] : [0, 0, 0, 0]))?.type == 0x8000_0006)
        }
    }

    @Test func `lengths and counts that lie are malformed`() {
        let lies: [UInt32] = [3, 4, 7, 8, 255, 65535, 65536, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, 0xffff_ffff]
        for number: UInt32 in [6, 7, 9, 10] {
            let malformed = NBDTestReply.error(number, 3, "malformed option")
            for lie in lies {
                #expect(onlyReply(number, nbdBig(lie) + "r0".utf8) == malformed)
                #expect(onlyReply(number, nbdBig(lie)) == malformed)
            }
            for count in 0..<4 { #expect(onlyReply(number, [UInt8](repeating: 0, count: count)) == malformed) }
        }
        for lie in lies {
            for number: UInt32 in [9, 10] {
                let malformed = NBDTestReply.error(number, 3, "malformed option")
                #expect(onlyReply(number, nbdString("r0".utf8) + nbdBig(lie)) == malformed)
                #expect(
                    onlyReply(number, nbdString("r0".utf8) + nbdBig(lie) + nbdString("base:".utf8)) == malformed
                )
                #expect(
                    onlyReply(
                        number, nbdString("r0".utf8) + nbdBig(UInt32(1)) + nbdBig(lie) + "ab".utf8)
                        == malformed)
            }
            let kinds = UInt16(truncatingIfNeeded: lie)
            #expect(
                onlyReply(6, nbdString("r0".utf8) + nbdBig(kinds) + [0]) == .error(6, 3, "malformed option"))
        }
        #expect(onlyReply(7, nbdInfoQuery("r0", []) + [0]) == .error(7, 3, "malformed option"))
        #expect(onlyReply(10, nbdContextQuery("r0", []) + [0]) == .error(10, 3, "malformed option"))
    }

    @Test func `the number of options is bounded`() {
        let many = nbdClientFlags(3) + (0..<64).flatMap { _ in nbdOption(77) }
        #expect(nbdConverse(many).state == .wantsInput)
        #expect(nbdConverse(many + nbdOption(77)).state == .closed(.tooManyOptions))
    }

    @Test func `the bytes of a handshake are bounded`() {
        let long = nbdOption(77, [UInt8](repeating: 1, count: 65536))
        let three = nbdClientFlags(3) + long + long + long
        #expect(nbdConverse(three).state == .wantsInput)
        #expect(nbdConverse(three + long).state == .closed(.tooManyBytes))
    }

    @Test(arguments: NBDConversation.allCases)
    func `every truncation waits for more, unless all was said`(_ conversation: NBDConversation) {
        let bytes = conversation.bytes
        let whole = nbdConverse(bytes)
        for count in 0..<bytes.count {
            let outcome = nbdConverse(Array(bytes[..<count]))
            if count < whole.consumed { #expect(outcome.state == .wantsInput) }
            #expect(whole.output.starts(with: outcome.output))
        }
    }

    @Test(arguments: NBDConversation.allCases)
    func `every corruption of a byte ends in a defined state`(_ conversation: NBDConversation) {
        var bytes = conversation.bytes
        for index in bytes.indices {
            let original = bytes[index]
            for change: UInt8 in [1, 2, 4, 8, 16, 32, 64, 128, 0xff, original] {
                bytes[index] = original ^ change
                let outcome = nbdConverse(bytes, pieces: [index])
                #expect(outcome.consumed <= bytes.count)
            }
            bytes[index] = original
        }
    }

    @Test func `options at random, well and badly formed, in any order and any pieces`() {
        var random = NBDTestChance(state: 2026)
        for _ in 0..<4000 {
            var bytes = nbdClientFlags(Bool.random(using: &random) ? 3 : UInt32.random(in: 0...3, using: &random))
            for _ in 0..<Int.random(in: 0...12, using: &random) { bytes += randomOption(&random) }
            let whole = nbdConverse(bytes)
            let pieces = (0..<40).map { _ in Int.random(in: 0...60, using: &random) }
            let inPieces = nbdConverse(bytes, pieces: pieces)
            #expect(whole == inPieces)
            if case .transmission(let agreed) = whole.state {
                #expect(agreed.structuredReplies || agreed.baseAllocation == nil)
                #expect(agreed.flags.contains(.sendDontFragment) == agreed.structuredReplies)
            } else {
                #expect(nbdReplies(in: whole.output) != nil)
            }
        }
    }

    private func randomOption(_ random: inout NBDTestChance) -> [UInt8] {
        let number = UInt32.random(in: 0...12, using: &random)
        let name = ["r0", "", "other", "r0\u{1b}"].randomElement(using: &random) ?? ""
        let noise = (0..<Int.random(in: 0...40, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
        switch Int.random(in: 0...9, using: &random) {
        case 0...2: return nbdOption(number, nbdInfoQuery(name, [0, 1, 2, 3].shuffled(using: &random)))
        case 3...5:
            return nbdOption(number, nbdContextQuery(name, [nbdAllocationName, "base:"].shuffled(using: &random)))
        case 6: return nbdOption(number)
        case 7: return nbdOption(number, noise)
        case 8: return nbdOption(number, nbdString(name.utf8) + noise)
        default: return noise
        }
    }
}
