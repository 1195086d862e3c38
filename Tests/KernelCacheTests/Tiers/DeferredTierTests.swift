import CacheCore
import EsperTypes
import KernelCache
import RaftRuntime
import Synchronization
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(1))) struct DeferredTierTests {
    @Test func `it is unavailable until its place is there, and opened once`() async throws {
        let inner = ScriptedTier(.archive)
        let attempts = Atomic<Int>(0)
        let isThere = Atomic<Bool>(false)
        let tier = DeferredTier(.archive) { () throws(TierFailure) in
            attempts.add(1, ordering: .relaxed)
            guard isThere.load(ordering: .relaxed) else { throw TierFailure(.archive, .refused, "no such directory") }
            return inner
        }
        let early = await #expect(throws: TierFailure.self) { try await tier.put([.sample(1)], deadline: .soon) }
        #expect(early?.code == .unavailable)
        let probe = await #expect(throws: TierFailure.self) { try await tier.probe(deadline: .soon) }
        #expect(probe?.code == .refused)
        let later = await #expect(throws: TierFailure.self) { try await tier.has([], deadline: .soon) }
        #expect(later?.message == "no such directory")
        isThere.store(true, ordering: .relaxed)
        try await tier.probe(deadline: .soon)
        try await tier.probe(deadline: .soon)
        #expect(attempts.load(ordering: .relaxed) == 2)
        try await tier.put([.sample(1)], deadline: .soon)
        #expect(inner.digests == [Blob.sample(1).digest])
        await tier.close()
        let closed = await #expect(throws: TierFailure.self) { try await tier.probe(deadline: .soon) }
        #expect(closed?.code == .stopped)
    }

    @Test func `a place that hangs is asked once, and holds up nobody`() async throws {
        let inner = ScriptedTier(.archive)
        let calls = Mutex<[CheckedContinuation<Void, Never>]>([])
        let tier = DeferredTier(.archive) {
            await withCheckedContinuation { call in calls.withLock { $0.append(call) } }
            return inner
        }
        // Ends below, when the place answers.
        let first = Task { try? await tier.probe(deadline: .soon) }
        try await until("the first probe") { calls.withLock { $0.count } == 1 }
        let second = await #expect(throws: TierFailure.self) { try await tier.probe(deadline: .soon) }
        #expect(second?.code == .unavailable)
        #expect(calls.withLock { $0.count } == 1)
        await tier.close()
        for call in calls.withLock({ $0 }) { call.resume() }
        await first.value
        let closed = await #expect(throws: TierFailure.self) { try await tier.has([], deadline: .soon) }
        #expect(closed?.code == .stopped)
        #expect(inner.isClosed)
    }
}
