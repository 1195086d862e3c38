import CacheCore
import EsperTypes
import KernelCache
import NIOPosix
import RaftRuntime
import Synchronization
import TestSupport
import Testing

/// Redis that is not there, comes, goes, and comes back with what it had long ago: every call ends by its deadline with
/// right bytes or a failure, and it is used again without anybody's help.
@Suite(.timeLimit(.minutes(2))) struct RedisFaultTests {
    @Test func `Redis down at the start, gone in between, flapping, and back with an old dump`() async throws {
        try await withPrivateRedis { server in
            let load = Load()
            // What every start of the server brings back: copies that were damaged another day.
            for blob in load.blobs[..<8] { try await server.cli("SET", "esper:blob:\(blob.digest)", "of another day") }
            #expect(try await server.cli("SAVE") == "OK")
            await server.kill()
            let tier = try RedisTier(
                url: "redis://127.0.0.1:\(server.port)", on: MultiThreadedEventLoopGroup.singleton, seed: 1,
                logger: silent)
            var settings = GuardedTier.Settings()
            settings.breaker.firstPause = .milliseconds(10)
            settings.breaker.longestPause = .milliseconds(200)
            let guarded = GuardedTier(tier, settings: settings, seed: 1, logger: silent)
            await withTaskGroup(of: Void.self) { group in
                group.addTask { await guarded.run() }
                for worker in 0..<4 { group.addTask { await load.run(worker, on: guarded) } }
                do { try await walk(server, guarded, load) } catch { Issue.record(error) }
                group.cancelAll()
            }
            await tier.close()
            let (calls, problems) = load.outcome
            #expect(problems.isEmpty)
            #expect(calls > 100)
        }
    }

    private func walk(_ server: PrivateRedis, _ guarded: GuardedTier, _ load: Load) async throws {
        try await until("the breaker to open") { guarded.isSuspended }
        try await server.startServer()
        try await serves(guarded, load)
        await server.kill()
        try await until("the breaker to open") { guarded.isSuspended }
        try await server.startServer()
        try await serves(guarded, load)

        for _ in 0..<4 {
            await server.kill()
            await pause(.milliseconds(300))
            try await server.startServer()
            await pause(.milliseconds(300))
        }
        try await serves(guarded, load)
    }

    /// Returns when every blob is there, and right.
    private func serves(_ guarded: GuardedTier, _ load: Load) async throws {
        let right = Dictionary(uniqueKeysWithValues: load.blobs.map { ($0.digest, $0.bytes) })
        try await until("Redis to be used again") {
            try? await guarded.put(load.blobs, deadline: .soon)
            return (try? await guarded.get(load.blobs.map(\.digest), deadline: .soon)) == right
        }
    }
}

/// Callers that read, ask and write all the time.
private final class Load: Sendable {
    let blobs = (0..<16).map { Blob.sample(UInt64($0), size: 2000) }
    private let state = Mutex((calls: 0, problems: [String]()))

    var outcome: (calls: Int, problems: [String]) { state.withLock { $0 } }

    private static let limit: Duration = .milliseconds(200)
    /// What a busy machine may take to wake us.
    private static let slack: Duration = .seconds(10)

    func run(_ worker: Int, on tier: any BlobTier) async {
        var round = worker
        while !Task.isCancelled {
            let start = NodeClock.now()
            do throws(TierFailure) { try await call(round, on: tier, deadline: start + Self.limit) } catch {
                // A failure is an answer too, if it is one of those that Redis's absence can bring.
                if ![.unavailable, .suspended, .timedOut, .cancelled].contains(error.code) {
                    note("\(error.code): \(error)")
                }
            }
            if NodeClock.now() - start > Self.limit + Self.slack { note("a call took longer than its deadline") }
            state.withLock { $0.calls += 1 }
            round += 1
            await pause(.milliseconds(2))
        }
    }

    private func call(_ round: Int, on tier: any BlobTier, deadline: Instant) async throws(TierFailure) {
        let digests = blobs.map(\.digest)
        switch round % 4 {
        case 0: try await tier.put(Array(blobs[(round % 16)...]), deadline: deadline)
        case 1: _ = try await tier.has(digests, deadline: deadline)
        default:
            for (digest, bytes) in try await tier.get(digests, deadline: deadline)
            where Digest(hashing: bytes) != digest { note("wrong bytes for \(digest)") }
        }
    }

    private func note(_ problem: String) { state.withLock { $0.problems.append(problem) } }
}
