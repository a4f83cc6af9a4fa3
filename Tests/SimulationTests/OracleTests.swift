import Model
import ReplicationCore
import Simulation
import Testing

/// Two disks that a test fills by hand.
private final class PaperDisks: DiskView {
    var values = [[UInt64]](repeating: [UInt64](repeating: 0, count: 64), count: 2)
    var stable = [[UInt64]](repeating: [UInt64](repeating: 0, count: 64), count: 2)
    var powerLosses: [UInt64] = [0, 0]
    var serving: Int?

    func value(_ copy: Int, _ sector: Int) -> UInt64 { values[copy][sector] }
    func stableValue(_ copy: Int, _ sector: Int) -> UInt64 { stable[copy][sector] }
    func hasForgotten(_ copy: Int, _ sector: Int) -> Bool { false }
    func lastPowerLoss(_ copy: Int) -> UInt64 { powerLosses[copy] }
    func wentOn(_ copy: Int, from other: Int) -> Bool { false }
    var areOfTwoLineages = false
    func isServing(_ copy: Int) -> Bool { copy == serving }
    func isPaused(_ copy: Int) -> Bool { false }
    func isInUse(_ copy: Int) -> Bool { true }

    func land(_ operation: ClientOperation, on copies: [Int], stable isStable: Bool = false) {
        for copy in copies {
            for sector in operation.sectors {
                values[copy][sector] = operation.value(of: sector)
                if isStable { stable[copy][sector] = operation.value(of: sector) }
            }
        }
    }
}

/// The oracle with planted faults: each must be found, and its counterpart must pass.
struct OracleTests {
    private static let both = NodeSet(NodeID(unchecked: 0), NodeID(unchecked: 1))
    private static let first = NodeSet(NodeID(unchecked: 0))
    private static let second = NodeSet(NodeID(unchecked: 1))
    private let disks = PaperDisks()

    private func write(
        _ number: UInt64, sector: UInt64 = 0, at step: UInt64, forced: Bool = false, kind: ClientRequest.Kind = .write
    ) -> ClientOperation {
        ClientOperation(
            ticket: 0, kind: kind, range: ByteRange(offset: sector * 512, length: 4096), forced: forced, buffer: nil,
            write: number, began: step, beganAt: step)
    }

    private func read(at step: UInt64) -> ClientOperation {
        ClientOperation(
            ticket: 1, kind: .read, range: ByteRange(offset: 0, length: 4096), forced: false, buffer: nil, write: 0,
            began: step, beganAt: step)
    }

    private func values(of copy: Int) -> ArraySlice<UInt64> { disks.values[copy][0..<8] }

    private func oracle() -> Oracle { Oracle(sectors: 64, disks: disks) }

    private func promotion(forced: Bool = false, fenced: Bool = false, inStep: Bool = true) -> Oracle.Promotion {
        Oracle.Promotion(forced: forced, peerFenced: fenced, inStep: inStep)
    }

    @Test func `a write on both copies may be acknowledged`() {
        let oracle = oracle()
        let write = write(1, at: 1)
        oracle.began(write)
        disks.land(write, on: [0, 1])
        oracle.acknowledged(write, by: 0, required: Self.both, at: 2)
        #expect(oracle.violation == nil)
    }

    @Test func `an acknowledgement while the other in-step copy lacks the write is found`() {
        let oracle = oracle()
        let write = write(1, at: 1)
        oracle.began(write)
        disks.land(write, on: [0])
        oracle.acknowledged(write, by: 0, required: Self.both, at: 2)
        #expect(oracle.violation?.invariant == "I2")
    }

    @Test(arguments: [true, false]) func `only a carrier that serves by itself may have overtaken the write`(
        serves: Bool
    ) {
        let oracle = oracle()
        disks.serving = serves ? 0 : nil
        let (older, newer) = (write(1, at: 1), write(2, at: 3))
        oracle.began(older)
        oracle.began(newer)
        disks.land(newer, on: [0])
        oracle.acknowledged(newer, by: 0, required: Self.first, at: 4)
        oracle.acknowledged(older, by: 1, required: Self.first, at: 5)
        #expect((oracle.violation == nil) == serves)
        let old = (0..<8).map { WriteValue.of(write: 1, sector: $0) }
        oracle.read(read(at: 6), old[...], by: 0, required: Self.first, at: 7)
        #expect(oracle.violation?.invariant == (serves ? "I1" : "I2"), "the older one is not read any more")
    }

    @Test func `an acknowledgement without the copy that was left behind is right`() {
        let oracle = oracle()
        let write = write(1, at: 1)
        oracle.began(write)
        disks.land(write, on: [0])
        oracle.acknowledged(write, by: 0, required: Self.first, at: 2)
        #expect(oracle.violation == nil)
    }

    @Test func `a forced write that is not stable is found`() {
        let oracle = oracle()
        let write = write(1, at: 1, forced: true)
        oracle.began(write)
        disks.land(write, on: [0, 1], stable: false)
        oracle.acknowledged(write, by: 0, required: Self.both, at: 2)
        #expect(oracle.violation?.invariant == "I2")
    }

    @Test(arguments: [true, false]) func `a flush that left an acknowledged write in a cache is found`(isStable: Bool) {
        let oracle = oracle()
        let write = write(1, at: 1)
        oracle.began(write)
        disks.land(write, on: [0, 1], stable: isStable)
        oracle.acknowledged(write, by: 0, required: Self.both, at: 2)
        var flush = read(at: 3)
        flush.kind = .flush
        oracle.flushed(flush, by: 0, required: Self.both)
        #expect((oracle.violation == nil) == isStable)
    }

    @Test func `a flush needs not cover what was acknowledged after it began`() {
        let oracle = oracle()
        let write = write(1, at: 1)
        oracle.began(write)
        disks.land(write, on: [0, 1])
        var flush = read(at: 2)
        flush.kind = .flush
        oracle.acknowledged(write, by: 0, required: Self.both, at: 3)
        oracle.flushed(flush, by: 0, required: Self.both)
        #expect(oracle.violation == nil)
    }

    @Test func `a read of a value that an acknowledged one replaced is found`() {
        let oracle = oracle()
        for (number, step) in [(UInt64(1), UInt64(1)), (2, 3)] {
            let write = write(number, at: step)
            oracle.began(write)
            disks.land(write, on: [0, 1])
            oracle.acknowledged(write, by: 0, required: Self.both, at: step + 1)
        }
        oracle.read(read(at: 5), values(of: 0), by: 0, required: Self.both, at: 6)
        #expect(oracle.violation == nil)
        let old = (0..<8).map { WriteValue.of(write: 1, sector: $0) }
        oracle.read(read(at: 7), old[...], by: 0, required: Self.both, at: 8)
        #expect(oracle.violation?.invariant == "I1")
    }

    @Test func `a read beside a write may see either, but not go back`() {
        let oracle = oracle()
        let write = write(1, at: 2)
        oracle.began(write)
        oracle.read(read(at: 1), values(of: 0), by: 0, required: Self.both, at: 3)
        disks.land(write, on: [0])
        oracle.read(read(at: 3), values(of: 0), by: 0, required: Self.both, at: 4)
        #expect(oracle.violation == nil)
        oracle.read(read(at: 5), values(of: 1), by: 0, required: Self.both, at: 6)
        #expect(oracle.violation?.invariant == "I1")
    }

    @Test func `a promoted copy that lacks an acknowledged write is found`() {
        let oracle = oracle()
        let write = write(1, at: 1)
        oracle.began(write)
        disks.land(write, on: [0, 1])
        oracle.acknowledged(write, by: 0, required: Self.both, at: 2)
        disks.values[1][3] = 0
        oracle.promoted(1, promotion(), at: 3)
        #expect(oracle.violation?.invariant == "I2")
    }

    @Test func `a promoted copy may hold what was in flight, in part too, and then keeps it`() {
        let oracle = oracle()
        let write = write(1, at: 1)
        oracle.began(write)
        disks.values[1][3] = write.value(of: 3)
        oracle.promoted(1, promotion(), at: 3)
        #expect(oracle.violation == nil)
        disks.values[1][3] = 0
        oracle.read(read(at: 4), values(of: 1), by: 1, required: NodeSet(NodeID(unchecked: 1)), at: 5)
        #expect(oracle.violation?.invariant == "I1")
    }

    @Test func `a copy that lost its cache is promoted only when the other did too, or is off`() {
        for (fenced, othersLoss, isRight) in [(false, false, false), (true, false, true), (false, true, true)] {
            let disks = PaperDisks()
            let oracle = Oracle(sectors: 64, disks: disks)
            let write = write(1, at: 1)
            oracle.began(write)
            disks.land(write, on: [0, 1])
            oracle.acknowledged(write, by: 0, required: Self.both, at: 2)
            disks.values[1] = disks.stable[1]
            oracle.requires(0, Self.both, inStep: Self.both)
            oracle.requires(1, Self.both, inStep: Self.both)
            oracle.lostPower(1)
            if othersLoss { oracle.lostPower(0) }
            oracle.promoted(1, promotion(fenced: fenced), at: 3)
            #expect((oracle.violation == nil) == isRight)
        }
    }

    @Test(arguments: [true, false]) func `an answer that a dying copy had sent counts for nothing when the other dies`(
        wasExposed: Bool
    ) {
        let oracle = oracle()
        oracle.requires(0, Self.both, inStep: Self.both)
        oracle.requires(1, Self.both, inStep: Self.both)
        if wasExposed { oracle.lostPower(1) }
        let write = write(1, at: 1)
        oracle.began(write)
        disks.land(write, on: [0, 1])
        oracle.lostPower(0)
        disks.values[0] = disks.stable[0]
        disks.powerLosses[0] = 2
        oracle.acknowledged(write, by: 1, required: Self.both, at: 3)
        oracle.lostPower(1)
        oracle.promoted(0, promotion(), at: 5)
        #expect(oracle.violation == nil)
    }

    @Test(arguments: [true, false]) func `a forced promotion makes nothing stable`(losesPower: Bool) {
        let oracle = oracle()
        let write = write(1, at: 1)
        oracle.began(write)
        disks.land(write, on: [0])
        oracle.requires(0, Self.both, inStep: Self.both)
        oracle.requires(1, Self.both, inStep: Self.both)
        oracle.promoted(0, promotion(forced: true), at: 2)
        disks.values[0] = disks.stable[0]
        if losesPower { oracle.lostPower(0) }
        oracle.promoted(0, promotion(fenced: true), at: 4)
        #expect((oracle.violation == nil) == losesPower)
    }

    @Test func `a copy that lost its cache is all there is when the other is given away`() {
        let oracle = oracle()
        let write = write(1, at: 1)
        oracle.began(write)
        disks.land(write, on: [0, 1])
        oracle.acknowledged(write, by: 0, required: Self.both, at: 2)
        oracle.requires(0, Self.both, inStep: Self.both)
        oracle.requires(1, Self.both, inStep: Self.both)
        oracle.lostPower(0)
        disks.values[0] = disks.stable[0]
        oracle.gaveAway(1)
        oracle.promoted(0, promotion(), at: 4)
        #expect(oracle.violation == nil)
    }

    @Test func `a flushed write survives the loss of all power`() {
        let oracle = oracle()
        let write = write(1, at: 1)
        oracle.began(write)
        disks.land(write, on: [0, 1], stable: true)
        oracle.acknowledged(write, by: 0, required: Self.both, at: 2)
        var flush = read(at: 3)
        flush.kind = .flush
        oracle.flushed(flush, by: 0, required: Self.both)
        disks.values[1][0] = 0
        oracle.requires(0, Self.both, inStep: Self.both)
        oracle.requires(1, Self.both, inStep: Self.both)
        oracle.lostPower(0)
        oracle.lostPower(1)
        oracle.promoted(1, promotion(), at: 4)
        #expect(oracle.violation?.invariant == "I2")
    }

    @Test func `a promotion of a copy that its own record leaves out is found, unless forced`() {
        let oracle = oracle()
        oracle.promoted(1, promotion(forced: true, inStep: false), at: 1)
        #expect(oracle.violation == nil)
        oracle.promoted(1, promotion(inStep: false), at: 2)
        #expect(oracle.violation?.invariant == "I5")
    }

    @Test(arguments: [true, false]) func `writes acknowledged alone are thrown away only by an administrator`(
        given: Bool
    ) {
        let oracle = oracle()
        oracle.requires(0, Self.both, inStep: Self.both, started: true)
        oracle.requires(1, Self.both, inStep: Self.both, started: true)
        oracle.requires(0, Self.first, inStep: Self.first)
        let write = write(1, at: 1)
        oracle.began(write)
        disks.land(write, on: [0])
        oracle.acknowledged(write, by: 0, required: Self.first, at: 2)
        oracle.requires(1, Self.second, inStep: Self.second)
        if given { oracle.gaveAway(0) }
        oracle.requires(1, Self.both, inStep: Self.both)
        #expect((oracle.violation?.invariant == "I9") == !given)
    }

    @Test(arguments: [true, false]) func `a copy promoted by force is taken in by a record alone, not by an offer`(
        named: Bool
    ) {
        let oracle = oracle()
        oracle.requires(0, Self.first, inStep: Self.first, started: true)
        oracle.promoted(1, promotion(forced: true, inStep: false), at: 1)
        oracle.requires(1, Self.second, inStep: Self.second, started: true)
        let write = write(1, at: 2)
        oracle.began(write)
        disks.land(write, on: [1])
        oracle.acknowledged(write, by: 1, required: Self.second, at: 3)
        disks.areOfTwoLineages = true
        oracle.requires(0, Self.both, inStep: named ? Self.both : Self.first)
        #expect((oracle.violation?.invariant == "I9") == named)
    }

    @Test func `a zeroed sector that shows its old value again is found`() {
        let oracle = oracle()
        let write = write(1, at: 1)
        oracle.began(write)
        disks.land(write, on: [0, 1])
        oracle.acknowledged(write, by: 0, required: Self.both, at: 2)
        let old = values(of: 0)
        let zero = self.write(2, at: 3, kind: .trim)
        oracle.began(zero)
        disks.land(zero, on: [0, 1])
        oracle.acknowledged(zero, by: 0, required: Self.both, at: 4)
        oracle.read(read(at: 5), values(of: 0), by: 0, required: Self.both, at: 6)
        #expect(oracle.violation == nil)
        oracle.read(read(at: 7), old, by: 0, required: Self.both, at: 8)
        #expect(oracle.violation?.invariant == "I1")
    }
}
