import Coordination
import CoreMetrics
import EsperTypes
import Logging
import NIOCore
import PeerTransport
import RaftCore

// What is committed and durable here becomes state, answers and events, in the log's order.
extension NodeCore {
    /// Entries between two looks at the clock.
    private static let applyStride = 32
    /// A node that is so many entries behind what is committed does not show the names of each turn, since a table that is shared is
    /// copied leaf by leaf as it changes.
    private static let longWay = 4096
    /// But it shows them so often, before it answers anybody, and when it can apply no more for now.
    private static let longestHidden: Duration = .seconds(1)

    func apply(_ entries: [Entry], _ now: Instant) {
        guard unapplied.isEmpty else {
            unapplied += entries
            return
        }
        unapplied = entries[...]
        applySome(now)
    }

    /// Applies what there is, or as much of it as links and timers can wait for: a node that catches up has to hear that
    /// its leader lives.
    func applySome(_ now: Instant) {
        noteWork(at: now)
        takeStateBack()
        let end = NodeClock.now() + Self.longestWork
        var count = 0
        var (isNewTerm, hasConfiguration) = (false, false)
        for entry in unapplied {
            if count > 0, count % Self.applyStride == 0, NodeClock.now() >= end { break }
            count += 1
            state.apply(entry, into: &output)
            appliedLog.add(entry)
            markIfDue(entry.index)
            if entry.term > appliedTerm {
                // Answers of earlier entries first: what they resolve is not lost.
                settleResults(now)
                appliedTerm = entry.term
                settleLostProposals(now)
                isNewTerm = true
            }
            if entry.kind == .configuration { hasConfiguration = true }
        }
        appliedIndex = unapplied[unapplied.startIndex + count - 1].index
        unapplied = unapplied.dropFirst(count)
        appliedLog.trim(toBytes: options.retainedTailBytes)
        metrics.applied.increment(by: count)
        let isLate = now - namesShownAt >= Self.longestHidden
        if unapplied.isEmpty || isLate || raft.committed.distance(from: appliedIndex) < Self.longWay { showNames() }
        settleResults(now)
        settleSessions(now)
        for grant in output.grants { granted(grant) }
        if !claims.isEmpty { for departure in output.departures { departed(departure) } }
        watches.publish(output.events, through: state.revision, into: &deliveries)
        tellNames()
        if output.outboxGrew, role == .leader { observer.outboxGrew() }
        for index in output.malformedEntries {
            logger.error("an entry cannot be read and was skipped", metadata: ["raft.index": "\(index)"])
        }
        if output.membersChanged {
            membersApplied()
        } else if isNewTerm || hasConfiguration {
            maintainMembers()
        }
        if isNewTerm || hasConfiguration { advanceMemberships() }
        if isNewTerm { maintainSettings() }
        output.removeAll()
        answerConfirmedReads()
        step(.applied(through: appliedIndex))
        snapshotIfDue()
        compactHistoryIfDue()
        workEnded = NodeClock.now()
    }

    /// Whoever looks at names from now on sees them as they are in the state.
    func showNames() {
        guard namesShownThrough < state.applied.index else { return }
        // Who may look comes before what there is to see.
        publishPermissions()
        names.applied(state)
        namesShownThrough = state.applied.index
        namesShownAt = NodeClock.now()
    }

    /// Tells which names have changed, once they are shown; where some were shown late, that any may have.
    private func tellNames() {
        if namesShownThrough < appliedIndex {
            areNamesUntold = areNamesUntold || !output.cacheChanges.isEmpty
        } else if areNamesUntold {
            areNamesUntold = false
            observer.namesChanged(nil)
        } else if !output.cacheChanges.isEmpty {
            observer.namesChanged(output.cacheChanges)
        }
    }

    private func settleResults(_ now: Instant) {
        for result in output.results {
            guard result.proposal.origin == id, result.proposal.boot == boot,
                let proposal = proposals.remove(result.proposal.number)
            else { continue }
            settle(proposal, result.reply, now)
        }
        output.results.removeAll(keepingCapacity: true)
    }

    private func settle(_ proposal: PendingProposal, _ reply: CommandReply, _ now: Instant) {
        if let key = proposal.claim { return settleClaim(key, proposal, reply, now) }
        if let caller = proposal.caller { return self.reply(caller, .command(reply)) }
        if let key = proposal.withdraws { return settleWithdrawal(key, reply, now) }
        if let token = proposal.membership { return admitted(token, reply.result) }
        if proposal.isBarrier, case .sent(let term, let epoch) = proposal.state {
            resend(now) { $0 == term && $1 < epoch }
        }
    }

    /// An entry of a new term was applied: what was sent to leaders of earlier terms and not applied by now is in no
    /// log, so it is sent again.
    private func settleLostProposals(_ now: Instant) { resend(now) { term, _ in term < appliedTerm } }

    /// Sends again what was sent in such a term and epoch: it is certainly in no log.
    private func resend(_ now: Instant, where isLost: (Term, UInt64) -> Bool) {
        var lost: [UInt64] = []
        proposals.forEach { number, proposal in
            if case .sent(let term, let epoch) = proposal.state, isLost(term, epoch) { lost.append(number) }
        }
        guard !lost.isEmpty else { return }
        metrics.resent.increment(by: lost.count)
        for number in lost {
            guard let proposal = proposals[number] else { continue }
            // What nobody waits for any more: an abandoned command, a barrier that another one has replaced.
            if proposal.isAbandoned || proposal.isBarrier {
                _ = proposals.remove(number)
            } else {
                proposals[number]?.state = .waiting
            }
        }
        submit(forgetExpiries(lost.filter { proposals[$0] != nil }), now)
    }

    private func settleSessions(_ now: Instant) {
        for change in output.sessionChanges { sessions.changed(change, at: now) }
        if !claims.isEmpty { for session in output.sessionsEnded { sessionEnded(session) } }
    }

    func expireSessions(_ now: Instant) {
        let expired = sessions.expired(at: now, limit: CoordinationLimits.sessionsPerExpiry)
        guard !expired.isEmpty else { return }
        metrics.expiredSessions.increment(by: expired.count)
        propose(.expireSessions(expired, term: term, knownThrough: appliedIndex), expiring: expired)
    }

    // MARK: - Reads

    func readsConfirmed(_ numbers: [UInt64], at index: LogIndex, _ now: Instant) {
        if index <= appliedIndex {
            answer(numbers, now)
        } else {
            confirmedReads.append((index, numbers))
        }
    }

    func answerConfirmedReads() {
        guard !confirmedReads.isEmpty else { return }
        let now = NodeClock.now()
        confirmedReads.removeAll { confirmed in
            guard confirmed.index <= appliedIndex else { return false }
            answer(confirmed.numbers, now)
            return true
        }
    }

    private func answer(_ numbers: [UInt64], _ now: Instant) {
        // One copy for all: each question to a property of a class would make its own.
        let state = state
        for number in numbers {
            if let read = reads.remove(number) { answer(read, from: state, now) }
        }
    }

    private func answer(_ read: PendingRead, from state: StateMachine, _ now: Instant) {
        switch read.purpose {
        case .query(let query, let caller): answerQuery(query, caller)
        case .longQuery: break
        case .keepAlive(let session, let caller):
            switch renew(session, now) {
            case .keptAlive(let ttl): reply(caller, .keptAlive(ttl: ttl))
            case .notLeader: askLeader(.keepAlive(session), caller)
            case .sessionNotFound, .done, .transferFailed, .membersChanged, .refused, .timeToLive, .certified,
                .notCertified:
                failUnknownSession(session, caller)
            }
        case .peerKeepAlive(let session, let peer, let token): self.answer(renew(session, now), token, peer)
        case .timeToLive(let session, let withKeys, let caller):
            answerTimeToLive(session, withKeys: withKeys, caller, now)
        case .peerTimeToLive(let session, let peer, let token): self.answer(timeToLive(session, now), token, peer)
        case .attachedKeys(let known, let caller): answerTimeToLive(known, withKeys: true, caller)
        case .stateCopy(let caller): reply(caller, .stateCopy(StateCopy(state)))
        }
    }

    /// A round failed or there is nobody to ask: wait for the next leader, until the deadline.
    func readsRefused(_ numbers: [UInt64], _ now: Instant) {
        if waitingReads.isEmpty, waitingProposals.isEmpty { nextRetry = now + options.retryInterval }
        waitingReads.append(contentsOf: numbers)
    }
}

extension CommandReply {
    /// The same reply, once the queued claim has become the first.
    func granted(_ token: FencingToken) -> CommandReply {
        var reply = self
        switch result {
        case .lock(var lock):
            (lock.isHeld, lock.holder) = (true, token)
            reply.result = .lock(lock)
        case .election(var election):
            election.isElected = true
            reply.result = .election(election)
        default: break
        }
        return reply
    }
}
