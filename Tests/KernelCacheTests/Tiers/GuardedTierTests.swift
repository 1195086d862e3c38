import CacheCore
import EsperTypes
import KernelCache
import Logging
import RaftRuntime
import Synchronization
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(1))) struct GuardedTierTests {
    private func guarded(_ tier: ScriptedTier, _ change: (inout GuardedTier.Settings) -> Void = { _ in }) -> GuardedTier
    {
        var settings = GuardedTier.Settings()
        settings.breaker.failures = 2
        settings.breaker.firstPause = .milliseconds(5)
        settings.breaker.longestPause = .milliseconds(20)
        change(&settings)
        return GuardedTier(tier, settings: settings, seed: 1, logger: silent)
    }

    @Test func `right bytes pass; wrong ones are dropped, discarded and absent`() async throws {
        let tier = ScriptedTier()
        let (right, wrong) = (Blob.sample(1), Blob.sample(2))
        tier.plant(right.digest, right.bytes)
        tier.plant(wrong.digest, right.bytes)
        let guarded = guarded(tier)
        let found = try await guarded.get([right.digest, wrong.digest, Blob.sample(3).digest], deadline: .soon)
        #expect(found == [right.digest: right.bytes])
        #expect(tier.discarded == [wrong.digest])
        #expect(try await guarded.has([right.digest, wrong.digest], deadline: .soon) == [right.digest])
    }

    @Test func `a tier that hangs costs no more than the deadline, and then nothing`() async throws {
        let tier = ScriptedTier()
        tier.behave(.hang)
        let guarded = guarded(tier) {
            $0.patience = .milliseconds(10)
            // Nobody tries whether it is back.
            ($0.breaker.firstPause, $0.breaker.longestPause) = (.seconds(60), .seconds(60))
        }
        for _ in 0..<2 {
            let start = NodeClock.now()
            let failure = await #expect(throws: TierFailure.self) {
                try await guarded.get([Blob.sample(1).digest], deadline: NodeClock.now() + .milliseconds(50))
            }
            #expect(failure?.code == .timedOut)
            #expect(NodeClock.now() - start < .seconds(5))
        }
        let failure = await #expect(throws: TierFailure.self) {
            try await guarded.get([Blob.sample(1).digest], deadline: .soon)
        }
        #expect(failure?.code == .suspended)
        #expect(tier.calls == 2)
        tier.release()
    }

    @Test func `a caller with too little time does not speak against the tier`() async throws {
        let tier = ScriptedTier()
        tier.behave(.hang)
        let guarded = guarded(tier) { $0.patience = .seconds(1) }
        for _ in 0..<10 {
            _ = try? await guarded.has([Blob.sample(1).digest], deadline: NodeClock.now() + .milliseconds(2))
        }
        #expect(guarded.health == .closed)
        tier.release()
    }

    @Test func `a large question is asked in parts, and only a part that takes long speaks against the tier`()
        async throws
    {
        let tier = ScriptedTier()
        let blobs = (0..<60).map { Blob.sample($0) }
        for blob in blobs { tier.plant(blob.digest, blob.bytes) }
        let guarded = guarded(tier) {
            $0.callLimit = .milliseconds(400)
            $0.digestsAtOnce = 8
        }
        // As a whole more than any call may take.
        tier.behave(.slow(.milliseconds(10)))
        for _ in 0..<2 {
            #expect(try await guarded.has(blobs.map(\.digest), deadline: .soon) == Set(blobs.map(\.digest)))
        }
        #expect(guarded.health == .closed)
        #expect(try await guarded.get(blobs.map(\.digest), deadline: .soon).count == 60)
        tier.behave(.slow(.milliseconds(100)))
        for _ in 0..<2 { _ = try? await guarded.has(blobs.map(\.digest), deadline: .soon) }
        #expect(guarded.isSuspended)
    }

    @Test func `a tier that is down at the start comes back without a restart`() async throws {
        let tier = ScriptedTier()
        tier.behave(.fail(.unavailable))
        let guarded = guarded(tier)
        let runner = Task { await guarded.run() }
        for _ in 0..<4 { _ = try? await guarded.get([Blob.sample(1).digest], deadline: .soon) }
        #expect(guarded.isSuspended)
        tier.behave(.work)
        try await until("the tier to be back") { guarded.health == .closed }
        try await guarded.put([.sample(1)], deadline: .soon)
        #expect(try await guarded.get([Blob.sample(1).digest], deadline: .soon).count == 1)
        runner.cancel()
        await runner.value
    }

    @Test func `calls that were given up count until they end`() async throws {
        let tier = ScriptedTier()
        tier.behave(.hang)
        let guarded = guarded(tier) {
            $0.maximumCalls = 3
            $0.patience = .seconds(1)
        }
        for _ in 0..<3 {
            _ = try? await guarded.has([Blob.sample(1).digest], deadline: NodeClock.now() + .milliseconds(2))
        }
        let failure = await #expect(throws: TierFailure.self) {
            try await guarded.has([Blob.sample(1).digest], deadline: .soon)
        }
        #expect(failure?.code == .overloaded)
        tier.behave(.work)
        tier.release()
        try await until("the calls to end") {
            (try? await guarded.has([Blob.sample(1).digest], deadline: .soon)) != nil
        }
    }

    @Test func `calls that hang do not keep the probe away that finds the tier back`() async throws {
        let tier = ScriptedTier()
        tier.behave(.hang)
        let guarded = guarded(tier) {
            $0.maximumCalls = 2
            $0.patience = .milliseconds(1)
        }
        for _ in 0..<2 {
            _ = try? await guarded.has([Blob.sample(1).digest], deadline: NodeClock.now() + .milliseconds(20))
        }
        #expect(guarded.isSuspended)
        // Those two go on hanging.
        tier.behave(.work)
        let runner = Task { await guarded.run() }
        defer {
            runner.cancel()
            tier.release()
        }
        try await until("the tier to be back", within: .seconds(5)) { guarded.health == .closed }
    }

    @Test func `a probe that hangs is the only one until it ends`() async throws {
        let tier = ScriptedTier()
        tier.behave(.hang)
        let guarded = guarded(tier) {
            $0.breaker.failures = 1
            $0.callLimit = .milliseconds(20)
            $0.patience = .milliseconds(1)
            $0.maximumCalls = 4
        }
        let runner = Task { await guarded.run() }
        defer {
            runner.cancel()
            tier.release()
        }
        try await until("the breaker to open", within: .seconds(5)) { guarded.isSuspended }
        // Some fifteen pauses of the breaker.
        await pause(.milliseconds(300))
        #expect(tier.calls == 1)
        #expect(guarded.statistics.failures == 1)
        tier.behave(.work)
        tier.release()
        try await until("the tier to be back", within: .seconds(5)) { guarded.health == .closed }
    }

    @Test func `a trial that tells nothing of the tier is not repeated at once`() async throws {
        let tier = ScriptedTier()
        tier.behave(.fail(.unavailable))
        let guarded = guarded(tier) { $0.breaker.failures = 1 }
        let runner = Task { await guarded.run() }
        defer { runner.cancel() }
        try await until("the breaker to open", within: .seconds(5)) { guarded.isSuspended }
        tier.behave(.fail(.overloaded))
        let before = tier.calls
        await pause(.milliseconds(300))
        #expect(tier.calls - before < 10)
        tier.behave(.work)
        try await until("the tier to be back", within: .seconds(5)) { guarded.health == .closed }
    }

    @Test func `a full tier still serves reads`() async throws {
        let tier = ScriptedTier()
        tier.behave(.fail(.full))
        let guarded = guarded(tier)
        for _ in 0..<10 { _ = try? await guarded.put([.sample(1)], deadline: .soon) }
        #expect(guarded.health == .closed)
    }

    @Test func `a caller that is cancelled is let go at once`() async throws {
        let tier = ScriptedTier()
        tier.behave(.hang)
        let guarded = guarded(tier)
        let call = Task { try await guarded.has([Blob.sample(1).digest], deadline: .distantFuture) }
        try await until("the call") { tier.calls == 1 }
        call.cancel()
        let failure = await #expect(throws: TierFailure.self) { try await call.value }
        #expect(failure?.code == .cancelled)
        tier.release()
    }
}
