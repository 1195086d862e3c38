import EsperTypes
import Glibc
import RaftCore
import RaftStorage
import Testing

@Suite struct `The log gives back what was written` {
    @Test func `a new directory holds nothing but the first configuration`() throws {
        let disk = SimulatedFileSystem()
        try Store.create(on: disk)
        let store = try Store(on: disk)
        #expect(store.restored == RestoredState(configuration: firstConfiguration))
        #expect(store.recovery.identity == identity)
    }

    @Test(arguments: 0..<20 as Range<UInt64>, [Int.max, 0])
    func `random batches survive a clean stop and a kill, read by one thread or several`(
        seed: UInt64, parallelReadBytes: Int
    ) throws {
        var options = smallOptions
        options.parallelReadBytes = parallelReadBytes
        let disk = SimulatedFileSystem()
        try Store.create(on: disk, options: options)
        var source = BatchSource(seed: seed)
        for life in 0..<4 as Range<UInt64> {
            let store = try Store(on: disk, options: options, seed: seed &* 100 + life)
            #expect(Model(store.restored) == source.model)
            for step in 0..<40 {
                let (batch, snapshot) = source.next()
                try store.write(batch, snapshot: snapshot)
                if step % 3 == 0 { try store.maintain() }
            }
            if life % 2 == 0 { try store.close() } else { disk.kill() }
        }
        #expect(Model(try Store(on: disk, options: options).restored) == source.model)
    }

    @Test func `several threads find the same damage as one`() throws {
        let disk = SimulatedFileSystem()
        try Store.create(on: disk)
        let store = try Store(on: disk)
        for sequence in 1...400 as ClosedRange<UInt64> {
            try store.write(WriteBatch(sequence: WriteSequence(sequence), entries: [entry(0, sequence, bytes: 100)]))
            try store.maintain()
        }
        try store.close()
        let segments = disk.paths.filter { $0.hasSuffix(".segment") }
        #expect(segments.count > 5)
        for path in segments {
            var found: [StorageError?] = []
            for parallelReadBytes in [Int.max, 0] {
                var options = smallOptions
                options.parallelReadBytes = parallelReadBytes
                let copy = disk.copy()
                copy.alter(path) { $0[5000] ^= 1 }
                let store = try Store(on: copy, options: options)
                found.append(store.recovery.damage)
                store.directory.close()
            }
            #expect(found[0] == found[1])
        }
    }

    @Test func `several batches become one group, and each counts`() throws {
        let disk = SimulatedFileSystem()
        try Store.create(on: disk)
        let store = try Store(on: disk)
        let batches = (1...50 as ClosedRange<UInt64>).map {
            WriteBatch(sequence: WriteSequence($0), entries: [entry(0, $0)])
        }
        var groups: [Int] = []
        try store.log.write(batches) { groups.append($0) }
        #expect(groups.last == 50)
        #expect(groups.count < 10)
        disk.kill()
        #expect(try Store(on: disk).restored.entries == batches.flatMap(\.entries))
    }

    @Test func `the saved members are the old or the new ones, however the disk crashes`() throws {
        let (old, new) = ([UInt8](repeating: 1, count: 700), [UInt8](repeating: 2, count: 1500))
        var found: Set<[UInt8]> = []
        var dice = Seeded(1)
        for count in (0..<10).flatMap({ [$0, $0, $0, $0] }) {
            let disk = SimulatedFileSystem()
            try Store.create(on: disk)
            let store = try Store(on: disk)
            #expect(store.directory.savedMembers() == nil)
            try store.directory.saveMembers(old)
            disk.failOperation(count)
            let isSaved = (try? store.directory.saveMembers(new)) != nil
            disk.crash({ Int.random(in: 0..<max($0, 1), using: &dice) }, fates: [.lost, .kept, .garbage])
            let saved = try #require(try Store(on: disk).directory.savedMembers())
            #expect(isSaved ? saved == new : saved == old || saved == new)
            found.insert(saved)
        }
        #expect(found == [old, new])
    }

    @Test func `saved members that were damaged are as if there were none`() throws {
        let disk = SimulatedFileSystem()
        try Store.create(on: disk)
        let store = try Store(on: disk)
        try store.directory.saveMembers([1, 2, 3])
        disk.alter(Store.path + "/members") { $0[$0.count - 1] ^= 4 }
        #expect(store.directory.savedMembers() == nil)
    }

    @Test func `a batch larger than a segment gets a segment of its size`() throws {
        let disk = SimulatedFileSystem()
        try Store.create(on: disk)
        let store = try Store(on: disk)
        let entries = (1...100 as ClosedRange<UInt64>).map { entry(0, $0, bytes: 500) }
        try store.write(WriteBatch(sequence: WriteSequence(1), entries: [entries[0]]))
        try store.write(WriteBatch(sequence: WriteSequence(2), entries: Array(entries[1...])))
        try store.write(WriteBatch(sequence: WriteSequence(3), hardState: HardState(term: Term(9), vote: NodeID(2))))
        disk.kill()
        let restored = try Store(on: disk).restored
        #expect(restored.entries == entries)
        #expect(restored.hardState == HardState(term: Term(9), vote: NodeID(2)))
    }

    @Test func `segments below the snapshot are recycled, and what they held never comes back`() throws {
        let disk = SimulatedFileSystem()
        try Store.create(on: disk)
        let store = try Store(on: disk)
        var index: UInt64 = 0
        for round in 1...60 as ClosedRange<UInt64> {
            var batch = WriteBatch(sequence: WriteSequence(round))
            for _ in 0..<10 {
                index += 1
                batch.entries.append(entry(round, index, bytes: 100))
            }
            try store.write(batch)
            let id = EntryID(term: Term(round), index: LogIndex(index))
            try store.write(
                WriteBatch(
                    sequence: WriteSequence(round), compaction: Compaction(snapshot: descriptor(id), through: id)),
                snapshot: descriptor(id))
            try store.maintain()
            try store.directory.snapshots.prune(keeping: [descriptor(id)])
        }
        let segments = disk.paths.filter { $0.hasSuffix(".segment") }
        #expect(segments.count <= 4)
        disk.kill()
        let restored = try Store(on: disk).restored
        #expect(restored.entries.isEmpty)
        #expect(restored.compactedThrough == EntryID(term: Term(60), index: LogIndex(600)))
        #expect(restored.snapshot?.index == LogIndex(600))
    }

    @Test(arguments: [EIO, ENOSPC], 0..<24)
    func `a removal that fails is tried again before later segments go`(code: Int32, operation: Int) throws {
        let disk = SimulatedFileSystem()
        try Store.create(on: disk)
        let store = try Store(on: disk)
        var index: UInt64 = 0
        for round in 1...20 as ClosedRange<UInt64> {
            var batch = WriteBatch(sequence: WriteSequence(round))
            for _ in 0..<10 {
                index += 1
                batch.entries.append(entry(0, index, bytes: 100))
            }
            try store.write(batch)
        }
        let id = EntryID(term: .zero, index: LogIndex(index - 5))
        try store.write(
            WriteBatch(sequence: WriteSequence(21), compaction: Compaction(snapshot: descriptor(id), through: id)),
            snapshot: descriptor(id))
        disk.failOperation(operation, code: code)
        try? store.maintain()
        disk.failOperation(nil)
        try store.maintain()
        disk.kill()
        #expect(try Store(on: disk).restored.entries.count == 5)
        #expect(disk.paths.filter { $0.hasSuffix(".segment") }.count <= 3)
    }

    @Test func `a directory is refused to a second process, to another cluster and to another node`() throws {
        let disk = SimulatedFileSystem()
        try Store.create(on: disk)
        func open(cluster: ClusterID? = nil, node: NodeID? = nil) throws(StorageError) {
            try DataDirectory.open(Store.path, cluster: cluster, node: node, in: disk, entropy: entropy(3)).close()
        }
        #expect(throws: Never.self) { try open(cluster: identity.cluster, node: identity.node) }
        #expect(code { () throws(StorageError) in try open(cluster: ClusterID(9)) } == .wrongCluster)
        #expect(code { () throws(StorageError) in try open(node: NodeID(9)) } == .wrongNode)
        #expect(code { () throws(StorageError) in try Store.create(on: disk) } == .alreadyInitialized)
        let first = try Store(on: disk)
        #expect(code { () throws(StorageError) in try open() } == .locked)
        try first.close()
        #expect(throws: Never.self) { try open() }
    }

    @Test func `a directory of a newer format is refused`() throws {
        let disk = SimulatedFileSystem()
        try Store.create(on: disk)
        disk.alter(Store.path + "/metadata") { bytes in
            for slot in [0, 4096] {
                bytes[slot + 8] = 2
                var crc = CRC32C()
                crc.update([UInt8](bytes[slot..<slot + 16]))
                crc.update([UInt8](bytes[slot + 20..<slot + 512]))
                withUnsafeBytes(of: crc.checksum.littleEndian) {
                    bytes.replaceSubrange(slot + 16..<slot + 20, with: $0)
                }
            }
        }
        #expect(code { () throws(StorageError) in _ = try Store(on: disk) } == .newerFormat)
    }

    @Test func `a log without its metadata is not overwritten by a new one`() throws {
        let disk = SimulatedFileSystem()
        try Store.create(on: disk)
        let store = try Store(on: disk)
        try store.write(WriteBatch(sequence: WriteSequence(1), entries: [entry(0, 1)]))
        try store.close()
        try disk.remove(Store.path + "/metadata")
        #expect(code { () throws(StorageError) in try Store.create(on: disk) } == .alreadyInitialized)
        #expect(code { () throws(StorageError) in _ = try Store(on: disk) } == .notInitialized)
    }
}

/// The code of the error that a body throws.
func code(_ body: () throws(StorageError) -> Void) -> StorageError.Code? {
    do throws(StorageError) { try body() } catch { return error.code }
    return nil
}
