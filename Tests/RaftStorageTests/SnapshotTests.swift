import EsperTypes
import RaftCore
import RaftStorage
import Testing

@Suite struct `Snapshots` {
    private func open(_ disk: SimulatedFileSystem) throws -> Store {
        if try !DataDirectory.exists(Store.path, in: disk) { try Store.create(on: disk) }
        return try Store(on: disk)
    }

    private let id = EntryID(term: Term(3), index: LogIndex(9))

    @Test(arguments: [0, 1, 1000, 256 << 10, (256 << 10) + 1, 1_000_003])
    func `what is written in pieces is read in pieces of any size`(size: Int) throws {
        let store = try open(SimulatedFileSystem())
        let content = snapshotContent(id, bytes: size)
        let writer = try store.directory.snapshots.begin(descriptor(id))
        var dice = Seeded(UInt64(size))
        var offset = 0
        while offset < size {
            let count = min(size - offset, Int.random(in: 1...300_000, using: &dice))
            try writer.append([UInt8](content[offset..<offset + count]))
            offset += count
        }
        let written = try writer.finish(stateHash: 7)
        #expect(written.sizeBytes == UInt64(size))
        #expect(written.checksum == CRC32C.checksum(content))
        #expect(try store.directory.snapshots.list() == [written])
        let reader = try store.directory.snapshots.open(written)
        for maximum in [100_000, 256 << 10, 2_000_000] {
            var read: [UInt8] = []
            var isLast = false
            repeat {
                let part = try reader.read(at: UInt64(read.count), maximumBytes: maximum)
                read += part.bytes
                isLast = part.isLast
            } while !isLast
            #expect(read == content)
        }
    }

    @Test func `a received snapshot with a wrong checksum, size or order is refused and forgotten`() throws {
        let store = try open(SimulatedFileSystem())
        let snapshots = store.directory.snapshots
        let wanted = descriptor(id)
        let content = snapshotContent(id)
        var wrong = content
        wrong[100] ^= 1
        func rejected(_ body: () throws(StorageError) -> Void) -> Bool { code(body) == .snapshotRejected }
        #expect(
            rejected { () throws(StorageError) in try snapshots.receive(wanted, offset: 0, bytes: wrong, isLast: true) }
        )
        #expect(
            rejected { () throws(StorageError) in
                try snapshots.receive(wanted, offset: 0, bytes: [UInt8](content[..<5]), isLast: true)
            })
        try snapshots.receive(wanted, offset: 0, bytes: [UInt8](content[..<5]), isLast: false)
        #expect(
            rejected { () throws(StorageError) in
                try snapshots.receive(wanted, offset: 6, bytes: [UInt8](content[6...]), isLast: true)
            })
        // Forgotten: going on where it was is refused too.
        #expect(
            rejected { () throws(StorageError) in
                try snapshots.receive(wanted, offset: 5, bytes: [UInt8](content[5...]), isLast: true)
            })
        #expect(try snapshots.list().isEmpty)
        try snapshots.receive(wanted, offset: 0, bytes: content, isLast: true)
        #expect(try snapshots.list() == [wanted])
    }

    /// Each operation of it fails in turn: the file's creation, a write, the sync, the rename, the sync of the directory.
    @Test(arguments: [false, true])
    func `a snapshot that cannot be finished leaves no part of it behind`(isReceived: Bool) throws {
        let content = snapshotContent(id)
        var operation = 0
        while true {
            let disk = SimulatedFileSystem()
            let snapshots = try open(disk).directory.snapshots
            disk.failOperation(operation)
            let failure = code { () throws(StorageError) in
                guard !isReceived else {
                    try snapshots.receive(descriptor(id), offset: 0, bytes: content, isLast: true)
                    return
                }
                let writer = try snapshots.begin(descriptor(id))
                do throws(StorageError) {
                    try writer.append(content)
                    _ = try writer.finish(stateHash: id.index.rawValue)
                } catch {
                    writer.abandon()
                    throw error
                }
            }
            #expect(!disk.paths.contains { $0.hasSuffix(".partial") }, "after operation \(operation)")
            guard failure != nil else { break }
            operation += 1
        }
        #expect(operation >= 6)
        #expect(operation < 20)
    }

    /// Syncs of a snapshot every 256 bytes.
    private let resumable = StorageOptions(
        segmentBytes: 8 << 10, sectorBytes: 512, maximumGroupBytes: 2048, snapshotSyncBytes: 256)

    @Test(arguments: 0..<40 as Range<UInt64>)
    func `a snapshot that was being received goes on after a crash, from no earlier than the sync before the last`(
        seed: UInt64
    ) throws {
        let disk = SimulatedFileSystem()
        try Store.create(on: disk, options: resumable)
        var store = try Store(on: disk, options: resumable)
        #expect(store.restored.receiving == nil)
        let wanted = descriptor(id, bytes: 3000)
        let content = snapshotContent(id, bytes: 3000)
        var dice = Seeded(seed)
        let cut = Int.random(in: 600...2900, using: &dice)
        for offset in stride(from: 0, to: cut, by: 100) {
            let bytes = [UInt8](content[offset..<offset + 100])
            try store.directory.snapshots.receive(wanted, offset: UInt64(offset), bytes: bytes, isLast: false)
        }
        disk.crash({ Int.random(in: 0..<max($0, 1), using: &dice) }, fates: [.lost, .kept, .garbage])
        store = try Store(on: disk, options: resumable)
        guard let part = store.restored.receiving else {
            // The file's name was never synced, or the record of how far it is was torn.
            return
        }
        #expect(part.descriptor == wanted)
        #expect(part.writtenBytes >= 300)
        let rest = [UInt8](content[Int(part.writtenBytes)...])
        try store.directory.snapshots.receive(wanted, offset: part.writtenBytes, bytes: rest, isLast: true)
        #expect(try store.directory.snapshots.list() == [wanted])
        #expect(
            try store.directory.snapshots.open(wanted).read(at: 0, maximumBytes: 5000).bytes == content)
    }

    @Test func `a part that is damaged, or of a snapshot that is not newer, is not gone on with`() throws {
        let wanted = descriptor(id, bytes: 3000)
        let content = snapshotContent(id, bytes: 3000)
        func restart(_ change: (SimulatedFileSystem, Store) throws -> Void) throws -> Store {
            let disk = SimulatedFileSystem()
            try Store.create(on: disk, options: resumable)
            let store = try Store(on: disk, options: resumable)
            for offset in [0, 1000] {
                let bytes = [UInt8](content[offset..<offset + 1000])
                try store.directory.snapshots.receive(wanted, offset: UInt64(offset), bytes: bytes, isLast: false)
            }
            try change(disk, store)
            try store.close()
            return try Store(on: disk, options: resumable)
        }
        let sound = try restart { _, _ in }
        #expect(sound.restored.receiving == PartialSnapshot(descriptor: wanted, writtenBytes: 2000))
        for offset in [0, 515, 1030, 4096, 6000] {
            let damaged = try restart { disk, _ in
                let path = try #require(disk.paths.first { $0.hasSuffix(".partial") })
                disk.alter(path) { $0[offset] ^= 1 }
            }
            #expect(damaged.restored.receiving == nil)
            #expect(
                code { () throws(StorageError) in
                    try damaged.directory.snapshots.receive(wanted, offset: 2000, bytes: [], isLast: false)
                } == .snapshotRejected)
        }
        let overtaken = try restart { _, store in
            let newer = descriptor(EntryID(term: Term(3), index: LogIndex(20)))
            // Forgets the part, whose file a crash leaves behind all the same.
            let writer = try store.directory.snapshots.begin(newer)
            try writer.append(snapshotContent(newer.id))
            _ = try writer.finish(stateHash: newer.stateHash)
            try store.write(
                WriteBatch(sequence: WriteSequence(1), hardState: HardState(term: Term(3)), installedSnapshot: newer))
        }
        #expect(overtaken.restored.receiving == nil)
    }

    @Test func `a damaged chunk is named with file and offset, and never handed out`() throws {
        let disk = SimulatedFileSystem()
        let store = try open(disk)
        let content = snapshotContent(id, bytes: 600_000)
        let wanted = descriptor(id, bytes: 600_000)
        try store.directory.snapshots.receive(wanted, offset: 0, bytes: content, isLast: true)
        let path = try #require(disk.paths.first { $0.hasSuffix(".snapshot") })
        disk.alter(path) { $0[4096 + 300_000] ^= 4 }
        let reader = try store.directory.snapshots.open(wanted)
        #expect(try reader.read(at: 0, maximumBytes: 200_000).bytes == [UInt8](content[..<200_000]))
        do throws(StorageError) {
            _ = try reader.read(at: 262_144, maximumBytes: 1000)
            Issue.record("damaged bytes were handed out")
        } catch {
            #expect(error.code == .corrupted)
            #expect(error.path == path)
            #expect(error.offset == 4096 + 262_144)
        }
    }

    @Test func `a node whose snapshot is missing or has a damaged footer begins anew`() throws {
        let disk = SimulatedFileSystem()
        let store = try open(disk)
        let wanted = descriptor(id)
        try store.write(WriteBatch(sequence: WriteSequence(1), installedSnapshot: wanted), snapshot: wanted)
        try store.close()
        let path = try #require(disk.paths.first { $0.hasSuffix(".snapshot") })
        let missing = disk.copy()
        try missing.remove(path)
        #expect(try Store(on: missing).recovery.damage?.code == .snapshotMissing)
        let damaged = disk.copy()
        damaged.alter(path) { $0[$0.count - 40] ^= 1 }
        #expect(try Store(on: damaged).recovery.damage?.code == .corrupted)
        #expect(try Store(on: disk).restored.snapshot == wanted)
    }

    @Test func `pruning keeps what is named, and a reader goes on`() throws {
        let store = try open(SimulatedFileSystem())
        let snapshots = store.directory.snapshots
        let all = (1...4 as ClosedRange<UInt64>).map { descriptor(EntryID(term: Term(1), index: LogIndex($0))) }
        for descriptor in all { try store.receive(descriptor) }
        #expect(try snapshots.list() == all)
        let reader = try snapshots.open(all[0])
        // The last one was written while the pruning waited for its turn: the log is about to name it.
        try snapshots.prune(keeping: [all[0], all[2]])
        #expect(try snapshots.list() == [all[0], all[2], all[3]])
        try snapshots.prune(keeping: [])
        #expect(try snapshots.list() == [all[0], all[2], all[3]])
        try snapshots.prune(keeping: [all[2], all[3]])
        #expect(try snapshots.list() == [all[2], all[3]])
        #expect(try reader.read(at: 0, maximumBytes: 10_000).bytes == snapshotContent(all[0].id))
    }

    /// Installing: receive, rename, then the log record. Power fails at every operation of it.
    @Test(arguments: 0..<8 as Range<UInt64>)
    func `a crash at any step of an installation leaves the old state or the new one`(seed: UInt64) throws {
        let wanted = descriptor(EntryID(term: Term(2), index: LogIndex(30)))
        var operation = 0
        var outcomes: Set<Bool> = []
        while true {
            let disk = SimulatedFileSystem()
            let store = try open(disk)
            let before = (1...5 as ClosedRange<UInt64>).map { entry(0, $0) }
            try store.write(WriteBatch(sequence: WriteSequence(1), entries: before))
            disk.failOperation(operation)
            var hasFailed = false
            do throws(StorageError) {
                try store.write(
                    WriteBatch(
                        sequence: WriteSequence(2), hardState: HardState(term: Term(2)), installedSnapshot: wanted,
                        entries: [entry(2, 31)]), snapshot: wanted)
            } catch {
                hasFailed = true
            }
            var dice = Seeded(seed &* 100 &+ UInt64(operation))
            disk.crash({ Int.random(in: 0..<max($0, 1), using: &dice) }, fates: [.lost, .kept, .garbage])
            let restored = try Store(on: disk).restored
            let isInstalled = restored.snapshot == wanted
            outcomes.insert(isInstalled)
            if isInstalled {
                #expect(restored.entries == [entry(2, 31)])
                #expect(restored.hardState.term == Term(2))
                #expect(restored.compactedThrough == wanted.id)
            } else {
                #expect(hasFailed)
                #expect(restored.entries == before)
                #expect(restored.snapshot == nil)
            }
            if !hasFailed { break }
            operation += 1
        }
        #expect(outcomes == [true, false])
    }
}
