import Coordination
import CoreMetrics
import EsperTypes
import NIOCore
import PeerTransport
import RaftCore

/// A sink's name for one of its requests.
struct CallerKey: Hashable {
    var sink: ObjectIdentifier
    var token: UInt64

    init(_ sink: any ReplySink, _ token: UInt64) {
        self.sink = ObjectIdentifier(sink)
        self.token = token
    }
}

/// What a door can take back.
enum Cancellable {
    /// A claim that is not applied yet.
    case proposal(UInt64)
    case claim(ClaimKey)
    case watch(WatchID)
}

// Requests of the doors: how each kind is begun, and how every one of them ends.
extension NodeCore {
    /// Takes what the doors have handed over, or as much of it as links and timers can wait for; the rest comes after a look at them.
    func drainMailbox() {
        guard !isStopped else { return refuseRequests() }
        let now = NodeClock.now()
        noteWork(at: now)
        var commands: [UInt64] = []
        var numbers: [UInt64] = []
        areRequestsLeft = isRestDue(at: now)
        while !areRequestsLeft, let delivery = mailbox.next() {
            metrics.requests.increment(by: delivery.requests.count)
            for request in delivery.requests {
                let caller = Caller(
                    sink: delivery.sink, token: request.token, deadline: request.deadline, principal: request.principal)
                begin(request, caller, now, commands: &commands, reads: &numbers)
            }
            areRequestsLeft = isRestDue(at: NodeClock.now())
        }
        submit(commands, now)
        if !numbers.isEmpty { step(.read(numbers)) }
        scheduleTurn()
        workEnded = NodeClock.now()
    }

    /// Answers what the doors have handed over to a node that has stopped.
    func refuseRequests() {
        while let delivery = mailbox.next() {
            for request in delivery.requests where !request.operation.isControl {
                let caller = Caller(
                    sink: delivery.sink, token: request.token, deadline: request.deadline, principal: request.principal)
                fail(caller, .draining, "this node has stopped; ask another one", .notCommitted)
            }
        }
        deliverReplies()
    }

    private func begin(
        _ request: ServiceRequest, _ caller: Caller, _ now: Instant, commands: inout [UInt64], reads: inout [UInt64]
    ) {
        if let need = StateMachine.need(of: request.operation), !isAuthorized(need, caller) { return }
        switch request.operation {
        case .cancel: return cancel(CallerKey(caller.sink, caller.token))
        case .watchCredit(let bytes): return watchCredit(CallerKey(caller.sink, caller.token), bytes)
        case .watchProgress: return watchProgress(CallerKey(caller.sink, caller.token))
        case .status: return reply(caller, .status(clusterStatus()))
        case .isolate(let names): return isolate(fromPeers: names, caller, by: request.principal)
        case .heal: return heal(caller, by: request.principal)
        case .query(let query, linearizable: false):
            showNames()
            lendState()
            return answerQuery(query, caller)
        case .stateCopy(linearizable: false):
            return reply(caller, .stateCopy(StateCopy(state)))
        case .command, .claim, .query, .keepAlive, .timeToLive, .watch, .stateCopy, .transferLeadership, .changeMembers,
            .setAside:
            break
        }
        guard !isDraining else {
            return fail(caller, .draining, "this node is stopping; ask another one", .notCommitted)
        }
        guard exclusion != .removed else {
            return fail(caller, .draining, "\(Self.removed); ask another one", .notCommitted)
        }
        guard pendingCount < options.maximumPendingRequests else {
            return fail(caller, .overloaded, "too many requests wait on this node; try again", .notCommitted)
        }
        guard caller.deadline > now else {
            return fail(caller, .timedOut, "the deadline had passed when the request arrived", .notCommitted)
        }
        if let refusal = refusal(of: request.operation) {
            return reply(
                caller,
                .command(CommandReply(index: appliedIndex, revision: state.revision, result: .refused(refusal))))
        }
        nextExpiry = min(nextExpiry, caller.deadline)
        switch request.operation {
        case .command(let command, let id):
            addProposal(command, id, request.principal, caller, claim: nil).map { commands.append($0) }
        case .claim(let command, let id, let until):
            addProposal(command, id, request.principal, caller, claim: ClaimKey(command)).map { number in
                proposals[number]?.waitsUntil = until
                cancellable[CallerKey(caller.sink, caller.token)] = .proposal(number)
                commands.append(number)
            }
        case .query(let query, _):
            reads.append(
                self.reads.add(PendingRead(purpose: .query(query, caller), deadline: caller.deadline)))
        case .keepAlive(let session): keepAlive(session, caller, reads: &reads)
        case .timeToLive(let session, let withKeys): timeToLive(session, withKeys: withKeys, caller, reads: &reads)
        case .stateCopy:
            reads.append(self.reads.add(PendingRead(purpose: .stateCopy(caller), deadline: caller.deadline)))
        case .watch(let watch): beginWatch(watch, caller, connection: request.connection)
        case .transferLeadership(let name): transferLeadership(toMember: name, caller, by: request.principal)
        case .changeMembers(let changes): changeMembers(changes, caller, by: request.principal)
        case .setAside(let name, let isSetAside): setAside(isSetAside, name, caller, by: request.principal)
        case .cancel, .watchCredit, .watchProgress, .status, .isolate, .heal: break
        }
    }

    /// The next read of this kind need not come here, until something changes.
    private func lendState() {
        guard !isStateLent else { return }
        isStateLent = true
        localReads.lend(state)
    }

    /// Comes before every change of the state.
    func takeStateBack() {
        guard isStateLent else { return }
        isStateLent = false
        localReads.takeBack()
    }

    /// What breaks a limit whatever the state is has no place in the log.
    private func refusal(of operation: ServiceRequest.Operation) -> Refusal? {
        switch operation {
        case .command(let command, _), .claim(let command, _, _):
            do {
                try command.validate()
                return nil
            } catch {
                return .invalid(error)
            }
        case .query, .keepAlive, .timeToLive, .watch, .watchCredit, .watchProgress, .cancel, .status, .stateCopy,
            .transferLeadership, .isolate, .heal, .changeMembers, .setAside:
            return nil
        }
    }

    var pendingCount: Int { proposals.count + reads.count + questions.count + claims.count + memberships.count }

    // MARK: - Commands

    /// The node's own commands; nobody waits for their answer.
    ///
    /// - Parameter principal: who caused it; the node itself unless given.
    /// - Returns: its number among the proposals; nil when it is larger than an entry.
    @discardableResult
    func propose(_ command: Command, by principal: String? = nil, expiring sessions: [SessionID] = []) -> UInt64? {
        guard let number = addProposal(command, nil, principal ?? "node/" + name, nil, claim: nil) else { return nil }
        proposals[number]?.expiring = sessions
        submit([number], NodeClock.now())
        return number
    }

    /// Gives up those of the proposals that only the leader of their term may make.
    func forgetExpiries(_ numbers: [UInt64]) -> [UInt64] {
        numbers.filter { number in
            guard let expiring = proposals[number]?.expiring, !expiring.isEmpty else { return true }
            _ = proposals.remove(number)
            sessions.proposalFailed(expiring, retryAt: NodeClock.now() + options.retryInterval)
            return false
        }
    }

    func addProposal(
        _ command: Command, _ request: RequestID?, _ principal: String, _ caller: Caller?, claim: ClaimKey?
    ) -> UInt64? {
        let envelope = Envelope(
            proposal: ProposalID(origin: id, boot: boot, number: proposals.nextNumber), request: request,
            principal: principal, command: command
        ).encoded()
        guard envelope.count <= Limits.entryPayloadBytes else {
            if let caller {
                fail(
                    caller, .oversized, "the command has \(envelope.count) bytes; at most \(Limits.entryPayloadBytes)",
                    .notCommitted)
            }
            return nil
        }
        // Without a quorum commands gather here; the node's own are few and small, and must not be lost to others'.
        if let caller, proposals.bytes + envelope.count > options.maximumPendingBytes {
            fail(
                caller, .overloaded, "\(proposals.bytes) bytes of commands wait on this node; try again",
                .notCommitted)
            return nil
        }
        return proposals.add(PendingProposal(caller: caller, state: .waiting, envelope: envelope, claim: claim))
    }

    /// After a link failed and the leader stayed the same: finds out by a command of no effect which of those sent before
    /// it were lost. See ``sendEpoch``.
    func sendBarrier() {
        guard needsBarrier, role != .leader, leader != nil else { return }
        needsBarrier = false
        guard hasSentProposal(before: .max),
            let number = addProposal(.expireSessions([], term: term), nil, "node/" + name, nil, claim: nil)
        else { return }
        sendEpoch += 1
        proposals[number]?.isBarrier = true
        submit([number], NodeClock.now())
    }

    /// Whether the end of a command that went to the present leader is awaited, by a caller or by the node itself.
    func hasSentProposal(before end: UInt64) -> Bool {
        var isFound = false
        proposals.forEach { number, proposal in
            if number < end, !proposal.isBarrier, case .sent(term, _) = proposal.state { isFound = true }
        }
        return isFound
    }

    func hold(_ numbers: [UInt64], _ now: Instant) {
        guard !numbers.isEmpty else { return }
        if waitingProposals.isEmpty, waitingReads.isEmpty { nextRetry = now + options.retryInterval }
        waitingProposals.append(contentsOf: numbers)
    }

    /// A leader was found, or it is time to try again.
    func retryWaiting(_ now: Instant) {
        nextRetry = now + options.retryInterval
        let numbers = waitingProposals.filter { proposals[$0] != nil }
        waitingProposals.removeAll(keepingCapacity: true)
        submit(numbers, now)
        let reads = waitingReads.filter { self.reads[$0] != nil }
        waitingReads.removeAll(keepingCapacity: true)
        if !reads.isEmpty { step(.read(reads)) }
    }

    func proposalsAppended(_ tokens: [UInt64], _ first: EntryID) {
        for token in tokens where token & Self.foreignMark != 0 {
            _ = foreignProposals.remove(token & ~Self.foreignMark)
        }
    }

    func proposalsRefused(_ tokens: [UInt64], _ reason: RefusalReason, _ now: Instant) {
        var refusedForeign: [NodeID: [UInt64]] = [:]
        var own: [UInt64] = []
        for token in tokens {
            if token & Self.foreignMark == 0 {
                own.append(token)
            } else if let foreign = foreignProposals.remove(token & ~Self.foreignMark) {
                refusedForeign[foreign.origin, default: []].append(foreign.token)
            }
        }
        for (origin, tokens) in refusedForeign { transport.send(.forwardRefused(tokens, reason), to: origin) }
        ownRefused(own, reason, now)
    }

    /// Nothing of these is in any log. What a better leader may take waits for one; what no leader takes ends here, but for
    /// the node's own commands: nobody else would make them again.
    func ownRefused(_ numbers: [UInt64], _ reason: RefusalReason, _ now: Instant) {
        metrics.refused.increment(by: numbers.count)
        let numbers = forgetExpiries(numbers)
        for number in numbers {
            if proposals[number]?.isAbandoned == true {
                _ = proposals.remove(number)
            } else {
                proposals[number]?.state = .waiting
            }
        }
        switch reason {
        case .notLeader, .transferring, .storageStalled, .quorumUnreachable, .leadershipLost, .unconfirmed:
            hold(numbers, now)
        case .overloaded, .paused:
            end(othersThanOwn(numbers, now), .overloaded, "the leader has too much to write; try again")
        case .storageFull:
            end(othersThanOwn(numbers, now), .storageFull, Self.storageFullMessage)
        case .oversized:
            end(numbers, .oversized, "the command is larger than an entry may be")
        }
    }

    /// Lets the node's own commands among these wait.
    private func othersThanOwn(_ numbers: [UInt64], _ now: Instant) -> [UInt64] {
        hold(numbers.filter { proposals[$0]?.isOwn == true }, now)
        return numbers.filter { proposals[$0]?.isOwn != true }
    }

    private func end(_ numbers: [UInt64], _ code: ServiceFailure.Code, _ message: String) {
        for number in numbers {
            guard let proposal = proposals.remove(number) else { continue }
            if proposal.isBarrier { needsBarrier = true }
            if let token = proposal.membership { admissionRefused(token, code, message) }
            guard let caller = proposal.caller else { continue }
            if proposal.claim != nil { cancellable[CallerKey(caller.sink, caller.token)] = nil }
            fail(caller, code, message, .notCommitted)
        }
    }

    static var storageFullMessage: String { "the leader's disk is full; free space there, or hand leadership over" }

    static var foreignMark: UInt64 { 1 << 63 }

    // MARK: - Answers and deadlines

    func reply(_ caller: Caller, _ body: ServiceReply.Body) {
        replies[ObjectIdentifier(caller.sink), default: (caller.sink, [])].replies
            .append(ServiceReply(token: caller.token, body: body))
    }

    func fail(
        _ caller: Caller, _ code: ServiceFailure.Code, _ message: String, _ outcome: Outcome,
        holder: ServiceFailure.Holder? = nil
    ) {
        metrics.failed(code)
        let leader = leader.flatMap(member)
        reply(
            caller,
            .failed(
                ServiceFailure(
                    code: code, message: message, outcome: outcome, leader: leader?.name,
                    leaderAPIAddress: leader?.apiAddress, holder: holder)))
    }

    func deliverReplies() {
        guard !replies.isEmpty else { return }
        // Whoever is told something of the state may look at the names next.
        showNames()
        for (sink, batch) in replies.values { sink.deliver(batch) }
        replies.removeAll(keepingCapacity: true)
    }

    /// All that waits is looked through for whose time is over, so not for each by itself; an answer may be late by so much.
    private static var expiryInterval: Duration { .milliseconds(5) }

    /// Answers every request whose time is over, and finds when to look again.
    ///
    /// - Parameter isHopeless: what waits for a leader has no time left, whatever its deadline.
    func expireRequests(_ now: Instant, isHopeless: Bool = false) {
        var next = Instant.distantFuture
        var expired: [UInt64] = []
        proposals.forEach { number, proposal in
            guard let deadline = proposal.caller?.deadline else { return }
            if isHopeless || deadline <= now { expired.append(number) } else { next = min(next, deadline) }
        }
        for number in expired { expireProposal(number) }
        expired.removeAll()
        reads.forEach { number, read in
            if isHopeless || read.deadline <= now {
                expired.append(number)
            } else {
                next = min(next, read.deadline)
            }
        }
        for number in expired { expireRead(number) }
        expired.removeAll()
        next = min(next, expireTransfers(now), expireMemberships(now))
        questions.forEach { number, question in
            // What becomes of members may still be found out.
            if question.caller.deadline <= now || isHopeless && !question.question.changesMembers {
                expired.append(number)
            } else {
                next = min(next, question.caller.deadline)
            }
        }
        for number in expired {
            guard let question = questions.remove(number) else { continue }
            if question.mayBeBegun || !question.question.changesMembers {
                fail(question.caller, .timedOut, "the node that was asked did not answer in time", .unknown)
            } else {
                let who = question.addressee.map { member($0)?.name ?? $0.description } ?? "the leader"
                fail(
                    question.caller, question.addressee == nil ? .noLeader : .timedOut,
                    "\(who) could not be reached; nothing was changed", .notCommitted)
            }
        }
        nextExpiry = max(min(next, expireClaims(now)), now + Self.expiryInterval)
    }

    private func expireProposal(_ number: UInt64) {
        guard let proposal = proposals[number], let caller = proposal.caller else { return }
        if proposal.claim != nil { cancellable[CallerKey(caller.sink, caller.token)] = nil }
        switch proposal.state {
        case .waiting:
            _ = proposals.remove(number)
            let code: ServiceFailure.Code = leader == nil ? .noLeader : .timedOut
            fail(caller, code, "no leader took the command in time; it was not written", .notCommitted)
        case .sent:
            // The entry may still be committed: only the caller is gone.
            abandon(number)
            fail(
                caller, .timedOut, "the command was sent but not confirmed in time; it may still take effect", .unknown)
        }
    }

    private func abandon(_ number: UInt64) {
        proposals[number]?.caller = nil
        proposals[number]?.isAbandoned = true
    }

    private func expireRead(_ number: UInt64) {
        guard let read = reads.remove(number) else { return }
        switch read.purpose {
        case .query(_, let caller), .timeToLive(_, _, let caller), .attachedKeys(_, let caller), .stateCopy(let caller):
            let code: ServiceFailure.Code = leader == nil ? .noLeader : .unconfirmed
            fail(caller, code, "no quorum confirmed the leader in time, so the read was refused", .notCommitted)
        case .longQuery(_, let caller):
            fail(caller, .timedOut, "the keys were not read in time; ask for fewer at once", .notCommitted)
        case .keepAlive(_, let caller):
            fail(caller, .unconfirmed, "no quorum confirmed the leader in time", .unknown)
        // The peer waits longer than this, and asks again.
        case .peerKeepAlive(_, let peer, let token), .peerTimeToLive(_, let peer, let token):
            answer(.notLeader, token, peer)
        }
    }

    private func cancel(_ key: CallerKey) {
        switch cancellable.removeValue(forKey: key) {
        case .proposal(let number)?:
            // One that may be in the log is taken out of its queue when it is applied.
            if proposals[number]?.state == .waiting {
                _ = proposals.remove(number)
            } else {
                abandon(number)
            }
        case .claim(let claim)?:
            claims[claim] = nil
            withdraw(claim)
        case .watch(let id)?:
            watches.remove(id)
            watchCallers[id] = nil
        case nil: break
        }
    }
}
