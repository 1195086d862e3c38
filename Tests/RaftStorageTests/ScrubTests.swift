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
