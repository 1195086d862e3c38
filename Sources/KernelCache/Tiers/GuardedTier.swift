public import CacheCore
public import EsperTypes
public import Logging
internal import CoreMetrics
internal import RaftRuntime
internal import Synchronization

/// A tier as the cache uses it, whatever the one behind it does:
///
/// - Every call ends by its deadline, and by the tier's own limit, even when the tier does not come back.
/// - A breaker keeps calls from a tier that fails, and ``run()`` probes until it is back: a tier that is down at the start,
///   breaks in between or flaps costs its callers nothing but refusals, and returns without a restart.
/// - Calls at once are bounded; calls given up that still run count. The probes are one more, at most.
/// - Bytes are checked against their digest. Wrong ones are dropped, counted, discarded in the tier, and reported as absent.
public final class GuardedTier: BlobTier {
    public struct Settings: Sendable {
        public var breaker = CircuitBreaker.Settings()
        /// No call takes longer, whatever its deadline.
        public var callLimit: Duration = .seconds(2)
        /// No call that writes takes longer.
        public var writeLimit: Duration = .seconds(10)
        /// A call that had less time than this and did not make it says nothing of the tier.
        public var patience: Duration = .milliseconds(100)
        /// At once, with those given up that the tier has not ended yet.
        public var maximumCalls = 256
        /// Digests of one question: a larger one is asked in parts, each with its own limit, so that only the tier's own slowness counts.
        public var digestsAtOnce = 1024

        public init() {}
    }

    public let tier: CacheTier
    /// In logs and metrics.
    public let label: String
    private let inner: any BlobTier
    private let settings: Settings
    private let logger: Logger
    private let metrics: TierMetrics
    private let state: Mutex<Guard>

    private struct Guard {
        var breaker: CircuitBreaker
        var calls = 0
        /// Whether ``run()`` makes the trials.
        var isProbed = false
        /// One of its probes has not ended yet, be it given up or not.
        var isProbing = false
        /// What last spoke against the tier.
        var reason = ""
    }

    /// - Parameters:
    ///   - label: a short word from a small fixed set, when the tier's own name does not tell enough.
    ///   - seed: of the breaker's pauses; different for every node and tier.
    public init(
        _ inner: any BlobTier, label: String? = nil, settings: Settings = Settings(), seed: UInt64, logger: Logger
    ) {
        self.inner = inner
        self.settings = settings
        tier = inner.tier
        self.label = label ?? inner.tier.name
        var logger = logger
        logger[metadataKey: "cache.tier"] = "\(self.label)"
        self.logger = logger
        metrics = TierMetrics(tier: self.label)
        state = Mutex(Guard(breaker: CircuitBreaker(settings: settings.breaker, seed: seed)))
    }

    /// Of the breaker.
    public var health: CircuitBreaker.State { state.withLock { $0.breaker.state } }

    /// What it has done, and how it stands.
    public var statistics: CacheStatistics.Tier {
        let (health, reason) = state.withLock { ($0.breaker.state, $0.reason) }
        var statistics = CacheStatistics.Tier(tier: tier, breaker: health.name)
        statistics.failures = metrics.failureCount
        statistics.corrupt = metrics.mismatches.current
        statistics.reason = health == .closed ? "" : reason
        statistics.hits = metrics.hits.current
        statistics.hitBytes = metrics.hitBytes.current
        statistics.misses = metrics.misses.current
        statistics.writes = metrics.writes.current
        statistics.writtenBytes = metrics.writtenBytes.current
        return statistics
    }

    /// Whether a call made now would be refused by the breaker.
    public var isSuspended: Bool { health != .closed }

    /// Probes the tier at once, and afterwards whenever its breaker allows a trial, until the task is cancelled. While it runs
    /// no caller's request is the trial. A probe that hangs is the only one: nothing would bound those left behind.
    public func run() async {
        state.withLock { $0.isProbed = true }
        defer { state.withLock { $0.isProbed = false } }
        var isDue = true
        while !Task.isCancelled {
            if isDue {
                // What it came to stands in the breaker.
                try? await call(limit: settings.callLimit, deadline: .distantFuture, isProbe: true) {
                    tier, deadline throws(TierFailure) in try await tier.probe(deadline: deadline)
                }
            }
            // A pause that is over by now was no pause: the probe hangs, or has told nothing of the tier.
            let pause = state.withLock { $0.breaker.nextTrial }.map { $0 - NodeClock.now() } ?? .zero
            let wait = pause > .zero ? min(pause, Self.look) + .milliseconds(1) : Self.look
            // Cancelled: the loop ends.
            try? await Task.sleep(for: wait, clock: .continuous)
            isDue = state.withLock { state in
                !state.isProbing && state.breaker.nextTrial.map { NodeClock.now() >= $0 } ?? false
            }
        }
    }

    /// How often ``run()`` looks whether the breaker has opened.
    private static let look: Duration = .milliseconds(100)

    // MARK: Calls

    public func get(_ digests: [Digest], deadline: Instant) async throws(TierFailure) -> [Digest: [UInt8]] {
        if digests.isEmpty { return [:] }
        let start = NodeClock.now()
        var found: [Digest: [UInt8]] = [:]
        for part in digests.parts(of: settings.digestsAtOnce) {
            let some = try await call(limit: settings.callLimit, deadline: deadline) {
                tier, deadline throws(TierFailure) in try await tier.get(part, deadline: deadline)
            }
            found.merge(some) { $1 }
        }
        metrics.readDuration.recordNanoseconds((NodeClock.now() - start).nanoseconds)
        var damaged: [Digest] = []
        for digest in digests {
            guard let bytes = found[digest], Digest(hashing: bytes) != digest else { continue }
            found[digest] = nil
            damaged.append(digest)
        }
        if !damaged.isEmpty { await discardNow(damaged, deadline: deadline) }
        let bytes = found.values.reduce(0) { $0 + $1.count }
        metrics.hits.add(UInt64(found.count))
        metrics.hitBytes.add(UInt64(bytes))
        metrics.misses.add(UInt64(max(0, digests.count - found.count)))
        return found
    }

    public func put(_ blobs: [Blob], deadline: Instant) async throws(TierFailure) {
        if blobs.isEmpty { return }
        let start = NodeClock.now()
        try await call(limit: settings.writeLimit, deadline: deadline) {
            tier, deadline throws(TierFailure) in try await tier.put(blobs, deadline: deadline)
        }
        metrics.writeDuration.recordNanoseconds((NodeClock.now() - start).nanoseconds)
        metrics.writes.add(UInt64(blobs.count))
        metrics.writtenBytes.add(blobs.reduce(0) { $0 + UInt64($1.bytes.count) })
    }

    public func has(_ digests: [Digest], deadline: Instant) async throws(TierFailure) -> Set<Digest> {
        var found: Set<Digest> = []
        for part in digests.parts(of: settings.digestsAtOnce) {
            let some = try await call(limit: settings.callLimit, deadline: deadline) {
                tier, deadline throws(TierFailure) in try await tier.has(part, deadline: deadline)
            }
            found.formUnion(some)
        }
        return found
    }

    public func keep(_ digests: [Digest], deadline: Instant) async throws(TierFailure) -> Set<Digest> {
        var found: Set<Digest> = []
        for part in digests.parts(of: settings.digestsAtOnce) {
            let some = try await call(limit: settings.callLimit, deadline: deadline) {
                tier, deadline throws(TierFailure) in try await tier.keep(part, deadline: deadline)
            }
            found.formUnion(some)
        }
        return found
    }

    public func peek(_ digests: [Digest], deadline: Instant) async throws(TierFailure) -> [Digest: [UInt8]] {
        var found: [Digest: [UInt8]] = [:]
        for part in digests.parts(of: settings.digestsAtOnce) {
            let some = try await call(limit: settings.callLimit, deadline: deadline) {
                tier, deadline throws(TierFailure) in try await tier.peek(part, deadline: deadline)
            }
            found.merge(some) { $1 }
        }
        return found
    }

    public func idle(
        for idle: Duration, after last: Digest?, limit: Int, deadline: Instant
    ) async throws(TierFailure) -> IdleBlobs {
        try await call(limit: settings.callLimit, deadline: deadline) {
            tier, deadline throws(TierFailure) in
            try await tier.idle(for: idle, after: last, limit: limit, deadline: deadline)
        }
    }

    public func remove(
        _ digests: [Digest], idleFor idle: Duration, deadline: Instant
    ) async throws(TierFailure) -> Set<Digest> {
        if digests.isEmpty { return [] }
        return try await call(limit: settings.writeLimit, deadline: deadline) {
            tier, deadline throws(TierFailure) in
            try await tier.remove(digests, idleFor: idle, deadline: deadline)
        }
    }

    public func delete(_ digests: [Digest], deadline: Instant) async throws(TierFailure) {
        if digests.isEmpty { return }
        try await call(limit: settings.writeLimit, deadline: deadline) {
            tier, deadline throws(TierFailure) in try await tier.delete(digests, deadline: deadline)
        }
    }

    public func discard(damaged digests: [Digest], deadline: Instant) async throws(TierFailure) {
        if digests.isEmpty { return }
        try await call(limit: settings.writeLimit, deadline: deadline) {
            tier, deadline throws(TierFailure) in try await tier.discard(damaged: digests, deadline: deadline)
        }
    }

    public func probe(deadline: Instant) async throws(TierFailure) {
        try await call(limit: settings.callLimit, deadline: deadline) {
            tier, deadline throws(TierFailure) in try await tier.probe(deadline: deadline)
        }
    }

    public func close() async { await inner.close() }

    private func discardNow(_ damaged: [Digest], deadline: Instant) async {
        metrics.mismatches.add(UInt64(damaged.count))
        logger.error(
            "bytes of other digests than asked for; they are discarded",
            metadata: ["count": "\(damaged.count)", "digest": "\(damaged[0])"])
        do throws(TierFailure) {
            try await discard(damaged: damaged, deadline: deadline)
        } catch {
            // The next reader finds them again.
            logger.debug("damaged copies stay", metadata: ["error": "\(error)"])
        }
    }

    // MARK: Bounds

    private func call<Value: Sendable>(
        limit: Duration, deadline: Instant, isProbe: Bool = false,
        _ body: @escaping @Sendable (any BlobTier, Instant) async throws(TierFailure) -> Value
    ) async throws(TierFailure) -> Value {
        let start = NodeClock.now()
        let end = min(deadline, start + limit)
        guard start < end else { throw TierFailure(tier, .timedOut, "no time is left to ask") }
        let pass = try admit(isProbe: isProbe, at: start)
        let outcome = await finish(by: end, isProbe: isProbe) { [inner] () throws(TierFailure) in
            try await body(inner, end)
        }
        let now = NodeClock.now()
        switch outcome {
        case .success(let value):
            tell(state.withLock { $0.breaker.succeeded(pass, at: now) }, reason: nil)
            return value
        case .failure(let failure):
            metrics.failures(failure.code).add()
            if failure.code == .timedOut, end - start < settings.patience {
                state.withLock { $0.breaker.withdrawn(pass) }
            } else if failure.countsAgainstTier {
                let change = state.withLock { state in
                    state.reason = failure.message
                    return state.breaker.failed(pass, at: now)
                }
                tell(change, reason: failure)
            } else if failure.code == .full || failure.code == .invalid {
                // It answered.
                tell(state.withLock { $0.breaker.succeeded(pass, at: now) }, reason: nil)
            } else {
                state.withLock { $0.breaker.withdrawn(pass) }
            }
            throw failure
        }
    }

    private func admit(isProbe: Bool, at now: Instant) throws(TierFailure) -> CircuitBreaker.Pass {
        let result = state.withLock { state -> Result<CircuitBreaker.Pass, TierFailure> in
            // Calls that hang must not keep the probe away that finds the tier back.
            guard isProbe || state.calls < settings.maximumCalls else {
                return .failure(TierFailure(tier, .overloaded, "\(state.calls) calls are under way already"))
            }
            switch state.breaker.admit(at: now, trials: isProbe || !state.isProbed) {
            case .refused:
                return .failure(TierFailure(tier, .suspended, "it failed of late and is not asked for a while"))
            case .passed(let pass):
                if isProbe { state.isProbing = true } else { state.calls += 1 }
                return .success(pass)
            }
        }
        if case .failure(let failure) = result { metrics.failures(failure.code).add() }
        return try result.get()
    }

    /// The outcome of `body`, or a failure at the time given. A body that does not end is cancelled and left behind; it goes on
    /// counting as a call.
    private func finish<Value: Sendable>(
        by end: Instant, isProbe: Bool, _ body: @escaping @Sendable () async throws(TierFailure) -> Value
    ) async -> Result<Value, TierFailure> {
        let first = FirstOutcome<Result<Value, TierFailure>>()
        // Both are cancelled below, when the first of them has ended.
        let work = Task {
            let result: Result<Value, TierFailure>
            do throws(TierFailure) {
                result = .success(try await body())
            } catch {
                result = .failure(error)
            }
            self.state.withLock { if isProbe { $0.isProbing = false } else { $0.calls -= 1 } }
            first.set(result)
        }
        let timer = Task { [tier] in
            let wait = end - NodeClock.now()
            // A sleep that is cancelled has been overtaken by the work.
            try? await Task.sleep(for: wait, clock: .continuous)
            first.set(.failure(TierFailure(tier, .timedOut, "no answer in time")))
        }
        let result = await withTaskCancellationHandler {
            await first.value()
        } onCancel: { [tier] in
            first.set(.failure(TierFailure(tier, .cancelled, "the caller was cancelled")))
        }
        work.cancel()
        timer.cancel()
        return result
    }

    private func tell(_ change: CircuitBreaker.Change?, reason: TierFailure?) {
        guard let change else { return }
        metrics.isOpen.record(change.state == .closed ? 0 : 1)
        if case .open = change.state { metrics.openings.add() }
        switch (change.state, change.isNews) {
        case (.closed, true): logger.info("the tier serves again", metadata: ["openings": "\(change.openings)"])
        case (.open, true):
            logger.warning(
                "the tier fails and is left alone until it is back",
                metadata: ["error": "\(reason.map(\.description) ?? "")", "openings": "\(change.openings)"])
        default: logger.debug("the tier's breaker changed", metadata: ["state": "\(change.state.name)"])
        }
    }
}
