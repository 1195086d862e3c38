import Coordination
import EsperTypes
import Metrics
import RaftCore

/// What a node's runtime counts and measures.
struct RuntimeMetrics {
    /// Requests taken from the doors.
    let requests = Metrics.Counter(label: "runtime.requests")
    /// Reads of so many keys that they were answered from a copy of the state, on another thread.
    let longReads = Metrics.Counter(label: "runtime.reads.long")
    /// Commands passed on to the leader.
    let forwarded = Metrics.Counter(label: "runtime.proposals.forwarded")
    /// Commands a leader refused to append.
    let refused = Metrics.Counter(label: "runtime.proposals.refused")
    /// Commands sent again because their leader's term ended without them.
    let resent = Metrics.Counter(label: "runtime.proposals.resent")
    /// Batches handed to the log.
    let writes = Metrics.Counter(label: "runtime.log.batches")
    /// Batches that found the log's queue long.
    let congestedWrites = Metrics.Counter(label: "runtime.log.congested")
    /// Entries applied.
    let applied = Metrics.Counter(label: "raft.entries.applied")
    let snapshots = Metrics.Counter(label: "raft.snapshots.written")
    /// Passes of the scrub that were finished.
    let scrubPasses = Metrics.Counter(label: "storage.scrub.passes")
    let scrubBytes = Metrics.Counter(label: "storage.scrub.bytes")
    /// Files that a pass found damaged.
    let scrubDamages = Metrics.Counter(label: "storage.scrub.damages")
    /// One while this node neither votes nor leads, because its storage was damaged.
    let quarantined = Gauge(label: "raft.quarantined")
    /// Peers whose state was found to differ from this node's, and not to agree since.
    let differingPeers = Gauge(label: "raft.state.differing_peers")
    /// Differences found, this node's own from the majority's included.
    let stateDifferences = Metrics.Counter(label: "raft.state.differences")
    /// The highest index at which a peer's state was compared with this node's, and the same.
    let agreedIndex = Gauge(label: "raft.state.agreed_index")
    let expiredSessions = Metrics.Counter(label: "coordination.sessions.expired")
    let malformedQuestions = Metrics.Counter(label: "runtime.questions.malformed")

    private let leaderChanges = Metrics.Counter(label: "raft.leader.changes")
    private let elections: [RoleChange.Reason: Metrics.Counter] = Dictionary(
        uniqueKeysWithValues: RoleChange.Reason.allCases.map {
            ($0, Metrics.Counter(label: "raft.role.changes", dimensions: [("reason", $0.rawValue)]))
        })
    private let failures: [ServiceFailure.Code: Metrics.Counter] = Dictionary(
        uniqueKeysWithValues: ServiceFailure.Code.allCases.map {
            ($0, Metrics.Counter(label: "runtime.requests.failed", dimensions: [("code", $0.rawValue)]))
        })
    /// Seconds for which this node may go on answering for names by itself; 0: it has to ask.
    private let leaseRemaining = Gauge(label: "esper_cache_lease_remaining_seconds")
    /// Seconds since when it has held leases without a gap.
    private let leaseAge = Gauge(label: "esper_cache_lease_age_seconds")
    /// Lookups of names that had to ask, by reason.
    private let leaseRefusals = Metrics.Counter(label: "esper_cache_lookups_refused", dimensions: [("reason", "lease")])
    private let pendingRefusals = Metrics.Counter(
        label: "esper_cache_lookups_refused", dimensions: [("reason", "pending")])
    /// At the leader: commits that a quorum had and that waited for a node with a lease.
    private let heldCommits = Metrics.Counter(label: "esper_cache_commits_held")
    /// For how many seconds one has been waiting.
    private let heldFor = Gauge(label: "esper_cache_commit_held_seconds")
    /// At the leader: from the append of a change to a node with a lease until that node had it.
    private let invalidations = Metrics.Timer(label: "esper_cache_invalidation_duration")
    private let term = Gauge(label: "raft.term")
    private let isLeader = Gauge(label: "raft.is_leader")
    /// The longest that a follower has heard nothing of its leader, since it follows it.
    private let leaderSilence = Gauge(label: "raft.leader.silence.seconds")
    private let commitIndex = Gauge(label: "raft.commit_index")
    private let appliedIndex = Gauge(label: "raft.applied_index")
    private let durableIndex = Gauge(label: "raft.durable_index")
    private let logBytes = Gauge(label: "raft.log.bytes")
    private let uncommittedBytes = Gauge(label: "raft.uncommitted.bytes")
    private let pendingRequests = Gauge(label: "runtime.requests.pending")
    /// Bytes of the commands that wait for their commit; bounded by ``RuntimeOptions/maximumPendingBytes``.
    private let pendingBytes = Gauge(label: "runtime.requests.pending.bytes")
    /// Watches and observations; bounded by ``RuntimeOptions/maximumWatches``.
    private let watches = Gauge(label: "runtime.watches")
    /// Bytes of events on their way to watches; bounded for each connection by ``RuntimeOptions/watchBytesPerConnection``.
    private let watchBytes = Gauge(label: "runtime.watches.bytes")
    private let keys = Gauge(label: "coordination.keys")
    private let sessions = Gauge(label: "coordination.sessions")
    private let outboxRecords = Gauge(label: "coordination.outbox.records")
    /// How long the oldest record has waited for the catalog, by the replicated clock; 0: none waits.
    private let outboxAge = Gauge(label: "coordination.outbox.age.seconds")

    func roleChanged(_ change: RoleChange) {
        elections[change.reason]?.increment()
        if change.role == .leader || change.reason == .leaderFound { leaderChanges.increment() }
    }

    func failed(_ code: ServiceFailure.Code) { failures[code]?.increment() }

    func observe(_ names: NameLeaseState, after told: NameLeaseState) {
        leaseRemaining.record((names.remaining ?? .zero).seconds)
        leaseAge.record((names.age ?? .zero).seconds)
        leaseRefusals.increment(by: Int(names.refusals &- told.refusals))
        pendingRefusals.increment(by: Int(names.pendingRefusals &- told.pendingRefusals))
    }

    func observe(heldCommits count: Int, for duration: Duration) {
        heldCommits.increment(by: count)
        heldFor.record(duration.seconds)
    }

    func invalidated(after duration: Duration) { invalidations.recordNanoseconds(duration.nanoseconds) }

    func observe(_ outbox: OutboxStatus, at time: UInt64) {
        outboxAge.record(Double(time - min(time, outbox.oldestTime ?? time)) / 1e9)
    }

    func observe(leaderSilence: Duration) { self.leaderSilence.record(leaderSilence.seconds) }

    func observe(_ watches: WatchRegistry) {
        self.watches.record(watches.count)
        watchBytes.record(watches.undeliveredBytes)
    }

    func observe(_ status: RaftStatus, _ summary: QueryReply, pending: Int, pendingBytes: Int) {
        term.record(status.term.rawValue)
        isLeader.record(status.role == .leader ? 1 : 0)
        commitIndex.record(status.commit.rawValue)
        appliedIndex.record(status.applied.rawValue)
        durableIndex.record(status.durable.rawValue)
        logBytes.record(status.logBytes)
        uncommittedBytes.record(status.uncommittedBytes)
        pendingRequests.record(pending)
        self.pendingBytes.record(pendingBytes)
        guard case .summary(let summary) = summary.result else { return }
        keys.record(summary.keys)
        sessions.record(summary.sessions)
        outboxRecords.record(summary.outboxRecords)
    }
}

extension Duration {
    fileprivate var seconds: Double { Double(nanoseconds) / 1e9 }
}
