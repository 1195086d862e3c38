import CacheCore
import EsperTypes
import KernelCache
import Logging
import RaftRuntime
import Synchronization
import TestSupport

let silent = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

extension Instant {
    /// A deadline that only a broken program reaches.
    static var soon: Instant { NodeClock.now() + .seconds(20) }
}

extension Blob {
    /// The same bytes for the same number.
    static func sample(_ number: UInt64, size: Int = 100) -> Blob {
        var state = number &* 0x9e37_79b9_7f4a_7c15
        let bytes = (0..<size).map { _ -> UInt8 in
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return UInt8(truncatingIfNeeded: state >> 56)
        }
        return Blob(digest: Digest(hashing: bytes), bytes: bytes)
    }
}

/// A tier in memory that does as the test says.
final class ScriptedTier: BlobTier {
    enum Behaviour: Sendable {
        case work
        case fail(TierFailure.Code)
        /// Each digest that it is asked for takes so long.
        case slow(Duration)
        /// Until ``ScriptedTier/release()``, whatever the deadline or a cancellation say.
        case hang
    }

    private struct State {
        var blobs: [Digest: [UInt8]] = [:]
        var discarded: [Digest] = []
        var behaviour = Behaviour.work
        var calls = 0
        var hanging: [CheckedContinuation<Void, Never>] = []
        var largestPut = 0
        var largestGet = 0
        /// The call with this number, counted from 1, fails.
        var failingCall: Int?
        /// Says that it has whatever it is asked for, this many times.
        var lies = 0
        /// Digests that ``ScriptedTier/has(_:deadline:)`` was asked for.
        var asked = 0
        var isClosed = false
    }

    let tier: CacheTier
    private let state = Mutex(State())

    init(_ tier: CacheTier = .redis) { self.tier = tier }

    func plant(_ digest: Digest, _ bytes: [UInt8]) { state.withLock { $0.blobs[digest] = bytes } }
    func behave(_ behaviour: Behaviour) { state.withLock { $0.behaviour = behaviour } }
    func failCall(_ number: Int?) { state.withLock { ($0.failingCall, $0.calls) = (number, 0) } }
    func lie(times: Int) { state.withLock { $0.lies = times } }
    var discarded: [Digest] { state.withLock { $0.discarded } }
    /// Blobs.
    var largestPut: Int { state.withLock { $0.largestPut } }
    /// Digests.
    var largestGet: Int { state.withLock { $0.largestGet } }
    var calls: Int { state.withLock { $0.calls } }
    var asked: Int { state.withLock { $0.asked } }
    var isClosed: Bool { state.withLock { $0.isClosed } }
    var digests: Set<Digest> { state.withLock { Set($0.blobs.keys) } }

    func release() {
        let hanging = state.withLock { state in
            defer { state.hanging = [] }
            return state.hanging
        }
        for continuation in hanging { continuation.resume() }
    }

    private func enter(_ digests: Int = 1) async throws(TierFailure) {
        let behaviour = state.withLock { state in
            state.calls += 1
            return state.failingCall == state.calls ? .fail(.unavailable) : state.behaviour
        }
        switch behaviour {
        case .work: return
        case .fail(let code): throw TierFailure(tier, code, "as the script says")
        case .slow(let time): await pause(time * digests)
        case .hang: await withCheckedContinuation { caller in state.withLock { $0.hanging.append(caller) } }
        }
    }

    func get(_ digests: [Digest], deadline: Instant) async throws(TierFailure) -> [Digest: [UInt8]] {
        try await enter()
        return state.withLock { state in
            state.largestGet = max(state.largestGet, digests.count)
            return state.blobs.filter { digests.contains($0.key) }
        }
    }

    func put(_ blobs: [Blob], deadline: Instant) async throws(TierFailure) {
        try await enter()
        state.withLock { state in
            state.largestPut = max(state.largestPut, blobs.count)
            for blob in blobs where state.blobs[blob.digest] == nil { state.blobs[blob.digest] = blob.bytes }
        }
    }

    func has(_ digests: [Digest], deadline: Instant) async throws(TierFailure) -> Set<Digest> {
        try await enter(digests.count)
        return state.withLock { state in
            state.asked += digests.count
            if state.lies > 0 {
                state.lies -= 1
                return Set(digests)
            }
            return Set(digests.filter { state.blobs[$0] != nil })
        }
    }

    func delete(_ digests: [Digest], deadline: Instant) async throws(TierFailure) {
        try await enter()
        state.withLock { state in for digest in digests { state.blobs[digest] = nil } }
    }

    func discard(damaged digests: [Digest], deadline: Instant) async throws(TierFailure) {
        try await enter()
        state.withLock { state in
            for digest in digests {
                state.blobs[digest] = nil
                state.discarded.append(digest)
            }
        }
    }

    func probe(deadline: Instant) async throws(TierFailure) { try await enter() }

    func close() async { state.withLock { $0.isClosed = true } }
}
