import EsperTypes
import RaftCore
import RaftStorage
import Testing

@Suite struct `After damage the log begins anew` {
    /// Flips a bit of the first entry of the segment that is being written, behind which there are others.
    private func damaged(_ specimen: Specimen) throws -> SimulatedFileSystem {
        let copy = specimen.disk.copy()
        let path = try #require(
            specimen.paths.filter { $0.hasSuffix(".segment") }.first { path in
                specimen.start(altering: path) { $0[Self.offset] ^= 4 }.1 != nil
            })
        copy.alter(path) { $0[Self.offset] ^= 4 }
        return copy
    }

    private static let offset = 2048 + 20

    @Test func `in a term above every promise, for good, and keeps the damaged file`() throws {
        let specimen = try Specimen(isClosed: false)
        let disk = try damaged(specimen)
        let first = try Store(on: disk, options: Specimen.options, seed: 20)
        let damage = try #require(first.recovery.damage)
        #expect(disk.paths.contains(damage.path + ".damaged"))
        let lost = try #require(first.restored.lostThrough)
        #expect(lost >= specimen.final.hardState.term)
        // What comes from the leader afterwards is as durable as ever.
        let from = first.restored.compactedThrough.index
        let batch = WriteBatch(
            sequence: WriteSequence(1), hardState: HardState(term: Term(900)),
            entries: [entry(900, from.rawValue + 1), entry(900, from.rawValue + 2)])
        try first.write(batch)
        try first.maintain()
        disk.kill()
        let second = try Store(on: disk, options: Specimen.options, seed: 21)
        #expect(second.recovery.damage == nil)
        #expect(second.restored.lostThrough == lost)
        #expect(second.restored.entries == batch.entries)
        #expect(second.restored.hardState == HardState(term: Term(900)))
    }

    @Test func `whatever operation a power failure interrupts`() throws {
        let specimen = try Specimen(isClosed: false)
        let disk = try damaged(specimen)
        var dice = Seeded(3)
        var interrupted = 0
        for operation in 0... {
            let copy = disk.copy()
            copy.failOperation(operation)
            do throws(StorageError) {
                _ = try Store(on: copy, options: Specimen.options, seed: 30)
                break
            } catch {
                interrupted += 1
                // A read that fails in the salvage itself may hide the last promise: then the start is refused for the
                // damage. Either refusal is safe, because the next start finds everything as it was.
                #expect(error.code == .inputOutput || error.code == .corrupted)
            }
            copy.crash { Int.random(in: 0..<$0, using: &dice) }
            let store = try Store(on: copy, options: Specimen.options, seed: 31)
            let lost = try #require(store.restored.lostThrough, "after operation \(operation)")
            #expect(lost >= specimen.final.hardState.term)
            #expect(store.restored.hardState.term > lost)
            #expect(store.restored.entries.isEmpty)
        }
        #expect(interrupted > 20)
    }

    @Test func `a second time too`() throws {
        let specimen = try Specimen(isClosed: false)
        let disk = try damaged(specimen)
        let first = try Store(on: disk, options: Specimen.options, seed: 40)
        let index = first.restored.compactedThrough.index.rawValue
        for number in 1...6 as ClosedRange<UInt64> {
            try first.write(
                WriteBatch(
                    sequence: WriteSequence(number), hardState: HardState(term: Term(900 + number)),
                    entries: [entry(900, index + number, bytes: 600)]))
        }
        disk.kill()
        let path = try #require(
            disk.paths.last { disk.contents($0)?.contains(0x50) == true && $0.hasSuffix(".segment") })
        disk.alter(path) { bytes in for offset in 2100..<2110 { bytes[offset] ^= 1 } }
        let second = try Store(on: disk, options: Specimen.options, seed: 41)
        #expect(second.recovery.damage?.path == path)
        #expect(second.restored.hardState == HardState(term: Term(907), vote: identity.node))
        #expect(second.restored.lostThrough == Term(906))
    }

    @Test func `a hidden vote is told by what comes after it`() throws {
        let disk = SimulatedFileSystem()
        try Store.create(on: disk, options: Specimen.options)
        let store = try Store(on: disk, options: Specimen.options)
        try store.write(
            WriteBatch(sequence: WriteSequence(1), hardState: HardState(term: Term(2)), entries: [entry(2, 1)]))
        let before = try #require(disk.contents(Store.path + "/log/0000000000000001.segment"))
        try store.write(WriteBatch(sequence: WriteSequence(2), hardState: HardState(term: Term(7), vote: NodeID(3))))
        let after = try #require(disk.contents(Store.path + "/log/0000000000000001.segment"))
        try store.write(WriteBatch(sequence: WriteSequence(3), entries: [entry(2, 2)]))
        try store.write(WriteBatch(sequence: WriteSequence(4), entries: [entry(2, 3)]))
        disk.kill()
        let vote = try #require(zip(before, after).enumerated().first { $0.element.0 != $0.element.1 }?.offset)
        disk.alter(Store.path + "/log/0000000000000001.segment") { for offset in vote..<vote + 100 { $0[offset] = 0 } }
        let restarted = try Store(on: disk, options: Specimen.options, seed: 9)
        #expect(restarted.restored.lostThrough == Term(7))
    }

    @Test func `a start is refused when nothing tells the last vote`() throws {
        let specimen = try Specimen(isClosed: false)
        let copy = specimen.disk.copy()
        for path in copy.paths where path.hasSuffix(".segment") { try copy.remove(path) }
        #expect {
            _ = try Store(on: copy, options: Specimen.options)
        } throws: { error in
            let error = error as? StorageError
            return error?.code == .corrupted && error?.message.contains("voted for") == true
                && error?.path.hasSuffix(".segment") == true && error?.offset != nil
        }
    }

    @Test func `after a clean stop the metadata alone tells the last vote`() throws {
        let specimen = try Specimen(isClosed: true)
        let copy = specimen.disk.copy()
        for path in copy.paths where path.hasSuffix(".segment") { try copy.remove(path) }
        try #require(specimen.final.snapshot != nil)
        let store = try Store(on: copy, options: Specimen.options)
        #expect(store.restored.lostThrough == specimen.final.hardState.term)
    }

    @Test func `a node without peers has nobody to fetch from, and does not start`() throws {
        let disk = SimulatedFileSystem()
        try DataDirectory.create(
            Store.path, identity: identity, configuration: Configuration(voters: [identity.node]), in: disk,
            options: Specimen.options, entropy: entropy(1))
        let store = try Store(on: disk, options: Specimen.options)
        for number in 1...4 as ClosedRange<UInt64> {
            try store.write(WriteBatch(sequence: WriteSequence(number), entries: [entry(0, number)]))
        }
        disk.kill()
        let path = Store.path + "/log/0000000000000001.segment"
        disk.alter(path) { $0[1600] ^= 1 }
        #expect { _ = try Store(on: disk, options: Specimen.options) } throws: {
            ($0 as? StorageError)?.code == .corrupted && ($0 as? StorageError)?.path == path
        }
    }

    @Test(arguments: [true, false])
    func `a snapshot that is damaged or gone is fetched again`(isGone: Bool) throws {
        let specimen = try Specimen(isClosed: true)
        let snapshot = try #require(specimen.final.snapshot)
        let copy = specimen.disk.copy()
        let path = try #require(copy.paths.last { $0.hasSuffix(".snapshot") })
        if isGone { try copy.remove(path) } else { copy.alter(path) { $0[3] ^= 1 } }
        let store = try Store(on: copy, options: Specimen.options)
        #expect(store.recovery.damage?.path == path)
        // An older one that stands whole is as good a beginning: the rest comes from the leader.
        #expect(store.restored.snapshot.map { $0.index < snapshot.index } ?? true)
        #expect(store.restored.lostThrough == max(specimen.final.hardState.term, specimen.final.last.term))
    }
}
