internal import Coordination
internal import CoreMetrics
public import EsperTypes
public import Logging
public import PostgreSQL
internal import Synchronization

/// Whether the catalog keeps up.
public enum CatalogHealth: Hashable, Sendable {
    case ok
    /// Coordination goes on and records wait in the outbox, for this reason.
    case degraded(String)
}

/// Carries the outbox of a leader into PostgreSQL: every record exactly once and in order.
///
///     following ─ lead(term) ─→ fencing ─→ reading ⇄ writing ─→ acknowledging
///         ↑                        │ failed: wait with back-off, then from the start
///         └─ follow(), deposed ────┘
///
/// - Invariant: nothing is acknowledged before it is committed in PostgreSQL, so a crash at any line loses nothing.
///   What is written twice is stored once, for its position is its key.
/// - Invariant: the first transaction of a term fences, so a deposed leader's transactions are refused.
/// - PostgreSQL may be away for any time: records wait in the replicated outbox, up to its bound.
/// - A record that PostgreSQL refuses by itself is stored without its text, so that one cannot hold up the rest.
///
/// The schema is migrated before anything else, by followers too, so that it is ready when they come to lead.
public final class OutboxProjector: Sendable {
    public struct Options: Sendable {
        /// Records of one transaction.
        public var batchRecords = 512
        /// After the first record the rest of a burst may arrive for this long.
        public var linger: Duration = .milliseconds(20)
        /// An acknowledgement costs a log entry: it goes out after this many records, or this much time.
        public var acknowledgeRecords = 4096
        public var acknowledgeInterval: Duration = .milliseconds(500)
        /// How long one transaction may take.
        public var deadline: Duration = .seconds(10)
        public var minimumBackoff: Duration = .milliseconds(100)
        public var maximumBackoff: Duration = .seconds(5)
        /// Without any news the projector looks after the outbox this often, and asks PostgreSQL, which may take as long to answer:
        /// what ``OutboxProjector/health`` says is never older than both together.
        public var checkInterval: Duration = .seconds(5)

        public init() {}
    }

    private let source: any OutboxSource
    private let client: PostgreSQLClient
    private let writer: OutboxWriter
    private let migrator: Migrator
    private let options: Options
    private let seed: UInt64
    private let clock: any Clock<Duration>
    private let logger: Logger
    private let metrics = CatalogMetrics()
    private let bell = Doorbell()
    private let shared: Mutex<Shared>

    private struct Shared {
        var term: Term?
        var health = CatalogHealth.degraded("the catalog has not been reached yet")
        var isRunning = false
        let onHealth: @Sendable (CatalogHealth) -> Void
    }

    /// - Parameters:
    ///   - client: started and shut down by its owner, after this.
    ///   - node: this node's name.
    ///   - seed: of the jitter between attempts.
    ///   - onHealth: called when the health changes, in order; it must not call back.
    public init(
        client: PostgreSQLClient, source: any OutboxSource, cluster: ClusterID, node: String,
        options: Options = Options(), seed: UInt64, clock: any Clock<Duration> = ContinuousClock(), logger: Logger,
        onHealth: @escaping @Sendable (CatalogHealth) -> Void = { _ in }
    ) {
        self.client = client
        self.source = source
        self.options = options
        self.seed = seed
        self.clock = clock
        self.logger = logger
        writer = OutboxWriter(client: client, cluster: cluster, holder: node, deadline: options.deadline)
        migrator = Migrator(client: client, cluster: cluster)
        shared = Mutex(Shared(onHealth: onHealth))
    }

    // MARK: Events, from any thread

    /// This node leads in `term`, or, with nil, leads no more. Never blocks.
    public func leadershipChanged(_ term: Term?) {
        shared.withLock { $0.term = term }
        bell.ring()
    }

    /// There may be records. Never blocks.
    public func outboxGrew() { bell.ring() }

    public var health: CatalogHealth { shared.withLock { $0.health } }

    // MARK: The loop

    /// Works until the task is cancelled. Once only.
    public func run() async {
        let isFirst = shared.withLock { shared in
            defer { shared.isRunning = true }
            return !shared.isRunning
        }
        precondition(isFirst, "the projector runs already")
        var loop = Loop(
            backoff: Backoff(minimum: options.minimumBackoff, maximum: options.maximumBackoff),
            generator: SplitMix64(seed: seed))
        while !Task.isCancelled {
            do {
                try await turn(&loop)
            } catch CatalogError.deposed {
                // Raft will tell us too; until then this term is over for us.
                logger.info("catalog writes are refused: a later leader has fenced them")
                loop.deposed = loop.attempted
                loop.fenced = nil
            } catch {
                if Task.isCancelled { return }
                metrics.failures.increment()
                report(.degraded("\(error)"))
                loop.fenced = nil
                let pause = loop.backoff.next(using: &loop.generator)
                await bell.wait(atMost: .nanoseconds(Int64(clamping: pause)), clock: clock)
            }
        }
    }

    /// What the loop alone knows.
    private struct Loop {
        var backoff: Backoff
        var generator: SplitMix64
        var isMigrated = false
        /// The term that was last tried.
        var attempted: Term?
        /// A term in which another leader's fence was met.
        var deposed: Term?
        /// Set once the fence stands: where the catalog is and what was acknowledged.
        var fenced: (term: Term, position: OutboxRecord.ID, acknowledged: OutboxRecord.ID)?
        var unacknowledgedRecords = 0
        /// Since when an acknowledgement is due.
        var unacknowledgedSince: ContinuousClock.Instant?
        /// When PostgreSQL last answered.
        var answeredAt: ContinuousClock.Instant?
    }

    private func turn(_ loop: inout Loop) async throws {
        if !loop.isMigrated {
            try await migrator.migrate()
            loop.isMigrated = true
            logger.info("the catalog's schema is in place")
        }
        guard let term = shared.withLock({ $0.term }), term != loop.deposed else {
            loop.fenced = nil
            try await confirm(&loop)
            succeeded(&loop)
            await bell.wait(atMost: options.checkInterval, clock: clock)
            return
        }
        loop.attempted = term
        if loop.fenced?.term != term { try await fence(term, &loop) }
        guard let fenced = loop.fenced else { return }
        let records = try await source.records(after: fenced.position, limit: options.batchRecords)
        if records.isEmpty {
            var pause = options.checkInterval
            if fenced.acknowledged < fenced.position {
                let waited = loop.unacknowledgedSince.map { .now - $0 } ?? options.acknowledgeInterval
                if waited >= options.acknowledgeInterval { return try await acknowledge(&loop) }
                pause = options.acknowledgeInterval - waited
            }
            try await confirm(&loop)
            succeeded(&loop)
            await bell.wait(atMost: pause, clock: clock)
            // A burst shares a transaction. A sleep that is cancelled ends the loop anyway.
            try? await clock.sleep(for: options.linger)
            return
        }
        try await write(records, term, &loop)
        succeeded(&loop)
        if loop.unacknowledgedRecords >= options.acknowledgeRecords { try await acknowledge(&loop) }
    }

    /// Asks PostgreSQL whether it is there, unless it has lately shown that it is: one that hangs breaks no connection.
    private func confirm(_ loop: inout Loop) async throws {
        if let unavailable = client.status.unavailable { throw unavailable }
        if let answeredAt = loop.answeredAt, .now - answeredAt < options.checkInterval { return }
        _ = try await client.execute([Statement("SELECT 1")], within: options.checkInterval)
        loop.answeredAt = .now
    }

    private func fence(_ term: Term, _ loop: inout Loop) async throws {
        let position = try await writer.fence(term)
        let status = try await source.status()
        if position < status.acknowledgedThrough {
            logger.error(
                "the catalog has lost records that it had confirmed: was it restored from an older backup?",
                metadata: ["found": "\(position)", "confirmed": "\(status.acknowledgedThrough)"])
        }
        // What an earlier leader confirmed is gone from the outbox; nothing before it can be written any more.
        let start = max(position, status.acknowledgedThrough)
        loop.fenced = (term, start, status.acknowledgedThrough)
        loop.unacknowledgedRecords = 0
    }

    private func write(_ records: [OutboxRecord], _ term: Term, _ loop: inout Loop) async throws {
        let start = ContinuousClock.now
        try await store(records[...], term)
        loop.answeredAt = .now
        metrics.writeDuration.recordNanoseconds((ContinuousClock.now - start).nanoseconds)
        metrics.batchRecords.record(records.count)
        metrics.recordsWritten.increment(by: records.count)
        loop.unacknowledgedRecords += records.count
        if loop.unacknowledgedSince == nil { loop.unacknowledgedSince = .now }
        if let last = records.last { loop.fenced?.position = last.id }
    }

    private func acknowledge(_ loop: inout Loop) async throws {
        guard let position = loop.fenced?.position else { return }
        try await source.acknowledge(through: position)
        loop.fenced?.acknowledged = position
        loop.unacknowledgedRecords = 0
        loop.unacknowledgedSince = nil
    }

    /// Stores the records in order. Of a batch that PostgreSQL refuses for what it holds, the halves are tried, down
    /// to the record that is to blame, which is then stored without its text.
    private func store(_ records: ArraySlice<OutboxRecord>, _ term: Term) async throws(CatalogError) {
        do throws(CatalogError) {
            try await writer.write(Array(records), term: term)
        } catch {
            guard case .database(let cause) = error, Self.blamesData(cause) else { throw error }
            if records.count > 1 {
                let middle = records.startIndex + records.count / 2
                try await store(records[..<middle], term)
                try await store(records[middle...], term)
            } else if let record = records.first, !record.fields.contains(where: { $0.name == Self.reducedField }) {
                logger.error(
                    "PostgreSQL refuses a record; it is stored without its text",
                    metadata: ["position": "\(record.id)", "error": "\(cause)"])
                metrics.recordsReduced.increment()
                var reduced = record
                reduced.subject = ""
                reduced.actor = ""
                reduced.fields = [.init(Self.reducedField, cause.sqlState ?? "too large")]
                try await store([reduced], term)
            } else {
                throw error
            }
        }
    }

    private static let reducedField = "esper_refused"

    /// Data exceptions, broken constraints and program limits; and what the client itself would not send.
    private static func blamesData(_ error: PostgreSQLError) -> Bool {
        if error.kind == .invalidRequest { return true }
        guard error.kind == .server, let state = error.sqlState else { return false }
        return ["22", "23", "54"].contains(String(state.prefix(2)))
    }

    private func succeeded(_ loop: inout Loop) {
        loop.backoff.reset()
        report(.ok)
    }

    private func report(_ health: CatalogHealth) {
        let previous = shared.withLock { shared in
            let previous = shared.health
            shared.health = health
            if previous != health { shared.onHealth(health) }
            return previous
        }
        guard previous != health else { return }
        switch health {
        case .ok:
            metrics.degraded.record(0)
            logger.info("the catalog is up to date or catching up")
        case .degraded(let reason):
            metrics.degraded.record(1)
            logger.warning("the catalog is degraded; records wait in the outbox", metadata: ["error": "\(reason)"])
        }
    }
}
