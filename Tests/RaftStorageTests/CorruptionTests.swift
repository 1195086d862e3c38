import EsperTypes
import RaftCore
import RaftStorage
import Testing

/// A directory with a mixed content in several segments, one of them recycled, and every state on the way.
struct Specimen {
    let disk: SimulatedFileSystem
    let states: [Model]

    /// - Parameters:
    ///   - isClosed: whether the last life ended with a close; else with a kill while idle.
    ///   - isReceiving: whether a snapshot was on its way in.
    init(seed: UInt64 = 5, steps: Int = 60, isClosed: Bool, isReceiving: Bool = false) throws {
        disk = SimulatedFileSystem()
        try Store.create(on: disk, options: Self.options)
        var source = BatchSource(seed: seed)
        var states = [Model()]
        let store = try Store(on: disk, options: Self.options)
        for step in 0..<steps {
            let (batch, snapshot) = source.next()
            try store.write(batch, snapshot: snapshot)
            states.append(source.model)
            if step % 4 == 0 { try store.maintain() }
        }
        if isReceiving {
            let part = descriptor(EntryID(term: source.model.hardState.term, index: LogIndex(9999)), bytes: 1 << 20)
            let content = snapshotContent(part.id, bytes: 1 << 19)
            try store.directory.snapshots.receive(part, offset: 0, bytes: content, isLast: false)
            try store.directory.saveMembers([1, 2, 3, 4])
        }
        try store.log.writeIdleMark()
        if isClosed { try store.close() }
        disk.kill()
        self.states = states
    }

    static let options = StorageOptions(segmentBytes: 8 << 10, maximumGroupBytes: 2048)

    var final: Model { states[states.count - 1] }

    /// Every file of the log and the metadata.
    var paths: [String] { disk.paths.filter { $0.hasSuffix(".segment") || $0.hasSuffix("/metadata") } }

    enum Outcome: Equatable {
        case complete, shortened
        /// Damage was found: the node starts anew in quarantine, or not at all.
        case refused
    }

    /// Alters one file on a copy and starts.
    func start(altering path: String, _ body: (inout [UInt8]) -> Void) -> (Outcome, StorageError?) {
        let copy = disk.copy()
        copy.alter(path, body)
        do throws(StorageError) {
            let store = try Store(on: copy, options: Self.options, seed: 99)
            store.directory.close()
            if let damage = store.recovery.damage {
                // Nothing that was promised may be promised again.
                let restored = store.restored
                guard let lost = restored.lostThrough, lost >= final.hardState.term, lost >= final.last.term,
                    restored.hardState == HardState(term: lost.next, vote: identity.node), restored.entries.isEmpty,
                    restored.snapshot == nil || states.contains(where: { $0.snapshot == restored.snapshot })
                else { return (.shortened, damage) }
                return (.refused, damage)
            }
            return (Model(store.restored) == final ? .complete : .shortened, nil)
        } catch {
            return (.refused, error)
        }
    }
}

@Suite struct `Damage to what was acknowledged is never cut away` {
    @Test(arguments: [true, false])
    func `a flipped bit in any byte is harmless or refused with its file and offset`(isClosed: Bool) throws {
        let specimen = try Specimen(isClosed: isClosed)
        var refused = 0
        for path in specimen.paths {
            let count = try #require(specimen.disk.contents(path)).count
            for offset in 0..<count {
                let (outcome, error) = specimen.start(altering: path) { $0[offset] ^= UInt8(1 << (offset % 8)) }
                try #require(outcome != .shortened, "\(path) at \(offset)")
                if let error {
                    refused += 1
                    try #require(error.code == .corrupted && error.path == path, "\(error) for \(path) at \(offset)")
                    // The record that holds the byte, or the header or group that does.
                    let named = try #require(error.offset)
                    try #require(named <= UInt64(offset) && offset - Int(named) < 2048, "\(error) for byte \(offset)")
                }
            }
        }
        #expect(refused > 2000)
    }

    @Test(arguments: 0..<1500 as Range<UInt64>)
    func `several flipped bits are harmless or refused`(seed: UInt64) throws {
        struct Once { static let specimen = Result { try Specimen(seed: 8, isClosed: true) } }
        let specimen = try Once.specimen.get()
        var dice = Seeded(seed)
        let path = try #require(specimen.paths.randomElement(using: &dice))
        let (outcome, error) = specimen.start(altering: path) { bytes in
            let start = Int.random(in: 0..<bytes.count, using: &dice)
            for _ in 0..<Int.random(in: 2...40, using: &dice) {
                let offset = min(bytes.count - 1, start + Int.random(in: 0..<64, using: &dice))
                bytes[offset] ^= UInt8(1 << Int.random(in: 0..<8, using: &dice))
            }
        }
        #expect(outcome != .shortened, "seed \(seed)")
        if let error { #expect(error.path == path && error.offset != nil) }
    }

    @Test func `a log cut at any byte is refused, because segments have their full size before they are used`() throws {
        let specimen = try Specimen(isClosed: false)
        for path in specimen.paths where path.hasSuffix(".segment") {
            let count = try #require(specimen.disk.contents(path)).count
            for length in 0..<count {
                let (outcome, error) = specimen.start(altering: path) { $0.removeLast($0.count - length) }
                try #require(outcome != .shortened, "\(path) cut to \(length)")
                if let error {
                    try #require(error.code == .corrupted && error.path == path && error.offset != nil)
                }
            }
        }
    }

    @Test func `zeros from any byte to the end are refused when the end was marked`() throws {
        let specimen = try Specimen(isClosed: true)
        for path in specimen.paths where path.hasSuffix(".segment") {
            let count = try #require(specimen.disk.contents(path)).count
            for start in stride(from: 0, to: count, by: 3) {
                let (outcome, _) = specimen.start(altering: path) { bytes in
                    for offset in start..<bytes.count { bytes[offset] = 0 }
                }
                try #require(outcome != .shortened, "\(path) zero from \(start)")
            }
        }
    }

    @Test func `a missing segment is refused by name`() throws {
        let specimen = try Specimen(isClosed: true)
        var refused = 0
        for path in specimen.paths where path.hasSuffix(".segment") {
            let copy = specimen.disk.copy()
            try copy.remove(path)
            do throws(StorageError) {
                let store = try Store(on: copy, options: Specimen.options)
                if let damage = store.recovery.damage { throw damage }
                #expect(Model(store.restored) == specimen.final)
            } catch {
                refused += 1
                #expect(error.code == .corrupted)
            }
        }
        #expect(refused > 0)
    }

    @Test func `one damaged metadata slot is enough to go on, two are refused`() throws {
        let specimen = try Specimen(isClosed: true)
        let path = Store.path + "/metadata"
        for slot in [0, 4096] {
            let (outcome, _) = specimen.start(altering: path) { $0[slot + 30] ^= 1 }
            #expect(outcome == .complete)
        }
        let (outcome, error) = specimen.start(altering: path) { bytes in
            bytes[30] ^= 1
            bytes[4096 + 30] ^= 1
        }
        #expect(outcome == .refused)
        #expect(error?.code == .corrupted)
        #expect(error?.path == path)
    }

    @Test func `a segment whose header is lost is missed although the slot that told of it first is lost too`() throws {
        let disk = SimulatedFileSystem()
        try Store.create(on: disk, options: Specimen.options)
        let store = try Store(on: disk, options: Specimen.options)
        let first = store.log.activeSegment
        var source = BatchSource(seed: 3)
        while store.log.activeSegment == first {
            let (batch, snapshot) = source.next()
            try store.write(batch, snapshot: snapshot)
        }
        disk.kill()
        let name = String(store.log.activeSegment, radix: 16) + ".segment"
        let segment = try #require(disk.paths.first { $0.hasSuffix("0" + name) })
        for slot in [0, 4096] {
            let copy = disk.copy()
            copy.alter(segment) { for offset in 0..<4096 { $0[offset] ^= 1 } }
            copy.alter(Store.path + "/metadata") { $0[slot + 30] ^= 1 }
            do throws(StorageError) {
                let damage = try Store(on: copy, options: Specimen.options, seed: 99).recovery.damage
                #expect(damage?.path == segment)
            } catch {
                // What it promised last cannot be told any more.
                #expect(error.code == .corrupted && error.path == segment)
            }
        }
    }
}
