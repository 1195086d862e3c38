import Coordination
import EsperTypes
import RaftCore
import RaftStorage

/// Nodes: their turns, and the effects of their cores performed on the simulated world.
extension Simulator {
    typealias Node = SimulatedNode

    func receive(_ node: Node, _ input: Input) {
        guard node.isUp else { return }
        node.inbox.append(input)
        scheduleTurn(node)
    }

    func scheduleTurn(_ node: Node) {
        guard node.isUp, !node.isPaused, !node.isTurnScheduled else { return }
        node.isTurnScheduled = true
        let delay = plan.turnDelay == 0 ? 0 : UInt64(random.int(in: 0...plan.turnDelay))
        clock.schedule(.turn(node: node.index, life: node.life), after: delay)
    }

    func deliver(_ message: Message, from: Int, to: Int, epoch: UInt32) throws(SimulationFailure) {
        let node = nodes[to]
        guard node.isUp, network.epoch(from: from, to: to) == epoch, !network.isCut(from: from, to: to) else { return }
        guard let message = try mistaken(message, at: node) else { return }
        trace.mix(from << 8 | to)
        trace.mix(message)
        say("n\(from + 1) → n\(to + 1) \(message.summary)")
        receive(node, .event(.received(message, from: nodes[from].id)))
    }

    func timerFired(_ node: Node, life: UInt32) {
        guard node.life == life, node.timerAt <= clock.now else { return }
        node.timerAt = .max
        // Most deadlines have moved on since the timer was set.
        if node.isUp, !node.isPaused, node.clock.local(clock.now) < nextDeadline(node) { return setTimer(node) }
        scheduleTurn(node)
    }

    private func nextDeadline(_ node: Node) -> Instant {
        guard whoExpires(for: node) != nil, let expiry = node.replica.sessions.findNextDeadline() else {
            return node.seen.nextDeadline
        }
        return min(node.seen.nextDeadline, expiry)
    }

    /// Everything that waits is stepped, then flushed and performed until nothing is left to do.
    func turn(_ node: Node, life: UInt32) throws(SimulationFailure) {
        guard node.life == life else { return }
        node.isTurnScheduled = false
        guard node.isUp, !node.isPaused else { return }
        guard !node.disk.hasFailedSync else {
            throw SimulationFailure(.failStop, "n\(node.index + 1) goes on although a sync has failed")
        }
        let now = node.clock.local(clock.now)
        var inbox = spareInbox
        spareInbox = []
        swap(&inbox, &node.inbox)
        for input in inbox.prefix(plan.inboxBound) { try take(input, node, now) }
        if inbox.count > plan.inboxBound {
            node.inbox.insert(contentsOf: inbox.dropFirst(plan.inboxBound), at: 0)
            scheduleTurn(node)
        }
        inbox.removeAll(keepingCapacity: true)
        spareInbox = inbox
        if node.raft.isDue(at: now) { step(node, .deadlineReached, now) }
        expireSessions(node, now)
        try mistakes(after: node, now)
        repeat {
            node.raft.flush(at: now, into: &effects)
            node.seen = node.raft.takeGlance()
            steps?.add("flush", of: node, at: clock.now)
            try oracles.check(node, among: nodes)
            try perform(node, now)
        } while !effects.isEmpty
        releaseWatches(node)
        publishLease(of: node)
        try checkBriefNames(of: node, now)
        // A core that is made to break its rules would trap; then the oracles are the ones to find out.
        if !(mutant?.breaksCore ?? false) {
            // The end of the log, where things change, every time; the whole of it now and then.
            node.turns += 1
            node.raft.verify(tail: node.turns % 32 == 0 ? .max : 4)
        }
        if node.disk.damaged != nil, !node.seen.isQuarantined {
            say("n\(node.index + 1) has again what it lost")
            node.disk.healed()
        }
        traceState(node)
        setTimer(node)
    }

    /// Steps the core of a node.
    func step(_ node: Node, _ event: Event, _ now: Instant) {
        node.raft.step(event, at: now, into: &effects)
        steps?.add(event, of: node, at: clock.now)
    }

    private func take(_ input: Input, _ node: Node, _ now: Instant) throws(SimulationFailure) {
        switch input {
        case .event(.changeConfiguration(_, let request)) where mistakes(request, of: node, now): break
        case .event(let event):
            let lease = mutant == .leasesCountFromReceipt ? node.raft.findLease() : nil
            if try !passesOver(event, at: node) { step(node, event, now) }
            noteWordOfLeader(event, node, now)
            if mutant == .leasesCountFromReceipt { stretch(lease, by: event, node, now) }
        case .durable(let sequence):
            node.durableThrough = max(node.durableThrough, sequence)
            for held in node.held where held.after <= sequence { try send(held.message, from: node, to: held.to) }
            node.held.removeAll { $0.after <= sequence }
            step(node, .persisted(through: sequence), now)
        case .write(let request):
            node.writes[request.attempt] = request
            let payload = request.envelope(
                origin: node.id, life: node.life, padding: plan.workload.padding,
                binds: plan.bindsNames, time: node.clock.wall(clock.now))
            propose(Proposal(token: request.attempt, payload: payload), node, now)
        case .propose(let proposal): propose(proposal, node, now)
        case .scrubbed(let report):
            if mutant != .ignoresScrub { node.repair.scrubbed(report, at: now) }
            snapshotIfDue(node)
        case .read(let request):
            if case .keepAlive(let session) = request.command, node.raft.currentRole != .leader {
                return renew(session, for: request, at: node)
            }
            if try answersByLease(request, node, now) { return }
            node.reads[request.attempt] = request
            if servesAtOnce(request.command, node) {
                try serveRead(request.attempt, node)
            } else {
                step(node, .read([request.attempt]), now)
            }
        }
    }

    private func noteWordOfLeader(_ event: Event, _ node: Node, _ now: Instant) {
        guard case .received(let message, let sender) = event else { return }
        switch message {
        case .appendEntries, .installSnapshot:
            if node.raft.follows(sender, in: message.term) { node.leaderHeardAt = now }
        default: return
        }
    }

    private func setTimer(_ node: Node) {
        let deadline = max(clock.now + 1000, node.clock.global(nextDeadline(node)))
        guard deadline < node.timerAt else { return }
        node.timerAt = deadline
        clock.schedule(.timer(node: node.index, life: node.life), at: deadline)
    }

    private func traceState(_ node: Node) {
        trace.mix(node.index)
        trace.mix(node.seen.term.rawValue << 8 | UInt64(node.seen.role.rawValue))
        trace.mix(node.seen.commit.rawValue)
        trace.mix(node.replica.chain)
    }

    // MARK: Effects

    private func perform(_ node: Node, _ now: Instant) throws(SimulationFailure) {
        guard !effects.isEmpty else { return }
        var performing = spareEffects
        spareEffects = []
        swap(&performing, &effects)
        for effect in performing { try perform(effect, node, now) }
        performing.removeAll(keepingCapacity: true)
        spareEffects = performing
    }

    private func perform(_ effect: Effect, _ node: Node, _ now: Instant) throws(SimulationFailure) {
        switch effect {
        case .persist(let batch): try persist(batch, node)
        case .send(let message, let to, let after):
            if let after, after > node.durableThrough, !(mutant?.releases(message) ?? false) {
                node.held.append((after, message, to))
            } else {
                try send(message, from: node, to: to)
            }
        case .apply(let entries): try apply(entries, node, now)
        case .proposalsAppended(let tokens, let first):
            say("n\(node.index + 1) appended \(tokens.count) at \(first)")
            if mutant == .answersBeforeCommit { answerEarly(tokens, node) }
        case .proposalsRefused(let tokens, let reason):
            refuseProposals(tokens, reason, node, now)
        case .readReady(let tokens, let index):
            guard index <= node.replica.applied else {
                throw SimulationFailure(
                    .driverContract, "n\(node.index + 1) is to serve reads at \(index), applied \(node.replica.applied)"
                )
            }
            if plan.raft.readLease > .zero, node.raft.readsByLease(at: now) { counters.leaseReads += tokens.count }
            for token in tokens where !node.strandedReads.contains(token) { try serveRead(token, node) }
        case .readRefused(let tokens, let reason):
            for token in tokens { refuse(node.reads.removeValue(forKey: token), reason) }
        case .roleChanged(let change):
            counters.roleChanges += 1
            if change.role == .leader || change.role == .candidate { passedDelicatePoint(node) }
            try staysCalm(node, change)
            try oracles.candidacies.check(change, of: node, at: now, plan.raft)
            if change.role == .leader {
                node.hasLed = true
                if mutant == .newLeaderIgnoresLease { node.raft.commitsFrom = .zero }
                if mutant == .newLeaderForgetsHolders { node.raft.forgetHolders() }
                if mutant != .newLeaderKeepsDeadlines {
                    node.replica.sessions.becameLeader(at: now, grace: grace(node))
                }
            }
            say(
                "n\(node.index + 1) is \(change.role) in term \(change.term), leader "
                    + "\(change.leader.map { "n\($0.rawValue)" } ?? "unknown"): \(change.reason.rawValue)")
        case .transferFailed(let target, let failure):
            say("n\(node.index + 1) could not hand over to \(target.map { "n\($0.rawValue)" } ?? "any"): \(failure)")
        case .readSnapshotChunk(let to, let descriptor, let offset, let maximumBytes):
            try readChunk(node, to, descriptor, offset, maximumBytes)
        case .writeSnapshotChunk(let descriptor, let offset, let bytes, let isLast):
            work(node, .received(descriptor, offset: offset, bytes: bytes, isLast: isLast))
        case .restoreStateMachine(let descriptor):
            if mutant == .snapshotsStrandReads { node.strandedReads.formUnion(node.reads.keys) }
            try restoreMachine(node, descriptor, now)
        case .discard: break
        case .configurationChange(let token, let outcome): configurationOutcome(outcome, of: token, at: node)
        case .configurationChanged(let configuration, let index):
            say("n\(node.index + 1) has \(configuration) of \(index)")
        }
    }

    /// What a new leader adds to every session's time: the one before may confirm keep-alives by its lease until that ends.
    private func grace(_ node: Node) -> Duration {
        let grace = Duration.nanoseconds(Int64(plan.sessions.grace))
        return mutant == .graceShorterThanLease ? grace : max(grace, plan.raft.readLease, node.raft.holderWait)
    }

    func send(_ message: Message, from node: Node, to: NodeID) throws(SimulationFailure) {
        let target = Int(to.rawValue) - 1
        // Nodes that only a broken cluster has.
        guard target < nodes.count else { return }
        guard let message = forged(message, from: node, to: nodes[target]) else { return }
        try Oracles.sent(message, by: node)
        try oracles.candidacies.sent(message, by: node, to: nodes[target])
        if mutant == .leaseSurvivesTransfer, case .timeoutNow = message { node.raft.isLeaseForsaken = false }
        steps?.send(message, from: node, to: to, at: clock.now)
        let arrivals = network.arrivals(from: node.index, to: target, now: clock.now, isHealed: isHealed)
        let epoch = network.epoch(from: node.index, to: target)
        for time in [arrivals.first, arrivals.second] {
            guard let time else { continue }
            clock.schedule(.deliver(message, from: node.index, to: target, epoch: epoch), at: time)
        }
    }

    private func persist(_ batch: WriteBatch, _ node: Node) throws(SimulationFailure) {
        if let first = batch.entries.first {
            let before = first.index.previous
            // The entry before the batch, as the core has it: what this batch itself did to the log is done already.
            let previous = node.raft.find(before)?.id
            try oracles.wrote(batch, after: previous, by: node.index)
        }
        if batch.truncateFrom != nil { counters.truncations += 1 }
        if batch.installedSnapshot != nil { counters.installedSnapshots += 1 }
        if batch.compaction != nil { counters.compactions += 1 }
        say("n\(node.index + 1) writes \(batch.summary)")
        noteNames(of: node, batch)
        node.disk.append(batch)
        if mutant == .reportsWritesEarly { receive(node, .durable(batch.sequence)) }
        // A vote given and not yet synced; the crash after its sync is drawn when that is done.
        if let vote = batch.hardState?.vote, vote != node.id { passedDelicatePoint(node) }
        beginWrite(node)
    }

    func beginWrite(_ node: Node) {
        guard node.disk.isIdle, node.disk.hasWaiting else { return }
        node.disk.beginWrite()
        var latency = random.int(in: plan.disk.latency)
        if !isHealed, plan.disk.slowPerMille > 0, random.chance(plan.disk.slowPerMille, in: 1000) {
            latency += random.int(in: 0...plan.disk.slowLatency)
        }
        let time = max(clock.now + UInt64(latency), faults.diskStalledUntil[node.index] ?? 0)
        clock.schedule(.written(node: node.index, life: node.life), at: time)
    }

    func written(_ node: Node, life: UInt32) throws(SimulationFailure) {
        guard node.life == life else { return }
        let vote = node.disk.image.hardState.vote
        let snapshot = node.disk.image.snapshot
        switch try node.disk.finishWrite() {
        case .nothing: break
        case .failed(let error):
            if try crashIfDead(node) { return }
            counters.diskFailures += 1
            say("n\(node.index + 1) stops: \(error)")
            return try crash(node)
        case .durable(let sequence):
            if node.disk.image.snapshot != snapshot {
                let used = node.raft.snapshotsOnTheirWay()
                let done: Void? = try atFiles(of: node) { () throws(StorageError) in
                    try node.disk.prune(keeping: used)
                }
                guard done != nil else { return }
            }
            if try crashIfDead(node) { return }
            say("n\(node.index + 1) synced write \(sequence)")
            if node.disk.image.hardState.vote != vote, node.disk.image.hardState.vote != node.id {
                passedDelicatePoint(node)
            }
            receive(node, .durable(mutant == .completionsNameLatest ? node.disk.lastHandedOver : sequence))
            try reserve(node)
        }
        beginWrite(node)
    }

    /// The core takes no entries while there is no room for what comes after them; the node looks again now and then.
    func reserve(_ node: Node) throws(SimulationFailure) {
        let room = try atFiles(of: node) { () throws(StorageError) in try node.disk.reserve() }
        guard let hasRoom = room else { return }
        noteRepair(of: node)
        let isFull = !hasRoom
        if isFull { clock.schedule(.reserve(node: node.index, life: node.life), after: 50_000_000) }
        guard isFull != node.isFull else { return }
        node.isFull = isFull
        if isFull { counters.fullDisks += 1 }
        if mutant != .acknowledgesWhatDidNotFit { receive(node, .event(.storageFull(isFull))) }
    }
}
