import Formats
import Model
import Testing

/// The bytes of hellos and of each block of metadata as they are: a change here is a change of format, and needs a new
/// version number, or disks and nodes of yesterday are misread.
@Suite struct MetadataGoldenTests {
    static func hellos(version: UInt16, _ indices: [Int]) -> String {
        indices.map { index in
            var message = HelloCodingTests.messages[index]
            if version < Hello.protocolVersion { message = HelloCodingTests.inVersion(version, message) }
            return "hello message \(index)\n" + compactHex(HelloFrame.encode(message, version: version))
        }.joined(separator: "\n")
    }

    static func blocks() throws -> String {
        var dice = SeededDice(2000)
        let layout = try SuperblockCodingTests.layout()
        var superblock = SuperblockCodingTests.superblock(&dice, layout)
        superblock.history = [dice.generation(), dice.generation()]
        let external = try DiskLayout.external(
            metadataSize: 1 << 20, dataSize: 1 << 30, logExtents: 6000, peers: [NodeID(2)!], peerSlots: 3)
        return [
            ("superblock 0, internal", SuperblockCodingTests.block(superblock, layout, copy: 0)),
            ("superblock 1, external", SuperblockCodingTests.block(superblock, external, copy: 1)),
            ("log transaction", LogReplayTests.block(LogReplayTests.transaction(3, 9))),
            ("bitmap page", BitmapPageTests.page([1, .max, 1 << 63])),
        ].map { $0 + "\n" + compactHex($1) }.joined(separator: "\n")
    }

    @Test func `hellos have the bytes that their versions had`() {
        #expect(Hello.oldestVersion == 4 && Hello.protocolVersion == 6)
        #expect(Self.hellos(version: 4, [0, 1, 3, 4, 5]) == Self.hellos4)
        #expect(Self.hellos(version: 5, [0, 1, 4]) == Self.hellos5)
        #expect(Self.hellos(version: 6, [0, 1, 4]) == Self.hellos6)
    }

    @Test func `metadata has the bytes that its versions had`() throws {
        #expect(SuperblockCoding.version == 2 && LogCoding.version == 1 && BitmapPage.version == 1)
        #expect(try Self.blocks() == Self.blocks1)
    }

    static let hellos4 = """
        hello message 0
          4841424c4b48454c04000100910000009b7203c002007230000111(7)22(7)0100000040(4)040073796e6308006d616a6f
          726974790400776169742000646973636f6e6e65637420646973636f6e6e65637420646973636f6e6e65637400010001
          02030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f03000600c3a46c7068610001040062657461
          000701007701
        hello message 1
          4841424c4b48454c040001007a00000021c1df770200723000ff11(7)22(16)040073796e6308006d616a6f726974790400
          776169742000646973636f6e6e65637420646973636f6e6e65637420646973636f6e6e65637401010001020304050607
          08090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f00
        hello message 3
          4841424c4b48454c0400020020000000f4a39c196465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f
          80818283
        hello message 4
          4841424c4b48454c0400030001000000a9d11ea301
        hello message 5
          4841424c4b48454c0400030026000000750b9deb0008006d69736d6174636819007468652073697a6573206469666665
          723a203120616e642032
        """

    static let hellos5 = """
        hello message 0
          4841424c4b48454c0500010095000000309cb95602007230000111(7)22(7)0100000040(4)040073796e6308006d616a6f
          726974790400776169742000646973636f6e6e65637420646973636f6e6e65637420646973636f6e6e65637400010001
          02030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f03000600c3a46c7068610001040062657461
          00070100770105000000
        hello message 1
          4841424c4b48454c050001007e000000595a9fb80200723000ff11(7)22(16)040073796e6308006d616a6f726974790400
          776169742000646973636f6e6e65637420646973636f6e6e65637420646973636f6e6e65637401010001020304050607
          08090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f0005000000
        hello message 4
          4841424c4b48454c0500030001000000e107205701
        """

    static let hellos6 = """
        hello message 0
          4841424c4b48454c060001009f0000006629774f02007230000111(7)22(7)0100000040(4)040073796e6308006d616a6f
          726974790400776169742000646973636f6e6e65637420646973636f6e6e65637420646973636f6e6e65637400010001
          02030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f03000600c3a46c7068610001040062657461
          00070100770105(4)943577(6)
        hello message 1
          4841424c4b48454c0600010088000000080e2a240200723000ff11(7)22(16)040073796e6308006d616a6f726974790400
          776169742000646973636f6e6e65637420646973636f6e6e65637420646973636f6e6e65637401010001020304050607
          08090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f0005(4)943577(6)
        hello message 4
          4841424c4b48454c0600030001000000c80b8f4e01
        """

    static let blocks1 = """
        superblock 0, internal
          4841424c4b535550020001(5)4bbbb211b0e7430ca608a26a3860432501020101ffffffffffff(6)7017000040(6)40(5)d0
          f93f(5)f0fa3f(5)d0f93f(6)ff3f(4)03013f(5)4343501d22b77eb40090f63f(4)e07d7fb2ab62850761d4a5ca9e421263cf
          10154e4b5a8f873efed91869760f0a27a74a53702ee22d016c4d270138f3d5f07fcdc4f0728b2426024ededbb4eb9b6f
          3a8b1b2c3c1f1cc600ff627677f4fb017c58d20f89f7492bd4a49b10e390ed1629cc5419dbee31f577ab401b843c64c5
          fae4cb8736593c36254dcabfe3f5164966829e5204dcd84ceaab27c3c8fcd43d10e60300d3e3e54e4030206402a3bfe6
          a7b4d893d7(9)e59e7a0174a6176b032912513b8fbd13c37a57ffa5f6310602cdee241074c318702302bcb721b99e5a73
          e8625ec2f6b61909246ecf6beb843702ae0f7350c8bdb6edc4ec29e2f955afcdf1e96c3394bdab03d0860ee899bc9c01
          013712012ab188901c92f9f3341ecd2a931b92691f2bfc8608392727fbd1b4d21701a1ebefaf70e7750f39a4c39e6039
          1f56e1fa048679feba3be959626a2c30142e028dc128779dec1c2ed00b79b0acefc3b066a1dc8b190266389b43356143
          98d93b(9)5e877b0c4ae9bab3a3862808d7b096377b1fe70201eaf31502b3898e6a07cb6f9efa0faea71164a273e4b7d2
          ec083a4c347ef49f2a427c1c2d0263fa882984830d9c06f33b4f8ca0d398c93f9528b7b29a914d071599b4cd0c4076a8
          (3499)4841424c4b454e44cec507b4
        superblock 1, external
          4841424c4b53555002000101(4)4bbbb211b0e7430ca608a26a3860432502030102ffffffffffff(6)7017000040(5)10(8)
          40(5)10(7)2004(6)f00f(5)03013f(5)4343501d22b77eb40090f63f(4)e07d7fb2ab62850761d4a5ca9e421263cf10154e4b
          5a8f873efed91869760f0a27a74a53702ee22d016c4d270138f3d5f07fcdc4f0728b2426024ededbb4eb9b6f3a8b1b2c
          3c1f1cc600ff627677f4fb017c58d20f89f7492bd4a49b10e390ed1629cc5419dbee31f577ab401b843c64c5fae4cb87
          36593c36254dcabfe3f5164966829e5204dcd84ceaab27c3c8fcd43d10e60300d3e3e54e4030206402a3bfe6a7b4d893
          d7(9)e59e7a0174a6176b032912513b8fbd13c37a57ffa5f6310602cdee241074c318702302bcb721b99e5a73e8625ec2
          f6b61909246ecf6beb843702ae0f7350c8bdb6edc4ec29e2f955afcdf1e96c3394bdab03d0860ee899bc9c0101371201
          2ab188901c92f9f3341ecd2a931b92691f2bfc8608392727fbd1b4d21701a1ebefaf70e7750f39a4c39e60391f56e1fa
          048679feba3be959626a2c30142e028dc128779dec1c2ed00b79b0acefc3b066a1dc8b190266389b4335614398d93b(9)
          5e877b0c4ae9bab3a3862808d7b096377b1fe70201eaf31502b3898e6a07cb6f9efa0faea71164a273e4b7d2ec083a4c
          347ef49f2a427c1c2d0263fa882984830d9c06f33b4f8ca0d398c93f9528b7b29a914d071599b4cd0c4076a8(3499)484142
          4c4b454e44d583c80d
        log transaction
          4841424c4b4c4f47010002000300000078563412(4)03(7)09(15)03(7)09(7)03(7)09(7)03(7)09(7)03(7)09(7)03(7)09(7)03(7)09
          (7)03(7)09(7)03(7)09(7)010000000700000002000000ffffffff(496)ffffffff07000000ffffffff(3384)4841424c4b454e44eb
          8ceaff
        bitmap page
          4841424c4b424d500100030002000000080706050403020109(99)d18ebfd901(7)ffffffffffffffff(7)80(3944)
        """
}
