import EsperTypes
import Foundation
import KernelCache
import Logging
import NIOCore
import NIOPosix
import RedisDoor
import Synchronization

#if canImport(Glibc)
    import Glibc
#endif

/// A door of one process before a ``MemoryArtifactCache``.
struct TestDoor {
    let cache: MemoryArtifactCache
    let hashes: MemoryHashStore
    let door: RedisDoor

    static let clock = DoorClock(
        now: { Instant(nanoseconds: read(CLOCK_MONOTONIC)) }, wall: { read(CLOCK_REALTIME) })

    private static func read(_ clock: clockid_t) -> UInt64 {
        var time = timespec()
        clock_gettime(clock, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }

    /// Serves until the body is done.
    static func with(
        _ users: [RedisUser] = [], change: (inout RedisDoorOptions) -> Void = { _ in },
        _ body: (TestDoor) async throws -> Void
    ) async throws {
        let cache = MemoryArtifactCache(wall: clock.wall)
        let hashes = MemoryHashStore()
        var options = RedisDoorOptions(host: "127.0.0.1", port: 0, users: users)
        change(&options)
        let door = try await RedisDoor.start(
            options, cache: cache, hashes: hashes, clock: clock,
            facts: DoorFacts(esperVersion: "0", nodeName: "n1", nodeID: 1, clusterID: "0"),
            on: MultiThreadedEventLoopGroup.singleton, logger: Logger(label: "test"))
        cache.observe { [weak door] in door?.changed([(name: $0, version: $1)]) }
        do {
            try await body(TestDoor(cache: cache, hashes: hashes, door: door))
        } catch {
            cache.hold(false)
            await door.stop(within: .seconds(1))
            throw error
        }
        cache.hold(false)
        await door.stop(within: .seconds(1))
    }

    func client(seconds: Int = 10) throws -> WireClient { try WireClient(port: door.port, seconds: seconds) }
}

/// Hashes of one process.
final class MemoryHashStore: HashStore, Sendable {
    private let state = Mutex<(revision: UInt64, entries: [[UInt8]: HashEntry])>((0, [:]))
    private let failure = Mutex<CacheFailure?>(nil)

    /// Every call fails so, but reads that may be stale; nil: as usual.
    func fail(_ failure: CacheFailure?) { self.failure.withLock { $0 = failure } }

    private func gate(allowsStale: Bool = false) throws(CacheFailure) {
        if !allowsStale, let failure = failure.withLock({ $0 }) { throw failure }
    }

    func read(
        _ keys: [[UInt8]], allowsStale: Bool, principal: String, by deadline: Instant
    ) async throws(CacheFailure) -> [HashEntry?] {
        try gate(allowsStale: allowsStale)
        return state.withLock { state in keys.map { state.entries[$0] } }
    }

    private func sorted(_ prefix: [UInt8], after: [UInt8]?) -> [HashEntry] {
        state.withLock { state in
            state.entries.values.filter { entry in
                entry.key.starts(with: prefix) && (after.map { $0.lexicographicallyPrecedes(entry.key) } ?? true)
            }
        }.sorted { $0.key.lexicographicallyPrecedes($1.key) }
    }

    func page(
        startingWith prefix: [UInt8], after key: [UInt8]?, limit: Int, allowsStale: Bool, principal: String,
        by deadline: Instant
    ) async throws(CacheFailure) -> (entries: [HashEntry], more: Bool) {
        try gate(allowsStale: allowsStale)
        let all = sorted(prefix, after: key)
        return (Array(all.prefix(limit)), all.count > limit)
    }

    func count(
        _ prefix: [UInt8], allowsStale: Bool, principal: String, by deadline: Instant
    ) async throws(CacheFailure) -> Int {
        try gate(allowsStale: allowsStale)
        return sorted(prefix, after: nil).count
    }

    func write(
        _ puts: [(key: [UInt8], value: [UInt8])], when conditions: [HashCondition], principal: String,
        by deadline: Instant
    ) async throws(CacheFailure) -> [Bool]? {
        try gate()
        return state.withLock { state in
            for condition in conditions where (state.entries[condition.key]?.revision ?? 0) != condition.revision {
                return nil
            }
            state.revision += 1
            return puts.map { put in
                let entry = HashEntry(key: put.key, value: put.value, revision: state.revision)
                return state.entries.updateValue(entry, forKey: put.key) == nil
            }
        }
    }

    func delete(_ keys: [[UInt8]], principal: String, by deadline: Instant) async throws(CacheFailure) -> Int {
        try gate()
        return state.withLock { state in keys.count { state.entries.removeValue(forKey: $0) != nil } }
    }

    func deleteAll(_ prefix: [UInt8], principal: String, by deadline: Instant) async throws(CacheFailure) -> Int {
        let keys = sorted(prefix, after: nil).map(\.key)
        return try await delete(keys, principal: principal, by: deadline)
    }
}
