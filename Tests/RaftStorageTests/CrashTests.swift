import EsperTypes
import RaftCore
import RaftStorage
import Testing

/// What a run knows about a directory: every state it has asked for, and how many of them were acknowledged.
struct Ledger {
    /// The state after each batch; the first is the beginning.
    var states = [Model()]
    var acknowledged = 0

    /// Whether a recovered state is one that was asked for and none that was acknowledged is missing.
    func accepts(_ recovered: Model) -> Bool { states[acknowledged...].contains(recovered) }
}

/// Runs a mixed load until it ends or the disk fails.
///
/// - Returns: whether the disk failed.
func runLoad(on disk: SimulatedFileSystem, _ source: inout BatchSource, _ ledger: inout Ledger, steps: Int) -> Bool {
    do throws(StorageError) {
        if try !DataDirectory.exists(Store.path, in: disk) { try Store.create(on: disk) }
        for life in 0..<2 as Range<UInt64> {
            let store = try Store(on: disk, seed: 77 + life)
            for step in 0..<steps {
                let (batch, snapshot) = source.next()
                ledger.states.append(source.model)
                try store.write(batch, snapshot: snapshot)
                ledger.acknowledged = ledger.states.count - 1
                if step % 4 == 0 { try store.maintain() }
                if step % 5 == 0 { try store.log.writeIdleMark() }
                if snapshot != nil {
                    try store.directory.snapshots.prune(keeping: [source.model.snapshot].compactMap(\.self))
                }
            }
            try store.close()
        }
        return false
    } catch {
        return true
    }
}

@Suite struct `A crash loses nothing that was acknowledged` {
    /// Fails the first operation, then the second, until a run passes; after each the machine loses power and any
    /// subset of what was not synced.
    @Test(arguments: 0..<3 as Range<UInt64>)
    func `whichever operation fails first, and whatever is lost with it`(seed: UInt64) throws {
        var operation = 0
        while true {
            let disk = SimulatedFileSystem()
            disk.failOperation(operation, code: operation % 3 == 0 ? 28 : 5)
            var source = BatchSource(seed: seed)
            var ledger = Ledger()
            let hasFailed = runLoad(on: disk, &source, &ledger, steps: 30)
            for variant in 0..<2 as Range<UInt64> {
                var dice = Seeded(seed &* 1_000_003 &+ UInt64(operation) &* 17 &+ variant)
                let crashed = disk
                crashed.crash({ Int.random(in: 0..<max($0, 1), using: &dice) }, fates: [.lost, .kept, .garbage])
                guard try DataDirectory.exists(Store.path, in: crashed) else {
                    #expect(ledger.acknowledged == 0)
                    try Store.create(on: crashed)
                    continue
                }
                let restored = Model(try Store(on: crashed, seed: 1000 + variant).restored)
                try #require(ledger.accepts(restored), "seed \(seed), operation \(operation), variant \(variant)")
                // What one start has recovered is durable: the next one finds the same.
                ledger.states = [restored]
                ledger.acknowledged = 0
            }
            if !hasFailed { break }
            operation += 1
        }
        #expect(operation > 200)
    }

    /// Every choice falls on loss: only what was synchronized, file, name and directory, survives.
    @Test func `a directory just made survives with all the directories above it`() throws {
        let disk = SimulatedFileSystem()
        let path = "/var/lib/esper/n1"
        try DataDirectory.create(
            path, identity: identity, configuration: firstConfiguration, in: disk, options: smallOptions,
            entropy: entropy(1))
        disk.crash { _ in 0 }
        let directory = try DataDirectory.open(path, in: disk, options: smallOptions, entropy: entropy(2))
        #expect(try directory.recover().identity == identity)
    }

    @Test func `whatever of making a directory fails, a second attempt makes it durable`() throws {
        var operation = 0
        var hasFailed = true
        while hasFailed {
            let disk = SimulatedFileSystem()
            disk.failOperation(operation)
            hasFailed = code { () throws(StorageError) in try Store.create(on: disk) } != nil
            disk.failOperation(nil)
            // The process was killed, nothing else; then a new attempt and a start, and only then the power fails.
            disk.kill()
            if try !DataDirectory.exists(Store.path, in: disk) { try Store.create(on: disk) }
            _ = try Store(on: disk)
            disk.crash { _ in 0 }
            _ = try Store(on: disk, seed: 3)
            operation += 1
        }
        #expect(operation > 8)
    }

    /// How a process comes to its end in the middle of a load.
    enum End: CaseIterable {
        case killed
        /// At an operation that failed, as the rule is.
        case failed
    }

    /// Ends a process at each operation of a load in turn. `body` gets the disk as the next life finds it, and what was acknowledged.
    private func afterEvery(
        _ end: End, _ body: (_ disk: SimulatedFileSystem, _ ledger: Ledger, _ operation: Int) throws -> Void
    ) throws {
        var operation = 0
        var hasEnded = true
        while hasEnded {
            let disk = SimulatedFileSystem()
            try Store.create(on: disk)
            switch end {
            case .killed: disk.stop(after: operation)
            case .failed: disk.failOperation(operation)
            }
            var source = BatchSource(seed: 5)
            var ledger = Ledger()
            hasEnded = runLoad(on: disk, &source, &ledger, steps: 15)
            disk.kill()
            try body(disk, ledger, operation)
            operation += 1
        }
        #expect(operation > 100)
    }

    /// What a process wrote that was killed, or stopped at a failed sync, the next life reads, and builds on; then the power fails.
    @Test(arguments: End.allCases)
    func `what a start takes over from a process that came to its end is durable`(end: End) throws {
        try afterEvery(end) { disk, ledger, operation in
            let store = try Store(on: disk, seed: 1)
            let taken = Model(store.restored)
            try #require(ledger.accepts(taken), "operation \(operation)")
            var source = BatchSource(seed: 6, model: taken)
            for _ in 0..<20 {
                let (batch, snapshot) = source.next()
                try store.write(batch, snapshot: snapshot)
            }
            // Every choice falls on loss.
            disk.crash { _ in 0 }
            let restored = Model(try Store(on: disk, seed: 2).restored)
            try #require(restored == source.model, "operation \(operation)")
        }
    }

    /// The newer slot of the metadata may be no more than what a killed process wrote, and so may the record that names another
    /// snapshot: neither the older slot nor the older snapshot is given up before that is durable.
    @Test func `a start that loses power can be tried again, whatever a killed process left`() throws {
        var dice = Seeded(9)
        try afterEvery(.killed) { disk, ledger, operation in
            var ends = 0
            var isInterrupted = true
            while isInterrupted {
                let copy = disk.copy()
                copy.stop(after: ends)
                isInterrupted = code { () throws(StorageError) in _ = try Store(on: copy, seed: 1) } != nil
                copy.crash(
                    { Int.random(in: 0..<max($0, 1), using: &dice) },
                    fates: ends % 2 == 0 ? [.garbage] : [.lost, .kept, .garbage])
                let store = try Store(on: copy, seed: 2)
                try #require(store.recovery.damage == nil, "operation \(operation), start ended at \(ends)")
                try #require(ledger.accepts(Model(store.restored)), "operation \(operation), start ended at \(ends)")
                ends += Int.random(in: 1...12, using: &dice)
            }
        }
    }

    /// Power fails while a group is being written: any subset of its sectors is there, torn ones hold garbage.
    @Test(arguments: 0..<300 as Range<UInt64>)
    func `any subset of the sectors of the last write`(seed: UInt64) throws {
        let disk = SimulatedFileSystem()
        try Store.create(on: disk)
        var source = BatchSource(seed: seed)
        var ledger = Ledger()
        var dice = Seeded(seed ^ 0xdead)
        for life in 0..<6 as Range<UInt64> {
            let store = try Store(on: disk, seed: seed &* 31 &+ life)
            let restored = Model(store.restored)
            try #require(ledger.accepts(restored), "seed \(seed), life \(life)")
            source = BatchSource(seed: seed &* 7 &+ life, model: restored)
            ledger.states = [restored]
            ledger.acknowledged = 0
            do throws(StorageError) {
                disk.failOperation(Int.random(in: 0..<80, using: &dice))
                for step in 0..<40 {
                    var batches: [WriteBatch] = []
                    for _ in 0..<Int.random(in: 1...3, using: &dice) {
                        let (batch, snapshot) = source.next()
                        if let snapshot { try store.receive(snapshot) }
                        batches.append(batch)
                        ledger.states.append(source.model)
                    }
                    let before = ledger.states.count - 1 - batches.count
                    try store.log.write(batches) { ledger.acknowledged = before + $0 }
                    if step % 7 == 0 { try store.maintain() }
                    if step % 3 == 0 { try store.log.writeIdleMark() }
                }
            } catch {
                // The crash below is what the test is about.
            }
            disk.crash({ Int.random(in: 0..<max($0, 1), using: &dice) }, fates: [.lost, .kept, .garbage])
        }
    }

    @Test func `after one failed write nothing more is written or acknowledged`() throws {
        let disk = SimulatedFileSystem()
        try Store.create(on: disk)
        let store = try Store(on: disk)
        try store.write(WriteBatch(sequence: WriteSequence(1), entries: [entry(0, 1)]))
        disk.failOperation(1)
        let second = WriteBatch(sequence: WriteSequence(2), entries: [entry(0, 2)])
        #expect(code { () throws(StorageError) in try store.write(second) } == .inputOutput)
        let operations = disk.operationCount
        #expect(code { () throws(StorageError) in try store.write(second) } == .inputOutput)
        #expect(disk.operationCount == operations)
    }

    @Test func `a full disk is reported as such, and nothing acknowledged is lost`() throws {
        let disk = SimulatedFileSystem()
        try Store.create(on: disk)
        let store = try Store(on: disk)
        try store.maintain()
        disk.setFreeBytes(0)
        var written: UInt64 = 0
        var failure: StorageError?
        while failure == nil {
            do throws(StorageError) {
                try store.write(
                    WriteBatch(sequence: WriteSequence(written + 1), entries: [entry(0, written + 1, bytes: 300)]))
                written += 1
            } catch {
                failure = error
            }
        }
        #expect(failure?.code == .outOfSpace)
        // The spare segment was reserved ahead: it took its share before the end.
        #expect(written > 20)
        disk.kill()
        disk.setFreeBytes(.max)
        #expect(try Store(on: disk).restored.entries.count == Int(written))
    }

    @Test func `a snapshot that the log does not name yet is removed`() throws {
        let disk = SimulatedFileSystem()
        try Store.create(on: disk)
        let store = try Store(on: disk)
        try store.receive(descriptor(EntryID(term: Term(1), index: LogIndex(5))))
        #expect(try store.directory.snapshots.list().count == 1)
        disk.kill()
        #expect(try Store(on: disk).directory.snapshots.list().isEmpty)
    }
}
