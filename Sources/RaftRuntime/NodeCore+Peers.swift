import Coordination
import CoreMetrics
import EsperTypes
import Logging
import PeerTransport
import RaftCore

// Frames of the peers, and questions that only the leader can answer.
extension NodeCore: PeerDelegate {
    func received(_ frames: [PeerFrame], from peer: NodeID) {
        guard !isStopped else { return }
        let now = NodeClock.now()
        // The loop is looking at its links just now.
        busySince = now
        if peer == leader, let last = heard[peer] { leaderSilence = max(leaderSilence, now - last) }
        heard[peer] = now
        for frame in frames {
            switch frame {
            case .raft(let message): raft.step(.received(message, from: peer), at: now, into: &effects)
            case .forward(let term, let proposals): takeForwarded(proposals, of: term, from: peer)
            case .forwardRefused(let tokens, let reason):
                batch = .none
                ownRefused(tokens, reason, now)
            case .ask(let token, let bytes): asked(bytes, token: token, by: peer)
            case .answer(let token, let bytes): answered(bytes, token: token, now)
            }
        }
        scheduleTurn()
    }

    func linkUp(_ peer: NodeID) {
        guard !isStopped else { return }
        logger.info("link up", metadata: ["peer.id": "\(member(peer)?.name ?? peer.description)"])
        heard[peer] = NodeClock.now()
        step(.linkUp(peer))
        tellMembers(to: peer)
        maintainMembers()
        // So that it need not wait for the next round to know whether it has caught up.
        transport.send(.ask(0, PeerQuestion.report(ownReport(raft.status)).encoded()), to: peer)
        tellMarks(to: peer)
        // One that was set aside and started anew is so no more.
        noteStanding(of: peer, false)
        if isSetAside { transport.send(.ask(0, PeerQuestion.standsAside(true).encoded()), to: peer) }
        if peer == leader { sendBarrier() }
    }

    func linkDown(_ peer: NodeID, reason: LinkDownReason) {
        guard !isStopped else { return }
        logger.info(
            "link down",
            metadata: ["peer.id": "\(member(peer)?.name ?? peer.description)", "reason": "\(reason)"])
        reports[peer] = nil
        agreement.forget(peer)
        noteDiffering()
        needsBarrier = true
        step(.linkDown(peer))
        requeueQuestions(NodeClock.now(), lostPeer: peer)
    }

    private func takeForwarded(_ proposals: [ForwardedProposal], of term: Term, from peer: NodeID) {
        guard role == .leader, self.term == term, !isDraining else {
            let hint = role == .leader ? id : leader
            transport.send(.forwardRefused(proposals.map(\.token), .notLeader(hint: hint)), to: peer)
            return
        }
        let time = NodeClock.wallNanoseconds()
        var batch: [Proposal] = []
        batch.reserveCapacity(proposals.count)
        for var proposal in proposals {
            guard Envelope.stamp(time, into: &proposal.envelope) else {
                metrics.malformedQuestions.increment()
                continue
            }
            let number = foreignProposals.add((peer, proposal.token))
            batch.append(Proposal(token: number | Self.foreignMark, payload: proposal.envelope, origin: peer))
        }
        submit(foreign: batch, NodeClock.now())
    }

    // MARK: - Questions

    /// Asks the leader for a caller; waits for a leader when there is none.
    func askLeader(_ question: PeerQuestion, _ caller: Caller) {
        nextExpiry = min(nextExpiry, caller.deadline)
        let number = questions.add(PendingQuestion(question: question, caller: caller, asked: nil, since: term))
        ask(number)
    }

    /// Asks one member for a caller; waits for it while it cannot be reached.
    func ask(_ member: NodeID, _ question: PeerQuestion, _ caller: Caller) {
        nextExpiry = min(nextExpiry, caller.deadline)
        ask(
            questions.add(
                PendingQuestion(question: question, caller: caller, addressee: member, asked: nil, since: term)))
    }

    private func ask(_ number: UInt64) {
        guard var question = questions[number] else { return }
        guard role != .leader || question.addressee != nil else {
            _ = questions.remove(number)
            return answerMyself(question)
        }
        guard let addressee = question.addressee ?? leader,
            transport.send(.ask(number, question.words(NodeClock.now()).encoded()), to: addressee) == .queued
        else { return }
        question.asked = addressee
        question.since = term
        question.wasAsked = true
        questions[number] = question
        scheduleTurn()
    }

    /// The leader that a question was waiting for is this node.
    private func answerMyself(_ question: PendingQuestion) {
        switch question.question {
        case .keepAlive(let session):
            var numbers: [UInt64] = []
            keepAlive(session, question.caller, reads: &numbers)
            step(.read(numbers))
        case .timeToLive(let session, let withKeys):
            var numbers: [UInt64] = []
            timeToLive(session, withKeys: withKeys, question.caller, reads: &numbers)
            step(.read(numbers))
        case .transferLeadership(let target):
            transfers.append(PendingTransfer(asker: .caller(question.caller), target: target, since: question.since))
            if let target, target != id {
                step(.transferLeadership(to: target))
            } else {
                settleTransfers()
            }
        case .changeMembers:
            if case .changeMembers(let order) = question.words(NodeClock.now()) {
                carryOut(order, for: .caller(question.caller))
            }
        case .report, .members, .setAside, .standsAside, .marks, .certify: break
        }
    }

    /// Asks again whatever was asked of a peer that leads no more or cannot be reached.
    func requeueQuestions(_ now: Instant, lostPeer: NodeID? = nil) {
        guard questions.count > 0 else { return }
        var numbers: [UInt64] = []
        questions.forEach { number, question in
            if question.asked == nil || question.asked != question.addressee ?? leader || question.asked == lostPeer {
                numbers.append(number)
            }
        }
        for number in numbers {
            if let question = questions[number], case .transferLeadership(nil) = question.question,
                question.asked != nil, term > question.since
            {
                // Whoever was asked leads no more: that was all there was to do. Where somebody is to lead, whoever leads now is asked.
                _ = questions.remove(number)
                transfers.append(PendingTransfer(asker: .caller(question.caller), target: nil, since: question.since))
                continue
            }
            questions[number]?.asked = nil
            ask(number)
        }
        settleTransfers()
    }

    private func asked(_ bytes: [UInt8], token: UInt64, by peer: NodeID) {
        do throws(DecodingError) {
            switch try PeerQuestion(decoding: bytes) {
            case .report(let report): reports[peer] = report
            case .members(let table): membersTold(table)
            case .changeMembers(let order): carryOut(order, for: .peer(peer, token: token))
            case .setAside(let isSetAside): setAside(isSetAside, for: .peer(peer, token: token))
            case .standsAside(let isSetAside): noteStanding(of: peer, isSetAside)
            case .marks(let format, let marks): marksTold(marks, format: format, by: peer)
            case .certify(let request): certify(request, token, peer)
            case .keepAlive(let session): confirm(.peerKeepAlive(session, from: peer, token: token), token, peer)
            case .timeToLive(let session, _): confirm(.peerTimeToLive(session, from: peer, token: token), token, peer)
            case .transferLeadership(let target):
                guard role == .leader else { return answer(.notLeader, token, peer) }
                guard target != id else { return answer(.done, token, peer) }
                transfers.append(PendingTransfer(asker: .peer(peer, token: token), target: target, since: term))
                step(.transferLeadership(to: target))
            }
        } catch {
            metrics.malformedQuestions.increment()
            logger.warning(
                "a peer's question cannot be read", metadata: ["peer.id": "\(peer)", "error": "\(error)"])
        }
    }

    /// Answers a peer once a quorum has confirmed that this node leads.
    private func confirm(_ purpose: PendingRead.Purpose, _ token: UInt64, _ peer: NodeID) {
        guard role == .leader else { return answer(.notLeader, token, peer) }
        let deadline = NodeClock.now() + options.raft.electionTimeout * 2
        nextExpiry = min(nextExpiry, deadline)
        step(.read([reads.add(PendingRead(purpose: purpose, deadline: deadline))]))
    }

    func answer(_ answer: PeerAnswer, _ token: UInt64, _ peer: NodeID) {
        transport.send(.answer(token, answer.encoded()), to: peer)
    }

    private func answered(_ bytes: [UInt8], token: UInt64, _ now: Instant) {
        guard let answer = try? PeerAnswer(decoding: bytes) else {
            metrics.malformedQuestions.increment()
            return
        }
        switch answer {
        case .certified(let pem): return certifications.end(token, .certified(pem))
        case .notCertified(let code, let message):
            return certifications.end(token, .refused(code: code, message: message))
        default: break
        }
        if answer == .notLeader {
            // Asked again when the next leader is known, and with the next report.
            questions[token]?.asked = nil
            return
        }
        guard let question = questions.remove(token) else { return }
        switch (answer, question.question) {
        case (.keptAlive(let ttl), _): reply(question.caller, .keptAlive(ttl: ttl))
        case (.timeToLive(let granted, let remaining), .timeToLive(let session, let withKeys)):
            timeToLiveTold(
                SessionTimeToLive(session: session, granted: granted, remaining: remaining), withKeys: withKeys,
                question.caller)
        case (.sessionNotFound, .keepAlive(let session)), (.sessionNotFound, .timeToLive(let session, _)):
            failUnknownSession(session, question.caller)
        case (.transferFailed(let failure), _): failTransfer(question.caller, failure)
        case (.membersChanged(let done), .changeMembers): reply(question.caller, .membersChanged(done))
        case (.refused(let code, let message), _): fail(question.caller, code, message, .notCommitted)
        case (.done, .setAside): reply(question.caller, .done)
        case (_, .transferLeadership(let target)):
            // Handed over; the reply waits until this node knows to whom.
            transfers.append(PendingTransfer(asker: .caller(question.caller), target: target, since: question.since))
            settleTransfers()
        default:
            metrics.malformedQuestions.increment()
            fail(question.caller, .unconfirmed, "the leader's answer does not fit what it was asked", .unknown)
        }
    }

    // MARK: - Reports and status

    func report(_ now: Instant) {
        nextReport = now + options.reportInterval
        metrics.observe(leaderSilence: leaderSilence)
        metrics.observe(watches)
        observeNames()
        metrics.observe(raft.status, state.answer(.summary), pending: pendingCount, pendingBytes: proposals.bytes)
        if let outbox = outboxStatus { metrics.observe(outbox, at: state.time) }
        let bytes = PeerQuestion.report(ownReport(raft.status)).encoded()
        for member in members where member.id != id { transport.send(.ask(0, bytes), to: member.id) }
        tellMarks()
        requeueQuestions(now)
        maintainMembers()
        maintainSettings()
        advanceMemberships()
        standBack()
        snapshotIfDue()
        noteReadiness()
        let isOverdue = hasSentProposal(before: numberAtReport)
        numberAtReport = proposals.nextNumber
        if isOverdue { needsBarrier = true }
        sendBarrier()
    }

    private func ownReport(_ status: RaftStatus) -> NodeReport {
        NodeReport(
            role: status.role, isLearner: status.configuration.isLearner(id), term: status.term,
            applied: appliedIndex, durable: status.durable, version: String(version.prefix(32)),
            isStorageFull: isLogFull)
    }

    func clusterStatus() -> ClusterStatus {
        let status = raft.status
        let up = reachablePeers(NodeClock.now())
        let leaderMember = leader.flatMap(member)
        let configuration = status.configuration
        return ClusterStatus(
            clusterID: clusterID, answeredBy: name, leader: leaderMember?.name,
            leaderAPIAddress: leaderMember?.apiAddress, term: status.term, commitIndex: status.commit,
            appliedIndex: appliedIndex, revision: state.revision, outboxPending: outboxPending,
            members: members.filter { isListed($0.id, configuration) }.map { member in
                let isSelf = member.id == id
                let report = isSelf ? ownReport(status) : up.contains(member.id) ? reports[member.id] : nil
                let match = status.peers.first { $0.id == member.id }?.match
                return ClusterStatus.Member(
                    id: member.id, name: member.name, role: roleName(member.id, report, configuration),
                    isVoter: configuration.isVoter(member.id), isReachable: isSelf || up.contains(member.id),
                    appliedIndex: report?.applied ?? .zero, matchIndex: max(match ?? .zero, report?.durable ?? .zero),
                    version: report?.version ?? "", address: "\(member.peerHost):\(member.peerPort)",
                    apiAddress: member.apiAddress, zone: member.zone, isStorageFull: report?.isStorageFull ?? false,
                    isStateDifferent: agreement.differing.contains(member.id))
            },
            pendingChange: status.isConfigurationPending || configuration.isJoint ? "\(configuration)" : nil,
            readiness: readiness, isDraining: isDraining, isIsolated: isIsolated)
    }

    /// Those with a link over which something came of late. A node that hangs, or whose network swallows what it says,
    /// keeps its links for long; but every node reports now and then.
    private func reachablePeers(_ now: Instant) -> Set<NodeID> {
        let silence = options.reportInterval * 3
        return Set(
            transport.status.filter { peer in
                peer.isUp && heard[peer.id].map { now - $0 <= silence } ?? false
            }.map(\.id))
    }

    /// Not those that have been removed and are about to be forgotten.
    private func isListed(_ id: NodeID, _ configuration: Configuration) -> Bool {
        configuration.contains(id) || book.record(id)?.isEnrolled != true
    }

    private var outboxPending: Int { outboxStatus?.count ?? 0 }

    var outboxStatus: OutboxStatus? {
        guard case .outboxStatus(let status) = state.answer(.outboxStatus).result else { return nil }
        return status
    }

    private func roleName(_ id: NodeID, _ report: NodeReport?, _ configuration: Configuration) -> String {
        if id == leader { return "leader" }
        if !configuration.isVoter(id), configuration.contains(id) { return "learner" }
        guard let report else { return "unknown" }
        switch report.role {
        // A report may be older than the election that we know of.
        case .leader, .follower: return report.isLearner ? "learner" : "follower"
        case .preCandidate, .candidate: return "candidate"
        }
    }
}

extension PendingQuestion {
    /// Whether somebody may have begun to do what is asked for.
    var mayBeBegun: Bool {
        guard case .changeMembers(let order) = question else { return wasAsked }
        return wasAsked || order.isRepeat
    }

    /// What to ask now: with the time that is left, and whether it may be begun.
    fileprivate func words(_ now: Instant) -> PeerQuestion {
        guard case .changeMembers(var order) = question else { return question }
        order.isRepeat = mayBeBegun
        order.patience = max(caller.deadline - now, .zero)
        return .changeMembers(order)
    }
}
