import EsperTypes
import Foundation
import ObjectStore
import Synchronization
import TestSupport
import Testing

/// What every store promises, asked of each.
@Suite(.timeLimit(.minutes(2))) struct ObjectStoreContractTests {
    private func key(_ text: String) throws -> ObjectKey { try #require(ObjectKey(text)) }

    @Test(arguments: TestedStore.all)
    func `what was put is there, whole and in parts`(tested: TestedStore) async throws {
        try await tested.with { store in
            let bytes = [UInt8]((0..<1000).map { UInt8(truncatingIfNeeded: $0) })
            let key = try key("blob/ab/cdef")
            #expect(try await store.get(key, range: nil, deadline: .soon) == nil)
            #expect(try await store.get(key, range: 0..<10, deadline: .soon) == nil)
            #expect(try await store.get(key, range: 5..<5, deadline: .soon) == nil)
            #expect(try await store.head(key, deadline: .soon) == nil)
            #expect(try await store.put(key, bytes, deadline: .soon) == .created)
            #expect(try await store.get(key, range: nil, deadline: .soon) == bytes)
            #expect(try await store.get(key, range: 10..<20, deadline: .soon) == Array(bytes[10..<20]))
            #expect(try await store.get(key, range: 990..<2000, deadline: .soon) == Array(bytes[990...]))
            #expect(try await store.get(key, range: 0..<1000, deadline: .soon) == bytes)
            #expect(try await store.get(key, range: 1000..<2000, deadline: .soon) == [])
            #expect(try await store.get(key, range: 5..<5, deadline: .soon) == [])
            #expect(try await store.head(key, deadline: .soon)?.size == 1000)
            #expect(try await store.put(key, [1], deadline: .soon) == .alreadyThere)
            #expect(try await store.get(key, range: nil, deadline: .soon) == bytes)
            try await store.delete(key, deadline: .soon)
            try await store.delete(key, deadline: .soon)
            #expect(try await store.get(key, range: nil, deadline: .soon) == nil)
            #expect(try await store.put(key, [], deadline: .soon) == .created)
            #expect(try await store.get(key, range: nil, deadline: .soon) == [])
            #expect(try await store.get(key, range: 0..<10, deadline: .soon) == [])
            #expect(try await store.head(key, deadline: .soon)?.size == 0)
            try await store.probe(deadline: .soon)
        }
    }

    @Test(arguments: TestedStore.all)
    func `an object goes if it is such, and one that takes its place meanwhile stays`(
        tested: TestedStore
    ) async throws {
        try await tested.with(2) { stores in
            let key = try key("blob/00/00")
            try await stores[0].delete(key, if: { _ in true }, deadline: .soon)
            _ = try await stores[0].put(key, [1], deadline: .soon)
            try await stores[0].delete(key, if: { $0 == [2] }, deadline: .soon)
            #expect(try await stores[0].get(key, range: nil, deadline: .soon) == [1])
            try await stores[0].delete(key, if: { $0 == [1] }, deadline: .soon)
            #expect(try await stores[0].get(key, range: nil, deadline: .soon) == nil)

            _ = try await stores[0].put(key, [1], deadline: .soon)
            let other = stores[1]
            let replacement = Replacement()
            try await stores[0].delete(
                key,
                if: { _ in
                    replacement.start(of: key, in: other)
                    return true
                }, deadline: .soon)
            try await replacement.end()
            #expect(try await stores[0].get(key, range: nil, deadline: .soon) == [2])
        }
    }

    @Test(arguments: TestedStore.all)
    func `of many writers one creates`(tested: TestedStore) async throws {
        try await tested.with(2) { stores in
            let key = try key("a/b")
            let created = try await withThrowingTaskGroup(of: (UInt8, Creation).self) { group in
                for writer in 0..<8 as Range<UInt8> {
                    group.addTask {
                        let bytes = [UInt8](repeating: writer, count: 5000)
                        return (writer, try await stores[Int(writer % 2)].put(key, bytes, deadline: .soon))
                    }
                }
                return try await group.reduce(into: [UInt8]()) { if $1.1 == .created { $0.append($1.0) } }
            }
            #expect(created.count == 1)
            let bytes = try await stores[0].get(key, range: nil, deadline: .soon)
            #expect(bytes == [UInt8](repeating: try #require(created.first), count: 5000))
        }
    }

    /// Sizes on both sides of one part, and of none.
    @Test(arguments: TestedStore.all, [0, 1000, 5 << 20, (5 << 20) + 1, 11_000_000])
    func `pieces become one object`(tested: TestedStore, size: Int) async throws {
        try await tested.with { store in
            // A prime, so that parts differ.
            let pattern = [UInt8](0..<251)
            let bytes = Array((0...size / 251).reduce(into: []) { bytes, _ in bytes += pattern }.prefix(size))
            let key = try key("large")
            let sent = Mutex(0)
            let creation = try await store.putLarge(key, deadline: .soon) { () async throws(ObjectStoreError) in
                sent.withLock { sent -> [UInt8]? in
                    guard sent < size else { return nil }
                    defer { sent = min(sent + 777_777, size) }
                    return Array(bytes[sent..<min(sent + 777_777, size)])
                }
            }
            #expect(creation == .created)
            #expect(try await store.head(key, deadline: .soon)?.size == UInt64(size))
            #expect(try await store.get(key, range: nil, deadline: .soon) == bytes)
        }
    }

    @Test(arguments: TestedStore.all, [1, 15])
    func `pieces that break off become nothing`(tested: TestedStore, good: Int) async throws {
        try await tested.with { store in
            let key = try key("broken")
            let left = Mutex(good)
            await #expect(throws: ObjectStoreError(.damaged, "cut")) {
                _ = try await store.putLarge(key, deadline: .soon) { () async throws(ObjectStoreError) in
                    let isOver = left.withLock { left in
                        left -= 1
                        return left < 0
                    }
                    if isOver { throw ObjectStoreError(.damaged, "cut") }
                    return [UInt8](repeating: 1, count: 400_000)
                }
            }
            #expect(try await store.head(key, deadline: .soon) == nil)
        }
    }

    @Test(arguments: TestedStore.all)
    func `large objects are created once`(tested: TestedStore) async throws {
        try await tested.with { store in
            let key = try key("once")
            for (value, expected) in [(UInt8(1), Creation.created), (2, .alreadyThere)] {
                let left = Mutex(3)
                let creation = try await store.putLarge(key, deadline: .soon) { () async throws(ObjectStoreError) in
                    left.withLock { left -> [UInt8]? in
                        left -= 1
                        return left < 0 ? nil : [UInt8](repeating: value, count: 2 << 20)
                    }
                }
                #expect(creation == expected)
            }
            #expect(try await store.get(key, range: 0..<3, deadline: .soon) == [1, 1, 1])
        }
    }

    @Test(arguments: TestedStore.all)
    func `keys come in order, page by page`(tested: TestedStore) async throws {
        try await tested.with { store in
            let names = ["blob/00/0a", "blob/00/0b", "blob/01/1a", "blob/01/1b", "blob/ff/fa", "other/00"]
            for name in names.reversed() { _ = try await store.put(try key(name), [1, 2], deadline: .soon) }
            for limit in [1, 2, 100] {
                var found: [ObjectKey] = []
                while true {
                    let page = try await store.list(prefix: "", after: found.last, limit: limit, deadline: .soon)
                    #expect(page.count <= limit)
                    found += page.map(\.key)
                    if page.isEmpty { break }
                }
                #expect(found == (try names.map { try key($0) }))
            }
            let some = try await store.list(prefix: "blob/01/", after: nil, limit: 100, deadline: .soon)
            #expect(some.map(\.key.description) == ["blob/01/1a", "blob/01/1b"])
            let now = UInt64(Date().timeIntervalSince1970 * 1e9)
            #expect(
                some.allSatisfy { object in
                    object.size == 2 && object.created.map { max(now, $0) - min(now, $0) < 600_000_000_000 } ?? false
                })
            #expect(try await store.list(prefix: "none", after: nil, limit: 100, deadline: .soon).isEmpty)
        }
    }

    @Test(arguments: TestedStore.all)
    func `a deadline that has passed is kept`(tested: TestedStore) async throws {
        try await tested.with { store in
            let error = await #expect(throws: ObjectStoreError.self) {
                try await store.put(try key("x"), [1], deadline: .zero)
            }
            #expect(error?.code == .timedOut)
        }
    }

    @Test(arguments: TestedStore.all)
    func `after the shutdown calls fail as stopped`(tested: TestedStore) async throws {
        try await tested.with { store in
            await store.shutdown()
            let error = await #expect(throws: ObjectStoreError.self) { try await store.probe(deadline: .soon) }
            #expect(error?.code == .stopped)
        }
    }
}

/// Somebody who deletes an object and puts another in its place.
private final class Replacement: Sendable {
    private let task = Mutex<Task<Void, any Error>?>(nil)
    private let isDone = Atomic<Bool>(false)

    /// Returns when it is done, or after as long as it would take if it did not have to wait.
    func start(of key: ObjectKey, in store: any ObjectStore) {
        let task = Task {
            defer { self.isDone.store(true, ordering: .relaxed) }
            try await store.delete(key, deadline: .soon)
            _ = try await store.put(key, [2], deadline: .soon)
        }
        self.task.withLock { $0 = task }
        for _ in 0..<100 where !isDone.load(ordering: .relaxed) { usleep(5000) }
    }

    func end() async throws { try await task.withLock { $0 }?.value }
}

/// A store that the contract is asked of.
enum TestedStore: String, CaseIterable, CustomTestStringConvertible {
    case directory
    case seaweedFS

    /// Those that this machine can run.
    static var all: [TestedStore] { PrivateSeaweedFS.isInstalled ? allCases : [.directory] }

    var testDescription: String { rawValue }

    func with(_ body: (any ObjectStore) async throws -> Void) async throws {
        try await with(1) { try await body($0[0]) }
    }

    /// Several that see the same objects, which nobody else sees.
    func with(_ count: Int, _ body: ([any ObjectStore]) async throws -> Void) async throws {
        var stores: [any ObjectStore] = []
        var root: String?
        switch self {
        case .directory:
            let path = try temporaryDirectory()
            root = path
            for _ in 0..<count { stores.append(try DirectoryStore(at: path, now: currentInstant)) }
        case .seaweedFS:
            let server = try await PrivateSeaweedFS.shared()
            let settings = try S3Settings.test(server, prefix: "test-\(UInt64.random(in: 0 ... .max))")
            for _ in 0..<count { stores.append(try S3Store.test(settings)) }
        }
        defer { if let root { try? FileManager.default.removeItem(atPath: root) } }
        let result: Result<Void, any Error>
        do {
            result = .success(try await body(stores))
        } catch {
            result = .failure(error)
        }
        for store in stores { await store.shutdown() }
        try result.get()
    }
}
