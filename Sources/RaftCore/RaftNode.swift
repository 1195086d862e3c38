import DequeModule
public import EsperTypes

/// One member's share of a Raft cluster (Ongaro and Ousterhout 2014), as a value.
///
/// The driver owns it and alternates: ``step(_:at:into:)`` for each event of a turn of its loop, then one
/// ``flush(at:into:)``, then it performs the effects in order. Nothing here reads a clock, draws from a global
/// generator, suspends or does I/O.
///
///     follower ──silence or closed link──▶ preCandidate ──pre-vote quorum──▶ candidate ──vote quorum──▶ leader
///        ▲                                      │                               │                        │
///        └──────────────── a leader, a newer term, a lost vote, no quorum heard ─┴────────────────────────┘
///
/// Invariants (``checkInvariants()``): applied <= scheduled <= commit <= last; the base of the log <= snapshot <= commit;
/// nothing is applied before it is committed and durable here; at most one vote per term.
///
/// Wrong input: a message that contradicts the protocol is dropped without a trace, whoever sent it. An event that
/// contradicts the driver's contract traps.
public struct RaftNode: Sendable {
    public let options: RaftOptions
    public let id: NodeID
    var generator: SeededGenerator

    // Durable, once the write that carries it is.
    var hardState: HardState
    var isHardStateDirty = false
    /// The last write that carried the hard state.
    var hardStateSequence = WriteSequence.zero
    var log: RaftLog
    /// The newest snapshot that is durable here.
    var snapshot: SnapshotDescriptor?
    /// While it is there this node neither votes nor campaigns.
    var quarantine: Quarantine?

    // Volatile on every node.
    var commit: LogIndex
    /// The last entry handed to the state machine.
    var scheduled: LogIndex
    /// The last entry the driver reported as applied.
    var applied: LogIndex
    var role = Role.follower
    var leader: NodeID?
    /// The last leader that was heard, and the term that it led.
    var lastFollowed: (leader: NodeID, term: Term)?
    var downLinks: [NodeID] = []
    /// Who shall not lead while another voter can; see ``Event/setAside(_:)``.
    var setAside: [NodeID] = []
    /// This node is no member, though its log may not say so.
    var isExcluded = false
    var election: ElectionState
    var following = FollowerState()
    var inbound: InboundSnapshot?
    var forwardedReads: ForwardedReads
    var held: HeldLease
    /// When this node last took in entries that another leader made, or it started.
    var entriesGainedAt: Instant
    /// Confirmed reads that wait for the state machine, by rising index.
    var confirmedReads: Deque<(index: LogIndex, tokens: [UInt64])> = []

    // Of a leader.
    var peers: [Progress] = []
    var reads = ReadIndex()
    var lease = ReadLease()
    var roster = Roster()
    /// Nothing is committed before.
    package var commitsFrom = Instant.zero
    var transfer: LeadershipTransfer?
    var uncommittedBytes = 0
    /// The no-op of this leader's term.
    var termStart = LogIndex.zero
    var lastSession = SessionNonce.zero
    /// The configuration in force still asks something of this leader.
    var isConfigurationOpen = false
    /// The change that somebody waits for.
    var change: PendingChange?

    /// The instant of the last step or flush.
    var lastInstant: Instant

    // Of this turn.
    var nextSequence = WriteSequence(1)
    /// The highest write reported durable.
    var durableSequence = WriteSequence.zero
    /// Messages that leave when everything this turn writes is durable.
    var outbox: [(message: Message, to: NodeID)] = []
    var pendingInstall: SnapshotDescriptor?
    var pendingCompaction: Compaction?
    /// An installed snapshot that the state machine takes over once `sequence` is durable.
    var pendingRestore: (descriptor: SnapshotDescriptor, sequence: WriteSequence?)?
    /// The index of a restore that was handed over and not reported as applied yet: it may take its time.
    var restoring: LogIndex?

    // Admission.
    var isDriverStalled = false
    var isPaused = false
    /// What is left of the disk is kept for terms and votes.
    var isStorageFull = false
    var lastStallAttempt: Instant?

    /// - Parameters:
    ///   - id: this node; need not be a member of the configuration yet. One that joins knows ``Configuration/none``.
    ///   - restored: what storage found; the state machine has been restored from `restored.snapshot` already.
    ///   - seed: for timeouts and request numbers; must differ between the lives of a node.
    ///   - now: the moment of the start, on the clock of all later instants.
    public init(
        options: RaftOptions = RaftOptions(), id: NodeID, restored: RestoredState, seed: UInt64, at now: Instant
    ) {
        precondition(options.isValid, "options do not fit together: \(options)")
        self.options = options
        self.id = id
        var generator = SeededGenerator(seed: seed)
        hardState = restored.hardState
        log = RaftLog(restored: restored)
        snapshot = restored.snapshot
        quarantine = Quarantine(restored)
        inbound = restored.receiving.map(InboundSnapshot.init)
        let start = restored.snapshot?.index ?? .zero
        commit = start
        scheduled = start
        applied = start
        forwardedReads = ForwardedReads(firstNumber: generator.next())
        election = ElectionState(round: generator.next(), deadline: now)
        self.generator = generator
        held = HeldLease(seed: seed)
        lastInstant = now
        entriesGainedAt = now
        precondition(
            log.last.term <= hardState.term, "the log ends in term \(log.last.term), the hard state is at \(hardState)")
        // Alone, there is no leader to wait for.
        if !isOnlyVoter { resetElectionDeadline(at: now) }
    }

    /// Takes one event in. Most of its consequences wait for the flush that ends the turn.
    public mutating func step(_ event: Event, at now: Instant, into effects: inout [Effect]) {
        lastInstant = now
        switch event {
        case .received(let message, let from): receive(message, from: from, at: now, into: &effects)
        case .deadlineReached: deadlineReached(at: now, into: &effects)
        case .propose(let proposals): propose(proposals, into: &effects)
        case .read(let tokens): read(tokens, at: now, into: &effects)
        case .transferLeadership(let target): transferRequested(to: target, at: now, into: &effects)
        case .changeConfiguration(let token, let request):
            configurationChangeRequested(token, request, at: now, into: &effects)
        case .persisted(let sequence): persisted(through: sequence, at: now, into: &effects)
        case .applied(let index): applied(through: index)
        case .linkUp(let peer): linkUp(peer)
        case .linkDown(let peer): linkDown(peer, at: now)
        case .snapshotTaken(let descriptor, let retainFrom): snapshotTaken(descriptor, retainFrom: retainFrom)
        case .snapshotChunkRead(let to, let descriptor, let offset, let bytes, let isLast):
            snapshotChunkRead(
                to: to, descriptor, offset: offset, bytes: bytes, isLast: isLast, at: now, into: &effects)
        case .snapshotReadFailed(let to, let descriptor): snapshotReadFailed(to: to, descriptor, at: now)
        case .snapshotChunkWritten(let descriptor, let through):
            snapshotChunkWritten(descriptor, through: through, into: &effects)
        case .snapshotInstalled(let descriptor): snapshotInstalled(descriptor, into: &effects)
        case .snapshotWriteFailed(let descriptor): snapshotWriteFailed(descriptor)
        case .storageStalled(let isStalled): isDriverStalled = isStalled
        case .storageFull(let isFull): isStorageFull = isFull
        case .setAside(let nodes): setAside(nodes)
        case .excluded: isExcluded = true
        case .admission(let paused): isPaused = paused
        }
    }

    /// Ends a turn: at most one persist batch, then one AppendEntries per follower and window, one acknowledgement to
    /// the leader, what has become committed and durable to apply, and reads that are ready.
    public mutating func flush(at now: Instant, into effects: inout [Effect]) {
        lastInstant = now
        if role == .leader {
            advanceCommit(at: now)
            advanceReads(at: now, into: &effects)
            advanceConfiguration(at: now, into: &effects)
            handOverIfStalled(at: now)
            if options.readLease > .zero { lease.advance(commit: commit, last: log.last.index, at: now) }
        }
        emitPersist(at: now, into: &effects)
        emitOutbox(into: &effects)
        switch role {
        case .leader:
            replicateToPeers(at: now, into: &effects)
            advanceTransfer(at: now, into: &effects)
        case .follower:
            acknowledge(into: &effects)
            forwardReads(at: now, into: &effects)
        case .preCandidate, .candidate: break
        }
        emitApply(into: &effects)
        emitReadyReads(into: &effects)
        let discarded = log.takeDiscarded()
        if !discarded.isEmpty { effects.append(.discard(discarded)) }
    }

    private mutating func receive(
        _ message: Message, from: NodeID, at now: Instant, into effects: inout [Effect]
    ) {
        guard from != id else { return }
        downLinks.removeAll { $0 == from }
        switch message {
        case .preVoteRequest(let request): preVoteRequested(request, by: from, at: now, into: &effects)
        case .preVoteResponse(let response): preVoteReceived(response, from: from, at: now, into: &effects)
        case .requestVote(let request): voteRequested(request, by: from, at: now, into: &effects)
        case .requestVoteResponse(let response): voteReceived(response, from: from, at: now, into: &effects)
        case .appendEntries(let append): appendReceived(append, from: from, at: now, into: &effects)
        case .appendEntriesResponse(let response): appendAnswered(response, by: from, at: now, into: &effects)
        case .installSnapshot(let chunk): snapshotReceived(chunk, from: from, at: now, into: &effects)
        case .installSnapshotResponse(let response): snapshotAnswered(response, by: from, at: now, into: &effects)
        case .timeoutNow(let order): timeoutNowReceived(order, from: from, at: now, into: &effects)
        case .readIndexRequest(let request): readIndexRequested(request, by: from, at: now, into: &effects)
        case .readIndexResponse(let response): readIndexAnswered(response, into: &effects)
        }
    }
}
