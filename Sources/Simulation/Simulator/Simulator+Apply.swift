import CacheCore
import Coordination
import EsperTypes
import RaftCore

/// What is committed becomes state, answers, expiries and events; reads and keep-alives are answered from it.
extension Simulator {
    func apply(_ entries: [Entry], _ node: Node, _ now: Instant) throws(SimulationFailure) {
        for entry in entries {
            guard entry.index == node.replica.applied.next else {
                throw SimulationFailure(
                    .monotonicApplied,
                    "n\(node.index + 1) is to apply \(entry.id) after \(node.replica.applied)")
            }
            if mutant == .forgetsAnswers, entry.index.rawValue % 8 == 0 { node.replica.forgetAnswers() }
            node.replica.apply(mistaken(entry, at: node), at: now)
            if try oracles.applied(entry, chain: node.replica.chain, by: node.index) { try happened(entry, node) }
            settle(node)
            node.replica.publish(into: &node.deliveries)
        }
        node.names?.applied(through: node.replica.applied, node.replica.state)
        node.appliedSinceSnapshot += entries.count
        step(node, .applied(through: node.replica.applied), now)
        snapshotIfDue(node)
    }

    /// An entry was applied for the first time.
    private func happened(_ entry: Entry, _ node: Node) throws(SimulationFailure) {
        let output = node.replica.output
        noteChanges(by: entry, node.replica.state)
        for result in output.results {
            try oracles.requests.answered(
                entry.payload, at: entry.index, result.reply, isDuplicate: result.isDuplicate)
            if case .compacted(let through) = result.reply.result {
                counters.keyCompactions += 1
                oracles.watches.compacted(through: through)
            }
        }
        oracles.watches.happened(output.events)
        for grant in output.grants where grant.kind == .lock {
            held[grant.session, default: []].append((grant.name, grant.token.rawValue))
        }
        for session in output.sessionsEnded {
            try oracles.sessions.ended(session, at: clock.now)
            expired(session)
        }
    }

    /// Answers those who wait at this node.
    private func settle(_ node: Node) {
        for result in node.replica.output.results {
            if result.isDuplicate { counters.duplicates += 1 }
            guard result.proposal.origin == node.id, result.proposal.boot == UInt64(node.life) else { continue }
            node.expiries[result.proposal.number] = nil
            guard let request = node.writes.removeValue(forKey: result.proposal.number) else { continue }
            if case .sessionGranted(let session, let ttl) = result.reply.result {
                oracles.sessions.promised(session, since: request.sentAt, ttl: ttl)
            }
            reply(to: request, .command(result.reply.result, isDuplicate: result.isDuplicate))
        }
    }

    // MARK: Sessions

    /// The leader proposes to end what its clock says is over.
    func expireSessions(_ node: Node, _ now: Instant) {
        guard let leader = whoExpires(for: node), let next = node.replica.sessions.findNextDeadline(), next <= now
        else { return }
        let expired = node.replica.sessions.expired(at: now, limit: CoordinationLimits.sessionsPerExpiry)
        guard !expired.isEmpty else { return }
        let number = workload.newAttempt()
        say("n\(node.index + 1) proposes the end of sessions \(expired)")
        node.expiries[number] = expired
        let envelope = Envelope(
            time: node.clock.wall(clock.now),
            proposal: ProposalID(origin: node.id, boot: UInt64(node.life), number: number), principal: "node/n",
            command: .expireSessions(
                expired, term: leader.raft.currentTerm, knownThrough: node.replica.applied))
        let proposal = Proposal(token: number, payload: envelope.encoded())
        if leader === node { propose(proposal, node, now) } else { receive(leader, .propose(proposal)) }
    }

    func refuseProposals(_ tokens: [UInt64], _ reason: RefusalReason, _ node: Node, _ now: Instant) {
        for token in tokens {
            if let sessions = node.expiries.removeValue(forKey: token) {
                node.replica.sessions.proposalFailed(sessions, retryAt: now + .milliseconds(50))
            } else {
                refuse(node.writes.removeValue(forKey: token), reason)
            }
        }
    }

    // MARK: Reads

    func serveRead(_ token: UInt64, _ node: Node) throws(SimulationFailure) {
        guard let request = node.reads.removeValue(forKey: token) else { return }
        switch request.command {
        case .keepAlive(let session): renew(session, for: request, at: node)
        case .read(let key):
            counters.reads += 1
            // Sharper than what clients can see: whether or not the value has changed since.
            guard node.replica.applied >= request.committed else {
                throw SimulationFailure(
                    .linearizability,
                    "n\(node.index + 1) reads at \(node.replica.applied); \(request.committed) was committed when it was asked"
                )
            }
            reply(to: request, .value(node.replica.read(key: key, binds: plan.bindsNames)))
        default: break
        }
    }

    /// Sessions are renewed by the leader alone, after a quorum confirmed that it leads.
    func renew(_ session: SessionID, for request: ClientRequest, at node: Node) {
        guard node.raft.currentRole == .leader else {
            return refuse(request, .notLeader(hint: node.raft.currentLeader))
        }
        guard let ttl = node.replica.sessions.keepAlive(session, at: node.clock.local(clock.now)) else {
            return reply(to: request, .sessionGone)
        }
        oracles.sessions.promised(session, since: request.sentAt, ttl: ttl)
        reply(to: request, .keptAlive(ttl))
    }

    func refuse(_ request: ClientRequest?, _ reason: RefusalReason) {
        guard let request else { return }
        var hint: Int?
        if case .notLeader(let leader) = reason { hint = leader.map { Int($0.rawValue) - 1 } }
        reply(to: request, .refused(hint: hint))
    }
}
