import Coordination
import CoreMetrics
import DequeModule
import EsperTypes
import Logging
import NIOCore
import PeerTransport
import RaftCore
import RaftStorage

/// The one loop of a node: it drives consensus over storage and transport, and applies what is committed.
///
/// Confined to one event loop, which also carries every channel to the peers; there are no locks and no suspension
/// between an input and its effects. A *turn* is everything that arrives in one tick of the loop: inputs are stepped
/// as they come, and at the end of the tick ``finishTurn()`` flushes the core once, so that one turn makes at most one
/// log write, one AppendEntries for each peer and one delivery to each door.
///
///     doors ──batches──▶ Mailbox ─┐                          ┌─▶ LogWriter ──durable──┐
///     peers ──frames───▶ delegate ─┼─▶ RaftNode.step, flush ──┼─▶ PeerTransport        │
///     timer ───────────▶ tick ────┘            ▲             └─▶ StateMachine ─▶ replies, watches
///                                              └──────────────────────────────────────┘
final class NodeCore {
    let eventLoop: any EventLoop
    let options: RuntimeOptions
    let clusterID: ClusterID
    let id: NodeID
    let boot: UInt64
    let name: String
    let version: String
    let incarnation: Incarnation
    /// The members of ``book``; before there is one, those that the settings list.
    var members: [ClusterMember]
    /// The newest copy of the replicated table that is known: the own state's, the one on disk, or a peer's.
    var book: MemberTable
    let logger: Logger
    let metrics = RuntimeMetrics()
    let observer: any NodeObserver
    let mailbox: Mailbox
    let heartbeat: Heartbeat
    let position: NodePosition
    let localReads: LocalReads
    let names: NameBoard
    var nameGuard = NameGuard()
    /// What the metrics were told last.
    var toldNames = NameLeaseState()
    var toldHeldCommits: UInt64 = 0
    /// Whether ``localReads`` has what is now the state.
    var isStateLent = false
    let directory: DataDirectory
    let snapshotWorker: SnapshotWorker
    let scrubber: Scrubber
    let log: LogWriter
    let transport: PeerTransport

    // Consensus and what it decides.
    var raft: RaftNode
    var state: StateMachine
    var effects: [Effect] = []
    var output = ApplyOutput()
    var role: Role = .follower
    var term: Term = .zero
    var leader: NodeID?
    var appliedTerm: Term = .zero
    var appliedIndex: LogIndex = .zero
    /// Cut off the log, for another thread to let go of.
    var discarded: [[Entry]] = []
    /// Handed over by the core, in order; apply takes turns with links and timers.
    var unapplied: ArraySlice<Entry> = []
    /// What the names that others see have in them, and since when.
    var namesShownThrough: LogIndex = .zero
    var namesShownAt = Instant.zero
    /// Names have changed, and nobody was told which.
    var areNamesUntold = false
    var durableThrough: WriteSequence = .zero
    /// Messages that wait for their write, in order of the write.
    var heldMessages: Deque<(after: WriteSequence, message: Message, to: NodeID)> = []
    var settings: CoordinationSettings

    // Who waits for what.
    var proposals = PendingTable<PendingProposal> { $0.envelope.count }
    var waitingProposals: [UInt64] = []
    /// Next for the log, once ``batch`` is not on its way any more: own proposals, and at the leader those of peers.
    var gathered: [UInt64] = []
    var gatheredForeign: [Proposal] = []
    var gatheredBytes = 0
    var batch = CommandBatch.none
    /// Rises with every barrier: a command of ours, sent after a link has failed to a leader that is still the same.
    ///
    /// Commands reach a leader in the order in which they were sent, or not at all, and a link that was replaced brings
    /// nothing more. So once a barrier is applied, what was sent to the same leader in an earlier epoch and not applied
    /// by then is in no log, and it may be sent again.
    var sendEpoch: UInt64 = 0
    /// A link failed, or the leader was out of sight, and commands may have been lost with it.
    var needsBarrier = false
    /// The number that the next proposal had at the last report: older ones that still wait may have been lost.
    var numberAtReport: UInt64 = 1
    var foreignProposals = PendingTable<(origin: NodeID, token: UInt64)>()
    var reads = PendingTable<PendingRead>()
    var waitingReads: [UInt64] = []
    var confirmedReads: [(index: LogIndex, numbers: [UInt64])] = []
    /// Numbers of reads that wait for a thread, oldest first; those whose time was over are passed over.
    var longReads: Deque<UInt64> = []
    var runningLongReads = 0
    var questions = PendingTable<PendingQuestion>()
    var certifications = PendingCertifications()
    var transfers: [PendingTransfer] = []
    var memberships: [UInt64: PendingMembership] = [:]
    var nextMembership: UInt64 = 1
    /// What the leader has proposed about the table and not seen applied.
    var tableProposals: [UInt64] = []
    /// The settings that this leader has proposed.
    var settingsProposal: UInt64?
    var claims: [ClaimKey: PendingClaim] = [:]
    /// Tokens of a sink's cancellable requests.
    var cancellable: [CallerKey: Cancellable] = [:]
    var replies: [ObjectIdentifier: (sink: any ReplySink, replies: [ServiceReply])] = [:]
    var watches: WatchRegistry
    var deliveries: [WatchDelivery] = []
    var watchCallers: [WatchID: Caller] = [:]
    var sessions: SessionClock
    var reports: [NodeID: NodeReport] = [:]
    /// When a peer last said anything.
    var heard: [NodeID: Instant] = [:]
    /// The longest that nothing was heard of the leader, since it is known.
    var leaderSilence = Duration.zero
    /// What the nodes say of their states, compared.
    var agreement = StateAgreement()
    /// Set when this node was found to have another state than the majority; it stops.
    var divergence: StateDifference?
    /// Why leadership could not be handed over last, in this role.
    var toldTransferFailure: TransferFailure?
    /// What the observer was told last of peers that differ.
    var toldDifference: String?

    // Timers and life.
    var isTurnScheduled = false
    /// Since when there has been work without a pause in which the loop looks at its links, and when the last of it ended.
    var busySince = Instant.zero
    var workEnded = Instant.zero
    /// Requests lie in the mailbox until the loop has looked at its links.
    var areRequestsLeft = false
    var isRestScheduled = false
    var timer: Scheduled<Void>?
    var timerDeadline = Instant.distantFuture
    var nextReport = Instant.zero
    var nextRetry = Instant.distantFuture
    /// When to look for requests whose deadline has passed.
    var nextExpiry = Instant.distantFuture
    /// What ``position`` was told last.
    var toldPosition: (Term, LogIndex)
    var toldAuth: AuthStatus
    /// What the observer was told last; it takes a node to be without a leader until told otherwise.
    var toldReadiness = Readiness.noLeader
    var isDraining = false
    /// An operator wants this node to lead nothing and serve nobody for a while.
    var isSetAside = false
    /// The peers of which the same is known.
    var peersSetAside: Set<NodeID> = []
    /// Why this node is no member any more, once it knows.
    var exclusion: Exclusion?
    var isStopped = false
    var isIsolated = false
    /// While the log's queue is too long and nothing is admitted: the last write that made it so.
    var congestedBy: WriteSequence?
    var isLogFull = false
    var isSnapshotRunning = false
    /// The snapshot on its way in that the log speaks of.
    var toldReceiving: SnapshotDescriptor?
    /// What the scrub or a reader found damaged, and is not made up for yet.
    var repair = StorageRepair()
    var nextScrub = Instant.distantFuture
    /// The write that names the newest snapshot, while older files must be kept for a start before it is durable.
    var pruneAfter: (write: WriteSequence, snapshot: SnapshotDescriptor)?
    var appliedLog = AppliedLog()
    /// What the log leads to, and its sessions, until it is known whether all of it is committed.
    var replay: (StateReplay, sessions: SessionClock)?
    /// The revision at which history is next compacted, if this node leads by then.
    var nextCompaction = Revision.zero

    init(
        _ parts: NodeParts, eventLoop: any EventLoop, observer: any NodeObserver, log: LogWriter, mailbox: Mailbox,
        heartbeat: Heartbeat, position: NodePosition, localReads: LocalReads, names: NameBoard
    ) throws {
        self.eventLoop = eventLoop
        self.observer = observer
        self.log = log
        self.mailbox = mailbox
        self.heartbeat = heartbeat
        self.position = position
        self.localReads = localReads
        self.names = names
        options = parts.options
        watches = WatchRegistry(readerBytes: parts.options.watchBytesPerConnection)
        let identity = parts.recovery.identity
        clusterID = identity.cluster
        id = identity.node
        boot = parts.seed
        name = parts.name
        version = parts.version
        incarnation = identity.incarnation
        directory = parts.directory
        let saved = directory.savedMembers().flatMap { try? MemberTable(decoding: $0) } ?? MemberTable()
        book = saved.version > parts.state.members.version ? saved : parts.state.members
        members = book.isEmpty ? parts.members : book.records.map { ClusterMember($0) }
        logger = parts.logger
        settings = parts.settings
        snapshotWorker = SnapshotWorker(store: parts.directory.snapshots)
        scrubber = Scrubber(parts.directory, bytesPerSecond: parts.options.scrubBytesPerSecond)
        let now = NodeClock.now()
        raft = RaftNode(
            options: parts.options.raft, id: identity.node, restored: parts.recovery.restored, seed: parts.seed, at: now
        )
        state = parts.state
        toldPosition = (parts.recovery.restored.hardState.term, parts.state.applied.index)
        toldAuth = parts.state.auth.status
        sessions = SessionClock(sessions: parts.state.sessionGrants, at: now)
        replay = parts.replay.map { ($0, SessionClock(sessions: $0.state.sessionGrants, at: now)) }
        appliedIndex = parts.state.applied.index
        namesShownThrough = appliedIndex
        appliedTerm = parts.state.applied.term
        transport = try PeerTransport(
            eventLoop: eventLoop,
            local: LocalPeer(
                cluster: identity.cluster, id: identity.node, incarnation: identity.incarnation, version: parts.version),
            credentials: parts.credentials,
            members: Self.peers(members, book), options: parts.peerOptions, seed: parts.seed, logger: parts.logger,
            now: parts.date)
        let status = raft.status
        term = status.term
        role = status.role
        leader = status.leader
    }

    /// A new leader may confirm no keep-alive for the length of a lease.
    var sessionGrace: Duration { max(options.sessionGrace, options.raft.readLease, raft.holderWait) }

    func member(_ id: NodeID) -> ClusterMember? { members.first { $0.id == id } }

    // MARK: - Turns

    /// Steps one event; its effects are performed at the end of the turn.
    func step(_ event: Event) {
        raft.step(event, at: NodeClock.now(), into: &effects)
        scheduleTurn()
    }

    /// Makes sure that ``finishTurn()`` runs at the end of this tick of the loop.
    func scheduleTurn() {
        guard !isTurnScheduled else { return }
        isTurnScheduled = true
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        eventLoop.execute { bound.value.finishTurn() }
    }

    func finishTurn() {
        isTurnScheduled = false
        guard !isStopped else { return }
        let now = NodeClock.now()
        heartbeat.beat(now)
        // Applying and refusing can step the core again; it settles because every event is consumed once.
        repeat {
            sendGathered(now)
            adoptReplayIfCommitted(now)
            raft.flush(at: now, into: &effects)
            perform(now)
        } while !effects.isEmpty
        // What was performed may have opened the way to the leader.
        sendGathered(now)
        for time in raft.takeHolderAcknowledgements() { metrics.invalidated(after: time) }
        letGoOfDiscarded()
        releaseWatches()
        if toldReadiness != .ready { noteReadiness() }
        publishPosition()
        names.note(raft.holderLease)
        deliverReplies()
        transport.flush()
        schedule(now)
        workEnded = NodeClock.now()
        restIfWorkIsLeft()
    }

    /// Tells where the node stands, if it has moved.
    private func publishPosition() {
        guard toldPosition != (term, appliedIndex) else { return }
        toldPosition = (term, appliedIndex)
        publishPermissions()
        position.publish(term, state.revision)
    }

    func publishPermissions() {
        // Disabling raises the revision, so a table that was enabled anew is told from what it was.
        let auth = state.auth.status
        guard auth != toldAuth else { return }
        toldAuth = auth
        position.publish(state.auth)
    }

    private func perform(_ now: Instant) {
        var performing: [Effect] = []
        swap(&performing, &effects)
        for effect in performing { perform(effect, now) }
        if effects.isEmpty {
            performing.removeAll(keepingCapacity: true)
            swap(&performing, &effects)
        }
    }

    private func perform(_ effect: Effect, _ now: Instant) {
        switch effect {
        case .persist(let batch):
            metrics.writes.increment()
            // Before anything leaves that tells somebody of these entries.
            names.note(batch, raft.holderLease)
            if let named = batch.compaction?.snapshot ?? batch.installedSnapshot {
                pruneAfter = (batch.sequence, named)
            }
            batchWritten(batch)
            noteCongestion(by: log.append(batch) == .congested ? batch.sequence : nil)
        case .send(let message, let peer, let after):
            if let after, after > durableThrough {
                heldMessages.append((after, message, peer))
            } else {
                transport.send(.raft(message), to: peer)
            }
        case .apply(let entries): apply(entries, now)
        case .proposalsAppended(let tokens, let first): proposalsAppended(tokens, first)
        case .proposalsRefused(let tokens, let reason): proposalsRefused(tokens, reason, now)
        case .readReady(let numbers, let index): readsConfirmed(numbers, at: index, now)
        case .readRefused(let numbers, _): readsRefused(numbers, now)
        case .roleChanged(let change): roleChanged(change, now)
        case .transferFailed(let target, let failure):
            // A node that stops asks again and again; what nobody waits for is told once.
            logger.log(
                level: transfers.isEmpty && failure == toldTransferFailure ? .debug : .info,
                "leadership transfer failed",
                metadata: [
                    "peer.id": "\(target.map { member($0)?.name ?? $0.description } ?? "any")",
                    "reason": "\(failure.rawValue)",
                ])
            toldTransferFailure = failure
            transfersFailed(failure)
        case .readSnapshotChunk(let peer, let descriptor, let offset, let maximumBytes):
            readSnapshotChunk(for: peer, descriptor, offset: offset, maximumBytes: maximumBytes)
        case .writeSnapshotChunk(let descriptor, let offset, let bytes, let isLast):
            writeSnapshotChunk(descriptor, offset: offset, bytes: bytes, isLast: isLast)
        case .restoreStateMachine(let descriptor): restoreStateMachine(descriptor)
        case .discard(let entries): discarded += entries
        case .configurationChange(let token, let outcome): configurationChange(token, outcome)
        case .configurationChanged(let configuration, let index):
            logger.notice(
                "configuration changed",
                metadata: ["raft.index": "\(index)", "raft.configuration": "\(configuration)"])
        }
    }

    // MARK: - The log's answers

    /// A leader that admits nothing may have nothing more to append, so the pause also ends with the write that caused it.
    private func noteCongestion(by write: WriteSequence?) {
        if write != nil { metrics.congestedWrites.increment() }
        let wasCongested = congestedBy != nil
        congestedBy = write
        if wasCongested != (write != nil) { step(.admission(paused: write != nil)) }
    }

    /// Without room for the next segment no entries are taken, while the log itself still has room for terms and votes.
    func logSpaceReserved(_ refusal: StorageError?) {
        guard !isStopped else { return }
        isLogFull = refusal != nil
        if let refusal {
            logger.error(
                "no room for the log's next file: commands are refused until there is",
                metadata: ["error": "\(refusal)"])
        } else {
            logger.notice("the log has room again")
        }
        step(.storageFull(isLogFull))
        // The peers are told at once.
        report(NodeClock.now())
    }

    func persisted(through sequence: WriteSequence) {
        guard !isStopped, sequence > durableThrough else { return }
        durableThrough = sequence
        if let write = congestedBy, write <= sequence { noteCongestion(by: nil) }
        while let held = heldMessages.first, held.after <= sequence {
            transport.send(.raft(held.message), to: held.to)
            heldMessages.removeFirst()
        }
        let wasQuarantined = raft.isQuarantined
        step(.persisted(through: sequence))
        if wasQuarantined, !raft.isQuarantined { quarantineEnded() }
        if let due = pruneAfter, due.write <= sequence {
            pruneAfter = nil
            pruneSnapshots(olderThan: due.snapshot)
        }
    }

    // MARK: - Roles

    private func roleChanged(_ change: RoleChange, _ now: Instant) {
        let wasLeader = role == .leader
        let isSameTerm = term == change.term
        role = change.role
        toldTransferFailure = nil
        batch = .none
        term = change.term
        leader = exclusion == .removed ? nil : change.leader
        leaderSilence = .zero
        position.publish(hasLeader: leader != nil, at: now)
        metrics.roleChanged(change)
        let level: Logger.Level = change.role == .leader || wasLeader ? .notice : .info
        logger.log(
            level: level, "role changed",
            metadata: [
                "raft.role": "\(change.role)", "raft.term": "\(change.term)", "reason": "\(change.reason.rawValue)",
                "leader": "\(change.leader.flatMap { member($0)?.name } ?? "none")",
            ])
        if change.role == .leader {
            // The leader before may have confirmed keep-alives by its lease until that ended.
            sessions.becameLeader(at: now, grace: sessionGrace)
            announceLeadership()
            report(now)
            observer.leadershipChanged(change.term)
        } else if wasLeader {
            observer.leadershipChanged(nil)
            handOverMemberships()
        }
        if leader != nil { retryWaiting(now) }
        // What went to the leader of an earlier term is settled by the first entry of this one.
        if isSameTerm { needsBarrier = true }
        sendBarrier()
        noteReadiness()
        settleTransfers()
        requeueQuestions(now)
    }

    /// The first commands of a leader: its term in the audit trail.
    private func announceLeadership() {
        // Nothing lies before the first entry of the first leader: the founders come first in the audit trail, unless there is none.
        // Should they be lost with it, the next leader makes up for it, see `maintainMembers`.
        if appliedIndex == .zero, raft.status.last.index == LogIndex(1) {
            if !settings.auditsCoordination { settingsProposal = propose(.configure(settings)) }
            proposeFounders()
        }
        let started = OutboxNote(
            kind: .leadershipStarted, subject: name, fields: [.init("node_id", id.description)])
        propose(.record([started], term: term))
    }

    /// Has the replicas apply by this leader's settings, once it has applied all that leaders before it have left.
    func maintainSettings() {
        guard role == .leader, appliedTerm == term, settingsProposal.flatMap({ proposals[$0] }) == nil,
            case .settings(let current) = state.answer(.settings).result
        else { return }
        var wanted = settings
        // A catalog has taken records: one member that is told of none does not end the trail of all.
        if let outbox = outboxStatus, outbox.acknowledgedThrough != .zero { wanted.auditsCoordination = true }
        if current != wanted { settingsProposal = propose(.configure(wanted)) }
    }

    /// What an operator did, with who did it.
    func recordAdministration(_ subject: String, _ fields: [OutboxRecord.Field], by principal: String) {
        propose(
            .record([OutboxNote(kind: .administration, subject: subject, fields: fields)], term: nil), by: principal)
    }

    // MARK: - Timers

    /// One timer for everything; it is only moved forward in time by firing, so most turns leave it alone.
    private func schedule(_ now: Instant) {
        var deadline = min(raft.nextDeadline, nextReport, nextExpiry, nextScrub, batchDeadline)
        if !waitingProposals.isEmpty || !waitingReads.isEmpty { deadline = min(deadline, nextRetry) }
        if role == .leader, let next = sessions.nextDeadline { deadline = min(deadline, next) }
        guard deadline < timerDeadline else { return }
        timer?.cancel()
        timerDeadline = deadline
        let delay = max((deadline - now).nanoseconds, 0)
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        timer = eventLoop.scheduleTask(in: .nanoseconds(delay)) { bound.value.tick() }
    }

    private func tick() {
        timer = nil
        timerDeadline = .distantFuture
        guard !isStopped else { return }
        let now = NodeClock.now()
        if raft.nextDeadline <= now { step(.deadlineReached) }
        if nextReport <= now { report(now) }
        if nextExpiry <= now { expireRequests(now) }
        if nextScrub <= now { scrub() }
        if nextRetry <= now { retryWaiting(now) }
        if role == .leader, let next = sessions.nextDeadline, next <= now { expireSessions(now) }
        scheduleTurn()
    }
}
