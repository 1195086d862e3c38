import CacheCore
import Catalog
import EsperTypes
import KernelCache
import RaftRuntime
import Synchronization
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(2))) struct DemotionTests {
    private let blobs = (1...12).map { Blob.sample(UInt64($0), size: 1 + Int($0 % 5) * 4000) }
    private var digests: Set<Digest> { Set(blobs.map(\.digest)) }

    private func demotion(_ source: any ColdBlobs, _ archive: any BlobTier) -> Demotion {
        var settings = Demotion.Settings()
        settings.bytesPerSecond = 1 << 30
        return Demotion(from: source, to: archive, settings: settings, logger: silent)
    }

    private func guarded(_ tier: ScriptedTier) -> GuardedTier {
        var settings = GuardedTier.Settings()
        settings.breaker.failures = 1000
        return GuardedTier(tier, settings: settings, seed: 1, logger: silent)
    }

    private func age(_ server: PrivatePostgreSQL) async throws {
        _ = try await server.sql("UPDATE esper.cache_payload SET used_at = now() - interval '31 days'")
    }

    /// Every blob has right bytes in the catalog or in the archive.
    private func expectNothingLost(_ catalog: CatalogTier, _ archive: ScriptedTier, _ when: String) async throws {
        archive.behave(.work)
        archive.failCall(nil)
        let above = try await catalog.peek(Array(digests), deadline: .soon)
        let below = try await archive.get(Array(digests), deadline: .soon)
        for blob in blobs {
            #expect(above[blob.digest] == blob.bytes || below[blob.digest] == blob.bytes, "\(when)")
        }
    }

    @Test func `what is unused goes to the archive and stays a row; what is used stays`() async throws {
        try await withPayloads { server, catalog in
            try await catalog.put(blobs, deadline: .soon)
            try await age(server)
            // Reading is a use.
            _ = try await catalog.get([blobs[0].digest], deadline: .soon)
            let archive = ScriptedTier(.archive)
            let report = try await demotion(catalog, archive).pass()
            #expect(report.blobs == blobs.count - 1)
            #expect(report.bytes == blobs.dropFirst().reduce(0) { $0 + $1.bytes.count })
            #expect(archive.digests == digests.subtracting([blobs[0].digest]))
            #expect(try await catalog.has(Array(digests), deadline: .soon) == [blobs[0].digest])
            #expect(try await server.sql("SELECT count(*) FROM esper.cache_payload WHERE archived") == "11")
            #expect(try await demotion(catalog, archive).pass() == Demotion.Report())
        }
    }

    @Test func `a failure at any call of either side loses nothing, and the next pass does the rest`() async throws {
        try await withPayloads { server, catalog in
            for side in ["catalog", "archive"] {
                var failures = 0
                while true {
                    try await catalog.put(blobs, deadline: .soon)
                    try await age(server)
                    let archive = ScriptedTier(.archive)
                    let source = InterruptedBlobs(catalog)
                    if side == "archive" { archive.failCall(failures + 1) } else { source.failCall(failures + 1) }
                    let isDone = (try? await demotion(source, archive).pass()) != nil
                    try await expectNothingLost(catalog, archive, "\(side), call \(failures + 1)")
                    _ = try await demotion(catalog, archive).pass()
                    #expect(archive.digests == digests)
                    #expect(try await catalog.has(Array(digests), deadline: .soon).isEmpty)
                    if isDone { break }
                    failures += 1
                }
                // Copy, verify; list, read, flip, delete, and each of these after its effect.
                #expect(failures >= 4, "\(side)")
            }
        }
    }

    @Test(arguments: [1, 2]) func `an archive that says it has what it has not gets another copy`(
        _ lies: Int
    ) async throws {
        try await withPayloads { server, catalog in
            try await catalog.put(blobs, deadline: .soon)
            try await age(server)
            let archive = ScriptedTier(.archive)
            archive.lie(times: lies)
            let report = try await demotion(catalog, guarded(archive)).pass()
            #expect(report.blobs == 0)
            #expect(report.unverified == blobs.count)
            try await expectNothingLost(catalog, archive, "after \(lies) lies")
            #expect(try await demotion(catalog, guarded(archive)).pass().blobs == blobs.count)
            #expect(archive.digests == digests)
        }
    }

    @Test func `damaged copies on either side are no copies`() async throws {
        try await withPayloads { server, catalog in
            try await catalog.put(blobs, deadline: .soon)
            try await age(server)
            let archive = ScriptedTier(.archive)
            archive.plant(blobs[0].digest, blobs[1].bytes)
            try await server.flipBit(of: blobs[2].digest)
            let first = try await demotion(catalog, guarded(archive)).pass()
            #expect(first.blobs == blobs.count - 2)
            #expect(first.unverified == 1)
            #expect(first.damaged == 1)
            #expect(archive.discarded == [blobs[0].digest])
            #expect(try await catalog.has(Array(digests), deadline: .soon) == [blobs[0].digest])
            #expect(try await demotion(catalog, guarded(archive)).pass().blobs == 1)
            #expect(archive.digests == digests.subtracting([blobs[2].digest]))
        }
    }

    @Test func `a blob that is used between the copy and the deletion stays`() async throws {
        try await withPayloads { server, catalog in
            try await catalog.put(blobs, deadline: .soon)
            try await age(server)
            let archive = ScriptedTier(.archive)
            let used = blobs[3].digest
            let source = InterruptedBlobs(catalog) { _ = try? await catalog.get([used], deadline: .soon) }
            #expect(try await demotion(source, archive).pass().blobs == blobs.count - 1)
            #expect(try await catalog.has(Array(digests), deadline: .soon) == [used])
        }
    }

    /// Runs a demotion of its own accord, whose next pass would be due in an hour.
    private func running(
        _ demotion: (Demotion.Settings) -> Demotion, _ body: () async throws -> Void
    ) async throws {
        var settings = Demotion.Settings()
        (settings.interval, settings.turnInterval) = (.seconds(3600), .milliseconds(1))
        settings.callLimit = .seconds(1)
        let demotion = demotion(settings)
        let work = Task { await demotion.run() }
        let result: Result<Void, any Error>
        do { result = .success(try await body()) } catch { result = .failure(error) }
        work.cancel()
        await work.value
        try result.get()
    }

    @Test func `a node moves what is unused when its turn begins, and when it begins again`() async throws {
        try await withPayloads { server, catalog in
            let archive = ScriptedTier(.archive)
            let turn = Mutex((isTurn: false, looks: 0))
            func next(_ isTurn: Bool) async {
                let before = turn.withLock { turn in
                    turn.isTurn = isTurn
                    return turn.looks
                }
                // The look that was under way may have come too early to see it.
                await until { turn.withLock { $0.looks } >= before + 2 }
            }
            try await running { settings in
                Demotion(
                    from: catalog, to: archive, settings: settings,
                    isTurn: {
                        turn.withLock { turn in
                            turn.looks += 1
                            return turn.isTurn
                        }
                    }, logger: silent)
            } _: {
                try await catalog.put(Array(blobs.prefix(5)), deadline: .soon)
                try await age(server)
                await next(false)
                #expect(archive.digests.isEmpty)
                await next(true)
                try await until("the first of them in the archive") { archive.digests.count == 5 }
                await next(false)
                try await catalog.put(Array(blobs.dropFirst(5)), deadline: .soon)
                try await age(server)
                await next(true)
                try await until("the others") { archive.digests == digests }
            }
        }
    }

    @Test func `a pass that fails is made again soon`() async throws {
        try await withPayloads { server, catalog in
            try await catalog.put(blobs, deadline: .soon)
            try await age(server)
            let archive = ScriptedTier(.archive)
            archive.failCall(1)
            try await running { settings in
                Demotion(from: catalog, to: archive, settings: settings, logger: silent)
            } _: {
                try await until("the archive to have them") { archive.digests == digests }
            }
        }
    }

    @Test func `a pass that is cut short is made again soon`() async throws {
        try await withPayloads { server, catalog in
            try await catalog.put(blobs, deadline: .soon)
            try await age(server)
            let archive = ScriptedTier(.archive)
            let looks = Mutex(0)
            try await running { settings in
                Demotion(
                    from: catalog, to: archive, settings: settings,
                    isTurn: {
                        // The second look is the first one of the first pass.
                        looks.withLock { looks in
                            looks += 1
                            return looks != 2
                        }
                    }, logger: silent)
            } _: {
                try await until("the archive to have them") { archive.digests == digests }
            }
        }
    }

    @Test func `a node whose turn it is not moves nothing`() async throws {
        try await withPayloads { server, catalog in
            try await catalog.put(blobs, deadline: .soon)
            try await age(server)
            let demotion = Demotion(
                from: catalog, to: ScriptedTier(.archive), isTurn: { false }, logger: silent)
            let report = try await demotion.pass()
            #expect(report.blobs == 0 && !report.isWhole)
            #expect(try await catalog.has(Array(digests), deadline: .soon) == digests)
        }
    }
}

/// A catalog whose connection breaks at a call: before it has an effect, or after.
private final class InterruptedBlobs: ColdBlobs {
    private struct State {
        var calls = 0
        var failingCall: Int?
    }

    private let inner: CatalogTier
    private let beforeDeletion: @Sendable () async -> Void
    private let state = Mutex(State())

    init(_ inner: CatalogTier, beforeDeletion: @escaping @Sendable () async -> Void = {}) {
        self.inner = inner
        self.beforeDeletion = beforeDeletion
    }

    /// Odd numbers break before a call, even ones after it.
    func failCall(_ number: Int) { state.withLock { $0.failingCall = number } }

    private func step() throws(TierFailure) {
        let fails = state.withLock { state in
            state.calls += 1
            return state.calls == state.failingCall
        }
        if fails { throw TierFailure(.catalog, .unavailable, "as the test says") }
    }

    private func interrupted<Value: Sendable>(
        _ body: () async throws(TierFailure) -> Value
    ) async throws(TierFailure) -> Value {
        try step()
        let value = try await body()
        try step()
        return value
    }

    func cold(
        unusedFor idle: Duration, after last: PayloadTable.Cold?, limit: Int, deadline: Instant
    ) async throws(TierFailure) -> [PayloadTable.Cold] {
        try await interrupted { () throws(TierFailure) in
            try await inner.cold(unusedFor: idle, after: last, limit: limit, deadline: deadline)
        }
    }

    func peek(_ digests: [Digest], deadline: Instant) async throws(TierFailure) -> [Digest: [UInt8]] {
        try await interrupted { () throws(TierFailure) in try await inner.peek(digests, deadline: deadline) }
    }

    func markArchived(
        _ digests: [Digest], unusedFor idle: Duration, deadline: Instant
    ) async throws(TierFailure) -> Set<Digest> {
        try await interrupted { () throws(TierFailure) in
            try await inner.markArchived(digests, unusedFor: idle, deadline: deadline)
        }
    }

    func dropArchived(
        _ digests: [Digest], unusedFor idle: Duration, deadline: Instant
    ) async throws(TierFailure) -> Set<Digest> {
        await beforeDeletion()
        return try await interrupted { () throws(TierFailure) in
            try await inner.dropArchived(digests, unusedFor: idle, deadline: deadline)
        }
    }

    func discard(damaged digests: [Digest], deadline: Instant) async throws(TierFailure) {
        try await interrupted { () throws(TierFailure) in
            try await inner.discard(damaged: digests, deadline: deadline)
        }
    }
}
