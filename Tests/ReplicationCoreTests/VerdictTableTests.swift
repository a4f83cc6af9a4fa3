import Model
import ReplicationCore
import Testing

/// Each rule of the handshake at least once, judged from both sides.
@Suite struct VerdictTableTests {
    /// What `alpha` concludes; `beta` must conclude the mirror image, by the same rule.
    private func judge(
        _ one: HandshakeState, _ other: HandshakeState, location: SourceLocation = #_sourceLocation
    ) -> HandshakeVerdict {
        let here = HandshakeVerdict.judge(mine: one, theirs: other)
        let there = HandshakeVerdict.judge(mine: other, theirs: one)
        #expect(there.outcome == here.outcome.mirrored, sourceLocation: location)
        #expect(there.rule == here.rule, sourceLocation: location)
        return here
    }

    // MARK: Who meets whom

    @Test func `a clone is recognised by its instance`() {
        let clone = copyState(of: beta) { $0.instance = instance(of: alpha) }
        #expect(judge(copyState(of: alpha), clone) == .init(.parted, because: .sameInstance))
    }

    @Test func `two nodes without disks are no clones of each other`() {
        #expect(
            judge(disklessState(of: alpha), disklessState(of: beta)) == .init(.nothing, because: .bothDiskless))
    }

    @Test func `copies of different volumes are parted`() {
        let stranger = copyState(of: beta) { $0.volume = VolumeID(rawValue: 56) }
        #expect(judge(copyState(of: alpha), stranger) == .init(.parted, because: .differentVolumes))
    }

    @Test func `a copy smaller than the volume is parted, or waits until it made room`() {
        let small = copyState(of: beta) { $0.capacity = 16 << 20 }
        #expect(judge(copyState(of: alpha), small) == .init(.refused, because: .tooSmall))
        let forced = copyState(of: beta) {
            $0.capacity = 16 << 20
            $0.record.lineage = LineageID(rawValue: 78)
        }
        #expect(judge(copyState(of: alpha), forced) == .init(.parted, because: .tooSmall))
        var empty = emptyState(of: beta, zeroes: true)
        empty.capacity = 16 << 20
        #expect(judge(copyState(of: alpha), empty) == .init(.parted, because: .tooSmall))
        empty.capacity = 1000
        #expect(judge(emptyState(of: alpha, zeroes: true), empty) == .init(.parted, because: .tooSmall))
    }

    @Test func `no common generation is unrelated data`() {
        let other = copyState(of: beta) {
            $0.current = generation(20)
            $0.history = [generation(19)]
        }
        #expect(judge(copyState(of: alpha), other) == .init(.parted, because: .unrelatedLines))
    }

    // MARK: Resume

    @Test func `the same two runs resume, and nothing else does`() {
        let here = copyState(of: alpha) {
            $0.resumes = run(of: beta)
            $0.isPrimary = true
            $0.record.primary = alpha
            $0.unconfirmedBlocks = 4
        }
        let there = copyState(of: beta) {
            $0.resumes = run(of: alpha)
            $0.record.primary = alpha
        }
        #expect(judge(here, there) == .init(.resume, because: .sessionResumed))
        let spoilers: [(inout HandshakeState) -> Void] = [
            { $0.run = RunID(rawValue: 999) },
            { $0.resumes = .none },
            { $0.record.number.index += 1 },
            { $0.current = generation(8) },
            { $0.discardMyData = true },
            { $0.flags.insert(.inconsistent) },
            { $0.isPrimary = true },
            { $0.instance = instance(of: alpha) },
            { $0.volume = VolumeID(rawValue: 3) },
        ]
        for (index, spoil) in spoilers.enumerated() {
            var changed = there
            spoil(&changed)
            #expect(judge(here, changed).outcome != .resume, "spoiler \(index)")
        }
    }

    @Test func `a primary whom the record does not name makes one that does, and resumes nothing`() {
        let here = copyState(of: alpha) {
            $0.resumes = run(of: beta)
            $0.isPrimary = true
            $0.record.primary = nil
        }
        let there = copyState(of: beta) {
            $0.resumes = run(of: alpha)
            $0.record.primary = nil
        }
        #expect(judge(here, there).outcome == .inSync)
        #expect(judge(there, here).outcome == .inSync)
    }

    // MARK: Without a disk

    @Test func `a node without a disk is carried by a whole copy, and by no other`() {
        let bare = disklessState(of: alpha)
        #expect(judge(bare, copyState(of: beta)) == .init(.carried, because: .oneDiskless))
        let broken = copyState(of: beta) { $0.flags.insert(.inconsistent) }
        #expect(judge(bare, broken) == .init(.nothing, because: .oneDiskless))
        #expect(judge(bare, emptyState(of: beta, zeroes: true)) == .init(.nothing, because: .oneDiskless))
    }

    @Test func `a diskless primary goes on only with the copy that holds its line`() {
        let primary = copyState(of: alpha) {
            $0.hasDisk = false
            $0.isPrimary = true
            $0.record.inStep = NodeSet(beta)
            $0.required = NodeSet(beta)
        }
        let holder = copyState(of: beta) {
            $0.record.inStep = NodeSet(beta)
            $0.required = NodeSet(beta)
        }
        #expect(judge(primary, holder) == .init(.carried, because: .disklessPrimary))
        let spoilers: [(inout HandshakeState) -> Void] = [
            { $0.current = generation(8) },
            { $0.flags.insert(.inconsistent) },
            { $0.isPrimary = true },
            { $0.instance = InstanceID(rawValue: 5) },
        ]
        for (index, spoil) in spoilers.enumerated() {
            var other = holder
            spoil(&other)
            #expect(judge(primary, other) == .init(.refused, because: .lostLine), "spoiler \(index)")
        }
    }

    // MARK: Rolled back

    @Test func `a copy behind what its peer remembers is parted, by either half of its mark`() {
        let remembering = copyState(of: alpha) { $0.seen = StartMark(startNumber: 8, sequence: 200) }
        // Restored to an older state and started once: its start number rose again, its sequence did not.
        let marks = [
            StartMark(startNumber: 9, sequence: 101), StartMark(startNumber: 7, sequence: 300),
            StartMark(startNumber: 8, sequence: 199),
        ]
        for mark in marks {
            let restored = copyState(of: beta) { $0.mark = mark }
            #expect(judge(remembering, restored) == .init(.parted, because: .rolledBack), "\(mark)")
        }
        // Restored, then busy: what its run found on the disk gives it away.
        let busy = copyState(of: beta) {
            $0.mark = StartMark(startNumber: 9, sequence: 300)
            $0.foundSequence = 100
        }
        #expect(judge(remembering, busy) == .init(.parted, because: .rolledBack))
        let honest = copyState(of: beta) { $0.mark = StartMark(startNumber: 8, sequence: 200) }
        #expect(judge(remembering, honest).outcome == .inSync)
        let restarted = copyState(of: beta) {
            $0.mark = StartMark(startNumber: 9, sequence: 201)
            $0.foundSequence = 200
        }
        #expect(judge(remembering, restarted).outcome == .inSync)
        let replaced = copyState(of: beta) {
            $0.instance = InstanceID(rawValue: 600)
            $0.mark = StartMark(startNumber: 1, sequence: 1)
            $0.record.instances[beta] = InstanceID(rawValue: 600)
        }
        #expect(judge(remembering, replaced).rule != .rolledBack)
    }

    @Test func `a copy that was told so stays rolled back, however its marks rise`() {
        let remembering = copyState(of: alpha) { $0.seen = StartMark(startNumber: 8, sequence: 200) }
        let told = copyState(of: beta) {
            $0.mark = StartMark(startNumber: 9, sequence: 301)
            $0.foundSequence = 300
            $0.flags = [.outdated, .rolledBack]
        }
        #expect(judge(remembering, told) == .init(.parted, because: .rolledBack))
        #expect(judge(told, remembering) == .init(.parted, because: .rolledBack))
    }

    @Test func `a rolled-back copy is filled from scratch once its data is given up`() {
        let remembering = copyState(of: alpha) { $0.seen = StartMark(startNumber: 8, sequence: 200) }
        let restored = copyState(of: beta) { $0.mark = StartMark(startNumber: 9, sequence: 101) }
        var given = restored
        given.discardMyData = true
        #expect(judge(remembering, given) == .init(.sourceOfEverything, because: .rolledBackDiscarded))
        var broken = restored
        broken.flags.insert(.inconsistent)
        #expect(judge(remembering, broken) == .init(.sourceOfEverything, because: .rolledBackDiscarded))
        given.isPrimary = true
        #expect(judge(remembering, given) == .init(.parted, because: .rolledBack))
        var both = remembering
        both.mark = StartMark(startNumber: 3, sequence: 5)
        #expect(judge(both, restored) == .init(.parted, because: .rolledBack))
        // The only other copy is no whole one, or is given up as well: nothing to fill it from.
        var half = remembering
        half.flags.insert(.inconsistent)
        #expect(judge(half, broken).outcome == .parted)
    }

    // MARK: Empty copies

    @Test func `two copies of zeroes are equal, two blank ones have nothing`() {
        let verdict = judge(emptyState(of: alpha, zeroes: true), emptyState(of: beta, zeroes: true))
        #expect(verdict == .init(.inSync, because: .bothZero))
        let blank = judge(emptyState(of: alpha, zeroes: false), emptyState(of: beta, zeroes: false))
        #expect(blank == .init(.nothing, because: .bothBlank))
    }

    @Test func `a blank copy is filled whole`() {
        let blank = emptyState(of: beta, zeroes: false)
        #expect(judge(copyState(of: alpha), blank) == .init(.sourceOfEverything, because: .blankCopy))
        #expect(
            judge(emptyState(of: alpha, zeroes: true), blank) == .init(.sourceOfEverything, because: .blankCopy))
    }

    @Test func `zeroes meet a line that began alone from zeroes: what is marked is all that differs`() {
        let alone = copyState(of: alpha) {
            $0.history = [generation(1)]
            $0.base = .since(.zero)
            $0.record.inStep = NodeSet(alpha)
            $0.required = NodeSet(alpha)
            $0.dirtyBlocks = 5
            $0.seenInstance = .none
        }
        let zero = emptyState(of: beta, zeroes: true)
        #expect(judge(alone, zero) == .init(.sourceOfMarked, because: .zeroMeetsLine))
    }

    @Test func `zeroes that replace a copy whose resync had begun are filled whole`() {
        // What the former disk took is marked no more.
        let half = copyState(of: alpha) {
            $0.history = [generation(1)]
            $0.base = .since(.zero)
            $0.record.inStep = NodeSet(alpha)
            $0.required = NodeSet(alpha)
            $0.dirtyBlocks = 2
            $0.seenInstance = instance(of: beta)
        }
        #expect(
            judge(half, emptyState(of: beta, zeroes: true)) == .init(.sourceOfEverything, because: .zeroMeetsLine))
    }

    @Test func `an outdated copy is a source only where the other's data is given away`() {
        let outdated = copyState(of: alpha) {
            $0.goesOnAlone(in: 10)
            $0.flags.insert(.outdated)
        }
        var other = copyState(of: beta) { $0.goesOnAlone(in: 11) }
        #expect(judge(outdated, other) == .init(.parted, because: .splitBrain))
        other.discardMyData = true
        #expect(judge(outdated, other) == .init(.sourceOfMarked, because: .discardedData))
    }

    @Test func `an outdated copy that nobody went on without is the source of one thrown away`() {
        // Its run offered a record without this disk, and the peer took none.
        let outdated = copyState(of: alpha) { $0.flags.insert(.outdated) }
        let blank = copyState(of: beta) {
            $0.flags.insert(.inconsistent)
            $0.current = generation(0)
            $0.history = []
        }
        #expect(judge(outdated, blank) == .init(.sourceOfEverything, because: .blankCopy))
        var other = blank
        other.record.inStep = NodeSet(beta)
        #expect(judge(outdated, other) == .init(.nothing, because: .bothInconsistent), "it took the offer")
        other = blank
        other.record.lineage = LineageID(rawValue: 78)
        #expect(judge(outdated, other) == .init(.nothing, because: .bothInconsistent), "it was promoted by force")
        other = blank
        other.instance = InstanceID(rawValue: 0x999)
        #expect(judge(outdated, other) == .init(.nothing, because: .bothInconsistent), "it is another disk")
    }

    @Test func `zeroes that replace a copy that was in step are filled whole`() {
        // Both wrote together from generation 8 on; then beta's disk was replaced by one of zeroes.
        let zero = emptyState(of: beta, zeroes: true)
        let together = copyState(of: alpha) { $0.history = [generation(8), generation(1)] }
        #expect(judge(together, zero) == .init(.sourceOfEverything, because: .zeroMeetsLine))
        let apart = copyState(of: alpha) {
            $0.history = [generation(8), generation(1)]
            $0.goesOnAlone(in: 10)
        }
        #expect(judge(apart, zero) == .init(.sourceOfEverything, because: .zeroMeetsLine))
    }

    // MARK: Copies that are not whole

    @Test func `an inconsistent copy is a target, by its marks while they cover the difference`() {
        let source = copyState(of: alpha) {
            $0.goesOnAlone(in: 10)
            $0.dirtyBlocks = 3
        }
        let half = copyState(of: beta) { $0.flags.insert(.inconsistent) }
        #expect(judge(source, half) == .init(.sourceOfMarked, because: .inconsistentCopy))
        var filling = source
        filling.base = .everything(instance(of: beta))
        #expect(judge(filling, half) == .init(.sourceOfMarked, because: .inconsistentCopy))
        filling.base = .everything(InstanceID(rawValue: 4))
        #expect(judge(filling, half) == .init(.sourceOfEverything, because: .inconsistentCopy))
    }

    @Test func `two copies that are not whole wait for a third`() {
        let half = copyState(of: alpha) { $0.flags.insert(.inconsistent) }
        let invalidated = copyState(of: beta) {
            $0.flags.insert(.inconsistent)
            $0.current = generation(0)
            $0.history = []
        }
        #expect(judge(half, invalidated) == .init(.nothing, because: .bothInconsistent))
    }

    @Test func `an invalidated copy is blank again`() {
        let invalidated = copyState(of: beta) {
            $0.flags.insert(.inconsistent)
            $0.current = generation(0)
            $0.history = []
        }
        #expect(judge(copyState(of: alpha), invalidated) == .init(.sourceOfEverything, because: .blankCopy))
    }

    @Test func `a half-filled copy is not overwritten by a fresh disk of zeroes`() {
        let half = copyState(of: alpha) { $0.flags.insert(.inconsistent) }
        let verdict = judge(half, emptyState(of: beta, zeroes: true))
        #expect(verdict.outcome == .nothing)
    }

    @Test func `a copy that others went on without is nobody's source`() {
        let left = copyState(of: alpha) { $0.flags.insert(.outdated) }
        let half = copyState(of: beta) { $0.flags.insert(.inconsistent) }
        #expect(judge(left, half).outcome == .nothing)
        let out = copyState(of: alpha) { $0.record.inStep = NodeSet(beta) }
        #expect(judge(out, half).outcome == .nothing)
        let renewed = copyState(of: alpha) { $0.record.instances[alpha] = InstanceID(rawValue: 3) }
        #expect(judge(renewed, half).outcome == .nothing)
    }

    // MARK: Equal generations

    @Test func `equal generations without a mark are in sync`() {
        #expect(
            judge(copyState(of: alpha), copyState(of: beta)) == .init(.inSync, because: .equalGenerations))
    }

    @Test func `a copy that may have lost its cache is the target`() {
        let suspect = copyState(of: alpha) { $0.flags.insert(.suspect) }
        let verdict = judge(suspect, copyState(of: beta) { $0.unconfirmedBlocks = 2 })
        #expect(verdict == .init(.targetOfMarked, because: .oneSuspect))
        let both = copyState(of: beta) { $0.flags.insert(.suspect) }
        #expect(judge(suspect, both) == .init(.sourceOfMarked, because: .lowerNode))
    }

    @Test func `with marks an outdated copy is the target`() {
        let outdated = copyState(of: alpha) {
            $0.flags.insert(.outdated)
            $0.dirtyBlocks = 1
        }
        #expect(judge(outdated, copyState(of: beta)) == .init(.targetOfMarked, because: .oneOutdated))
    }

    @Test func `a primary that lives on its peer's copy is filled by it`() {
        let served = copyState(of: alpha) {
            $0.isPrimary = true
            $0.flags.insert(.inconsistent)
            $0.record.inStep = NodeSet(beta)
        }
        let serving = copyState(of: beta) { $0.record = served.record }
        #expect(judge(served, serving) == .init(.targetOfMarked, because: .servedPrimary))
        let moved = copyState(of: beta) {
            $0.record = served.record
            $0.record.number.index += 1
            $0.record.primary = beta
        }
        #expect(judge(served, moved) == .init(.refused, because: .lostLine))
    }

    @Test func `with marks the primary leads, else the newer record, else the lower node`() {
        let marked = copyState(of: beta) { $0.dirtyBlocks = 1 }
        #expect(judge(copyState(of: alpha), marked) == .init(.sourceOfMarked, because: .lowerNode))
        var newer = marked
        newer.record.number.index += 1
        #expect(judge(copyState(of: alpha), newer) == .init(.targetOfMarked, because: .newerRecord))
        let primary = copyState(of: alpha) { $0.isPrimary = true }
        #expect(judge(primary, newer) == .init(.sourceOfMarked, because: .primaryLeads))
        let held = copyState(of: alpha) {
            $0.isPrimary = true
            $0.unconfirmedBlocks = 1
        }
        #expect(judge(held, copyState(of: beta)) == .init(.sourceOfMarked, because: .primaryLeads))
    }

    @Test func `equal generations whose marks do not reach are copied whole`() {
        let filled = copyState(of: alpha) { $0.base = .everything(InstanceID(rawValue: 9)) }
        let verdict = judge(filled, copyState(of: beta))
        #expect(verdict == .init(.sourceOfEverything, because: .lowerNode))
    }

    @Test func `a suspect copy in use is not overwritten`() {
        let suspect = copyState(of: alpha) {
            $0.flags.insert(.suspect)
            $0.isPrimary = true
        }
        #expect(judge(suspect, copyState(of: beta)) == .init(.refused, because: .wouldOverwritePrimary))
    }

    // MARK: Lines

    @Test func `the line that contains the other's generation is the source`() {
        let ahead = copyState(of: alpha) { $0.goesOnAlone(in: 10) }
        #expect(judge(ahead, copyState(of: beta)) == .init(.sourceOfMarked, because: .containsGeneration))
        // Its bitmap begins after what the other lacks.
        let further = copyState(of: alpha) {
            $0.history = [generation(11), generation(9)]
            $0.base = .since(GenerationID(rawValue: 11))
            $0.current = generation(12)
        }
        #expect(judge(further, copyState(of: beta)) == .init(.sourceOfEverything, because: .containsGeneration))
    }

    @Test func `a primary that stands on an older line is not overwritten while it is primary`() {
        let ahead = copyState(of: alpha) { $0.goesOnAlone(in: 10) }
        let behind = copyState(of: beta) { $0.isPrimary = true }
        #expect(judge(ahead, behind) == .init(.refused, because: .wouldOverwritePrimary))
    }

    @Test func `two primaries on one line are refused until one is demoted`() {
        let here = copyState(of: alpha) { $0.isPrimary = true }
        let there = copyState(of: beta) { $0.isPrimary = true }
        #expect(judge(here, there) == .init(.refused, because: .bothPrimary))
    }

    @Test func `lines that contain each other's generation are parted`() {
        let here = copyState(of: alpha) { $0.history = [generation(10)] }
        let there = copyState(of: beta) {
            $0.current = generation(10)
            $0.history = [generation(9)]
        }
        #expect(judge(here, there) == .init(.parted, because: .crossedLines))
    }

    @Test func `two heads are split brain until one side gives its data up`() {
        let here = copyState(of: alpha) { $0.goesOnAlone(in: 10) }
        var there = copyState(of: beta) { $0.goesOnAlone(in: 11) }
        #expect(judge(here, there) == .init(.parted, because: .splitBrain))
        there.discardMyData = true
        #expect(judge(here, there) == .init(.sourceOfMarked, because: .discardedData))
        var both = here
        both.discardMyData = true
        #expect(judge(both, there) == .init(.parted, because: .bothDiscard))
        there.isPrimary = true
        #expect(judge(here, there) == .init(.refused, because: .wouldOverwritePrimary))
    }

    @Test func `unrelated data is overwritten on an explicit word, whole`() {
        let other = copyState(of: beta) {
            $0.current = generation(20)
            $0.history = []
            $0.discardMyData = true
        }
        #expect(judge(copyState(of: alpha), other) == .init(.sourceOfEverything, because: .discardedData))
    }

    @Test func `data is not given up by the side whose line goes on`() {
        let ahead = copyState(of: alpha) {
            $0.goesOnAlone(in: 10)
            $0.discardMyData = true
        }
        #expect(judge(ahead, copyState(of: beta)) == .init(.sourceOfMarked, because: .containsGeneration))
    }

    // MARK: Names

    @Test func `every rule has words, and what parts two copies has a reason of one word`() {
        for rule in HandshakeRule.allCases { #expect(!rule.words.isEmpty) }
        let parting: [HandshakeRule] = [
            .sameInstance, .differentVolumes, .tooSmall, .rolledBack, .bothDiscard, .crossedLines, .splitBrain,
            .unrelatedLines, .bothPrimary, .wouldOverwritePrimary, .lostLine, .primaryLost,
        ]
        for rule in parting { #expect(!rule.reason.contains(" "), "\(rule)") }
        for outcome in HandshakeOutcome.allCases { #expect(outcome.mirrored.mirrored == outcome) }
    }
}
