import EsperTypes
import RaftCore
import RaftStorage
import Testing

@Suite struct `The scrub reads back what nobody reads` {
    private static let options = StorageOptions(segmentBytes: 8 << 10, maximumGroupBytes: 2048)

    /// A node that runs: several sealed segments and a snapshot.
    private func running() throws -> (SimulatedFileSystem, Store, Model) {
        let disk = SimulatedFileSystem()
        try Store.create(on: disk, options: Self.options)
        var source = BatchSource(seed: 5)
        let store = try Store(on: disk, options: Self.options)
        for _ in 0..<60 {
            let (batch, snapshot) = source.next()
            try store.write(batch, snapshot: snapshot)
        }
        try store.maintain()
        return (disk, store, source.model)
    }

    @Test func `and finds nothing wrong with what is sound`() throws {
        let (_, store, model) = try running()
        let report = Scrubber(store.directory, bytesPerSecond: .max).pass(snapshot: model.snapshot)
        #expect(report.damages.isEmpty)
        #expect(report.bytes > 8 << 10)
    }

    @Test func `and writes a slot of the metadata anew that is not on the disk as it was written`() throws {
        let (disk, store, model) = try running()
        let scrubber = Scrubber(store.directory, bytesPerSecond: .max)
        let metadata = try #require(disk.paths.first { $0.hasSuffix("/metadata") })
        /// What a start knows that finds one slot only.
        func known(without lost: Int) throws -> UInt64 {
            let copy = disk.copy()
            copy.kill()
            copy.alter(metadata) { $0[lost + 60] ^= 1 }
            return try MetadataFile.open(metadata, in: copy).metadata.durableThrough
        }
        for rotten in [[0], [4096], [0, 4096]] {
            let generation = store.directory.metadata.metadata.generation
            let before = try [0, 4096].map(known)
            disk.alter(metadata) { bytes in for offset in rotten { bytes[offset + 60] ^= 1 } }
            let report = scrubber.pass(snapshot: model.snapshot)
            let counts = generation % 2 * 4096
            #expect(report.mended?.offset == (rotten.contains(Int(counts)) ? counts : nil))
            #expect(report.mended.map { $0.path == metadata && $0.code == .corrupted } ?? true)
            #expect(report.damages.isEmpty && report.failure == nil)
            #expect(scrubber.pass(snapshot: model.snapshot).mended == nil)
            // Each slot knows what it knew, or more.
            #expect(try zip([0, 4096].map(known), before).allSatisfy { $0 >= $1 })
        }
    }

    @Test func `and says that the process must end when a slot cannot be written anew`() throws {
        var failures: [Bool] = []
        for operation in 0..<8 {
            let (disk, store, model) = try running()
            let metadata = try #require(disk.paths.first { $0.hasSuffix("/metadata") })
            disk.alter(metadata) { $0[60] ^= 1 }
            disk.failOperation(operation)
            let report = Scrubber(store.directory, bytesPerSecond: .max).pass(snapshot: model.snapshot)
            if let failure = report.failure { failures.append(failure.isFailedSync) }
            disk.crash { _ in 0 }
            // The other slot is there, whatever became of this one.
            _ = try MetadataFile.open(metadata, in: disk)
        }
        #expect(failures == [false, true])
    }

    @Test func `and names file and offset of every damaged record of a sealed segment, and of a snapshot`() throws {
        let (disk, store, model) = try running()
        let scrubber = Scrubber(store.directory, bytesPerSecond: .max)
        let active = store.directory.path + "/log/" + String(repeating: "0", count: 16).dropLast(2)
        let segments = disk.paths.filter { $0.hasSuffix(".segment") && $0.hasPrefix(active) }
        let sealed = segments.filter { path in
            disk.alter(path) { $0[2048 + 40] ^= 1 }
            defer { disk.alter(path) { $0[2048 + 40] ^= 1 } }
            return scrubber.pass(snapshot: nil).damages.contains { $0.path == path }
        }
        let path = try #require(sealed.first)
        var found = 0
        for offset in stride(from: 1024, to: 6000, by: 7) {
            disk.alter(path) { $0[offset] ^= 1 }
            let damages = scrubber.pass(snapshot: nil).damages
            disk.alter(path) { $0[offset] ^= 1 }
            guard let damage = damages.first else { continue }
            found += 1
            #expect(damages.count == 1 && damage.path == path && damage.code == .corrupted)
            #expect(Int(damage.offset ?? .max) <= offset)
        }
        #expect(found > 300)
        let snapshot = try #require(model.snapshot)
        let file = try #require(disk.paths.last { $0.hasSuffix(".snapshot") })
        disk.alter(file) { $0[4096 + 100] ^= 8 }
        #expect(scrubber.pass(snapshot: snapshot).damages.map(\.path) == [file])
    }
}
