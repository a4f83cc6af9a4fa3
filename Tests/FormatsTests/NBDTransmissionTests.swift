import Formats
import Testing

private let size: UInt64 = 16 << 20
private let writable = NBDConnectionTerms(
    exportSize: size, readOnly: false, structuredReplies: true, contextSelected: true)
private let plain = NBDConnectionTerms(
    exportSize: size, readOnly: false, structuredReplies: false, contextSelected: false)
private let readOnly = NBDConnectionTerms(
    exportSize: size, readOnly: true, structuredReplies: true, contextSelected: true)

private func request(
    _ command: NBDCommand, _ offset: UInt64, _ length: UInt32, _ flags: NBDCommandFlags = []
) -> NBDRequest {
    NBDRequest(command, flags: flags, cookie: 0x0102_0304_0506_0708, offset: offset, length: length)
}

private func written(_ room: Int = 1024, _ body: (inout ByteWriter) throws -> Void) rethrows -> [UInt8] {
    var memory = [UInt8](repeating: 0xee, count: room)
    let count = try memory.withUnsafeMutableBytes { raw in
        var writer = ByteWriter(raw)
        try body(&writer)
        return writer.count
    }
    return Array(memory[..<count])
}

private func decode(_ bytes: [UInt8]) -> Result<NBDRequest, NBDRequestFailure> {
    bytes.withUnsafeBytes { raw in
        do throws(NBDRequestFailure) { return .success(try NBDRequest(raw)) } catch { return .failure(error) }
    }
}

@Suite struct NBDRequestTests {
    @Test func `a header decodes and encodes`() throws {
        let bytes = nbdHex("25609513 0001 0001 0102030405060708 0000000000100000 00001000")
        let expected = request(.write, 1 << 20, 4096, .fua)
        #expect(decode(bytes) == .success(expected))
        #expect(decode(bytes + [9]) == .success(expected))
        #expect(try written { try expected.write(to: &$0) } == bytes)
        #expect(expected.payloadLength == 4096)
        #expect(request(.read, 0, 4096).payloadLength == 0)
    }

    @Test func `no header traps, whatever is cut or changed`() {
        let bytes = nbdHex("25609513 0001 0001 0102030405060708 0000000000100000 00001000")
        for count in 0..<28 { #expect(decode(Array(bytes[..<count])) == .failure(.truncated)) }
        #expect(decode(nbdHex("25609514") + bytes[4...]) == .failure(.wrongMagic(0x2560_9514)))
        for index in bytes.indices {
            for value in UInt8.min...UInt8.max {
                var changed = bytes
                changed[index] = value
                guard case .success(let request) = decode(changed) else {
                    #expect(index < 4)
                    continue
                }
                for terms in [writable, plain, readOnly] { _ = request.validate(terms) }
            }
        }
    }

    @Test func `validation, legal requests`() {
        let legal: [(NBDRequest, NBDConnectionTerms)] = [
            (request(.read, 0, 4096), plain), (request(.read, 1, 1), plain), (request(.read, size - 1, 1), plain),
            (request(.read, size, 0), plain), (request(.read, 0, 0), readOnly), (request(.read, 0, 512, .fua), plain),
            (request(.read, 0, 1 << 20, .dontFragment), writable), (request(.read, 0, 1 << 24), readOnly),
            (request(.write, 0, 1 << 24, .fua), plain), (request(.write, 511, 3), writable),
            (request(.write, size, 0), plain), (request(.flush, 0, 0), plain), (request(.flush, 7, 7), plain),
            (request(.flush, .max, .max, .fua), readOnly), (request(.trim, 0, 1 << 24, .fua), plain),
            (request(.trim, size, 0), plain), (request(.cache, 0, 1 << 24), readOnly),
            (request(.cache, 0, 1, .fua), plain), (request(.writeZeroes, 5, 1 << 20), plain),
            (request(.writeZeroes, 0, 4096, [.fua, .noHole, .fastZero]), plain),
            (request(.blockStatus, 0, 1 << 24), writable), (request(.blockStatus, 0, 1, .requestOne), readOnly),
        ]
        for (request, terms) in legal {
            #expect(request.command.map { .perform($0) } == request.validate(terms), "\(request)")
        }
        var big = plain
        big.exportSize = 1 << 50
        #expect(request(.trim, 1 << 49, .max).validate(big) == .perform(.trim))
        #expect(request(.writeZeroes, 1 << 49, .max, .noHole).validate(big) == .perform(.writeZeroes))
        #expect(request(.cache, 1 << 49, .max).validate(big) == .perform(.cache))
        #expect(request(.read, 0, 64 << 20).validate(big) == .perform(.read))
        #expect(request(.write, 0, 64 << 20).validate(big) == .perform(.write))
        #expect(request(.write, 3, 49_865_728).validate(big) == .perform(.write))
        #expect(request(.disconnect, .max, .max, .fastZero).validate(plain) == .disconnect)
    }

    @Test func `validation, refusals that stay in step`() {
        let past: UInt64 = .max - 511
        let refused: [(NBDRequest, NBDConnectionTerms, NBDError)] = [
            (request(.read, size, 1), plain, .invalid), (request(.read, size - 1, 2), plain, .invalid),
            (request(.read, past, 512), plain, .invalid), (request(.read, .max, .max), plain, .invalid),
            (request(.read, 0, 512, .dontFragment), plain, .invalid),
            (request(.read, 0, 1 << 20 + 1, .dontFragment), writable, .overflow),
            (request(.read, 0, 512, .noHole), writable, .invalid),
            (request(.write, size, 1), plain, .noSpace), (request(.write, past, 512), plain, .noSpace),
            (request(.write, 0, 512, .noHole), plain, .invalid), (request(.write, 0, 4096), readOnly, .notPermitted),
            (request(.write, size, 512, .fastZero), readOnly, .invalid),
            (request(.flush, 0, 0, .noHole), plain, .invalid),
            (request(.trim, size, 1), plain, .invalid), (request(.trim, 0, 1), readOnly, .notPermitted),
            (request(.trim, 0, 1, .fastZero), plain, .invalid), (request(.cache, 1, .max), plain, .invalid),
            (request(.cache, 0, 1, .requestOne), plain, .invalid),
            (request(.writeZeroes, 0, .max), plain, .noSpace), (request(.writeZeroes, past, .max), plain, .noSpace),
            (request(.writeZeroes, 0, 1), readOnly, .notPermitted),
            (request(.writeZeroes, 0, 1, .dontFragment), plain, .invalid),
            (request(.blockStatus, 0, 1), plain, .invalid), (request(.blockStatus, size, 1), writable, .invalid),
            (request(.blockStatus, 0, 0), writable, .invalid), (request(.blockStatus, past, 512), writable, .invalid),
            (request(.blockStatus, 0, 1, NBDCommandFlags(rawValue: 32)), writable, .invalid),
        ]
        for (request, terms, error) in refused {
            let discarding = request.command == .write ? request.length : 0
            #expect(request.validate(terms) == .refuse(error, discarding: discarding), "\(request)")
        }
        for command in NBDCommand.allCases where command != .disconnect {
            for bit in 5..<16 {
                let request = request(command, 0, 512, NBDCommandFlags(rawValue: 1 << UInt16(bit)))
                #expect(request.validate(writable) == .refuse(.invalid, discarding: command == .write ? 512 : 0))
            }
        }
        var unknown = request(.read, 0, .max)
        for number: UInt16 in [8, 9, 99, 255, 256, 0xffff] {
            unknown.rawCommand = number
            #expect(unknown.validate(writable) == .refuse(.invalid, discarding: 0))
        }
        var big = plain
        big.exportSize = .max
        #expect(request(.read, 0, 64 << 20 + 1).validate(big) == .refuse(.invalid, discarding: 0))
        #expect(request(.read, .max - 5, 6).validate(big) == .refuse(.invalid, discarding: 0))
    }

    @Test func `a payload over the cap closes, whatever else is wrong`() {
        for length: UInt32 in [64 << 20 + 1, 1 << 31, .max] {
            for terms in [writable, plain, readOnly] {
                #expect(request(.write, 0, length).validate(terms) == .close(.payloadTooLong(length)))
                let flagged = request(.write, .max, length, .fastZero)
                #expect(flagged.validate(terms) == .close(.payloadTooLong(length)))
            }
        }
    }

    @Test func `no request traps, and what is performed lies within the export`() {
        var random = NBDTestChance(state: 7)
        let edges: [UInt64] = [0, 1, 511, 4095, 4096, size - 1, size, size + 1, 1 << 32, 1 << 63, .max - 1, .max]
        for _ in 0..<200_000 {
            var request = request(.read, 0, 0)
            request.rawCommand = UInt16.random(in: 0...9, using: &random)
            request.flags = NBDCommandFlags(rawValue: UInt16.random(in: 0...63, using: &random))
            request.offset = (edges.randomElement(using: &random) ?? 0) &+ UInt64.random(in: 0...3, using: &random)
            request.length = UInt32(truncatingIfNeeded: edges.randomElement(using: &random) ?? 0)
            guard case .perform(let command) = request.validate(random.next() & 1 == 0 ? writable : plain) else {
                continue
            }
            let inside = request.offset <= size && UInt64(request.length) <= size - request.offset
            if !inside && command != .flush { Issue.record("performed \(request)") }
        }
    }
}

@Suite struct NBDReplyTests {
    @Test func `simple replies and chunks, byte by byte`() throws {
        let cookie: UInt64 = 0x0102_0304_0506_0708
        let read = request(.read, 0, 0)
        let write = request(.write, 0, 0)
        #expect(try written { try $0.writeSimpleReply(cookie: cookie) } == nbdHex("67446698 00000000 0102030405060708"))
        #expect(
            try written { try $0.writeSimpleReply(cookie: cookie, error: .noSpace) }
                == nbdHex("67446698 0000001c 0102030405060708"))
        #expect(
            try written { try $0.writeDoneChunk(cookie: cookie) }
                == nbdHex("668e33ef 0001 0000 0102030405060708 00000000")
        )
        #expect(
            try written { try $0.writeDataChunkHeader(cookie: cookie, offset: 512, length: 4096, done: false) }
                == nbdHex("668e33ef 0000 0001 0102030405060708 00001008 0000000000000200"))
        #expect(
            try written { try $0.writeHoleChunk(cookie: cookie, offset: 512, length: 4096, done: true) }
                == nbdHex("668e33ef 0001 0002 0102030405060708 0000000c 0000000000000200 00001000"))
        #expect(
            try written { try $0.writeErrorChunk(.inputOutput, "no", cookie: cookie) }
                == nbdHex("668e33ef 0001 8001 0102030405060708 00000008 00000005 0002 6e6f"))
        #expect(
            try written { try $0.writeErrorChunk(.inputOutput, cookie: cookie, offset: 7, done: false) }
                == nbdHex("668e33ef 0000 8002 0102030405060708 0000000e 00000005 0000 0000000000000007"))
        let simpleError = nbdHex("67446698 00000016 0102030405060708")
        let chunkError = nbdHex("668e33ef 0001 8001 0102030405060708 00000007 00000016 0001 78")
        for structured in [false, true] {
            let toRead = try written { try $0.writeErrorReply(.invalid, "x", to: read, structuredReplies: structured) }
            #expect(toRead == (structured ? chunkError : simpleError))
            let toWrite = try written {
                try $0.writeErrorReply(.invalid, "x", to: write, structuredReplies: structured)
            }
            #expect(toWrite == simpleError)
            let empty = try written { try $0.writeEmptyReply(to: read, structuredReplies: structured) }
            #expect(empty.count == (structured ? 20 : 16))
        }
    }

    @Test func `a reply that does not fit is not written at all`() {
        let long = String(repeating: "é", count: 9000)
        let replies: [(inout ByteWriter) throws -> Void] = [
            { try $0.writeSimpleReply(cookie: 1) }, { try $0.writeDoneChunk(cookie: 1) },
            { try $0.writeDataChunkHeader(cookie: 1, offset: 0, length: .max - 8, done: false) },
            { try $0.writeHoleChunk(cookie: 1, offset: 0, length: 1, done: true) },
            { try $0.writeErrorChunk(.invalid, long, cookie: 1) },
            { try $0.writeErrorChunk(.invalid, long, cookie: 1, offset: 1) },
        ]
        for reply in replies {
            guard let whole = try? written(NBDReply.maximumLength, reply) else {
                Issue.record("maximumLength is not enough")
                continue
            }
            for room in 0..<whole.count {
                let got = written(room) { writer in #expect(throws: OutputFull.self) { try reply(&writer) } }
                #expect(got.isEmpty)
            }
        }
        let tooLong = written { writer in
            #expect(throws: OutputFull.self) {
                try writer.writeDataChunkHeader(cookie: 1, offset: 0, length: .max, done: true)
            }
        }
        #expect(tooLong.isEmpty)
    }

    @Test func `block status merges neighbours, is cut at the request and at one extent`() throws {
        let merged = try blockStatus(
            request(.blockStatus, 0, 10000),
            [(4096, []), (0, .hole), (1000, []), (96, [.hole, .zero]), (.max, []), (5, .zero)])
        #expect(merged.taken == [true, true, true, true, false, false])
        #expect(
            merged.bytes
                == nbdHex(
                    """
                    668e33ef 0001 0005 0102030405060708 0000001c 00000001 000013e8 00000000 00000060 00000003
                    000012c8 00000000
                    """))
        let one = try blockStatus(request(.blockStatus, 0, 10000, .requestOne), [(1, .zero), (1, .zero), (1, .hole)])
        #expect(one.taken == [true, true, false])
        #expect(one.bytes == nbdHex("668e33ef 0001 0005 0102030405060708 0000000c 00000001 00000002 00000002"))
        let none = try blockStatus(request(.blockStatus, 0, 10000), [])
        #expect(none.bytes == nbdHex("668e33ef 0001 0005 0102030405060708 0000000c 00000001 00002710 00000000"))
    }

    @Test func `block status ends where its memory ends`() throws {
        let all = request(.blockStatus, 0, .max)
        #expect(try blockStatus(all, [(1 << 40, .hole)], room: 47).bytes.count == 32)
        let full = try blockStatus(all, [(1, .hole), (1, .zero), (1, .zero), (1, .hole)], room: 47)
        #expect(full.taken == [true, true, true, false])
        #expect(full.bytes.suffix(8) == nbdHex("00000002 00000002")[...])
        #expect(full.bytes.count == 40)
        for room in 0..<32 {
            #expect(throws: OutputFull.self) { try blockStatus(all, [], room: room) }
        }
    }

    private func blockStatus(
        _ request: NBDRequest, _ extents: [(length: UInt64, status: NBDAllocation)], room: Int = 1024
    ) throws -> (bytes: [UInt8], taken: [Bool]) {
        var memory = [UInt8](repeating: 0xee, count: room)
        let (count, taken) = try memory.withUnsafeMutableBytes { raw in
            var writer = try NBDBlockStatusWriter(raw, answering: request, contextID: 1)
            let taken = extents.map { writer.append(length: $0.length, $0.status) }
            return (writer.finish(), taken)
        }
        return (Array(memory[..<count]), taken)
    }

    @Test func `every errno has an error value`() {
        for number in Int32(-5)...140 { _ = NBDError(errno: number) }
        #expect(
            [1, 5, 12, 22, 27, 28, 30, 75, 95, 108, 122].map { NBDError(errno: $0).rawValue }
                == [1, 5, 12, 22, 28, 28, 1, 75, 5, 108, 28])
        #expect(NBDError(errno: 95, fastZero: true) == .notSupported)
        #expect(NBDError.allCases.map(\.rawValue) == [1, 5, 12, 22, 28, 75, 95, 108])
        #expect(NBDTransmissionFlags.hablk.rawValue == 0x0d6d)
    }
}
