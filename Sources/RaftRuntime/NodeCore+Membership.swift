import Coordination
import EsperTypes
import Logging
import PeerTransport
import RaftCore

// Changes of members: asked of any node, carried out by the leader, answered when their last configuration is committed.
//
// Everything here can be asked twice: a node is admitted once, and what holds already is not done again. So a node whose
// leader is lost asks the next one, which finds out what became of it.
extension NodeCore {
    func changeMembers(_ changes: [MemberChange], _ caller: Caller, by principal: String) {
        guard (1...MembershipOrder.maximumChanges).contains(changes.count) else {
            return fail(
                caller, .changeRefused, "one to \(MembershipOrder.maximumChanges) changes are made at once",
                .notCommitted)
        }
        for case .add(let new) in changes {
            do {
                try new.validate()
            } catch {
                return fail(caller, .changeRefused, error.message, .notCommitted)
            }
        }
        let named = changes.flatMap(\.names)
        let known = named.compactMap { name in members.first { $0.name == name }.map { (name, $0.id) } }
        let order = MembershipOrder(
            changes: changes, known: Dictionary(known, uniquingKeysWith: { first, _ in first }), principal: principal,
            patience: caller.deadline - NodeClock.now())
        carryOut(order, for: .caller(caller))
    }

    /// Begins, when this node leads; else asks the leader.
    func carryOut(_ order: MembershipOrder, for asker: PendingMembership.Asker) {
        guard role == .leader else { return passOn(order, for: asker) }
        let now = NodeClock.now()
        var pending = PendingMembership(asker: asker, order: order, deadline: now + order.patience)
        for name in order.changes.flatMap(\.names) {
            guard let id = order.known[name] ?? members.first(where: { $0.name == name })?.id else {
                let known = members.map(\.name).joined(separator: ", ")
                return answer(
                    asker, failing: .unknownMember, "there is no member '\(name)'; members are \(known)")
            }
            pending.nodes[name] = id
        }
        let token = nextMembership
        nextMembership += 1
        nextExpiry = min(nextExpiry, pending.deadline)
        var admissions: [Command] = []
        for case .add(let new) in order.changes {
            let record = state.members.record(named: new.name)
            if let record, record.described == new, raft.status.configuration.contains(record.id) {
                pending.nodes[new.name] = record.id
            } else {
                admissions.append(.admitMember(new))
            }
        }
        pending.phase = admissions.isEmpty ? .waiting : .admitting(admissions.count)
        memberships[token] = pending
        for command in admissions {
            guard let number = propose(command, by: order.principal) else { continue }
            proposals[number]?.membership = token
        }
        forgetStrangers(order)
        advanceMembership(token)
    }

    /// Whoever was admitted and never joined is in no configuration: taking it out frees its name and addresses.
    private func forgetStrangers(_ order: MembershipOrder) {
        for case .remove(let name) in order.changes {
            guard let record = state.members.record(named: name), !record.isEnrolled,
                !raft.status.configuration.contains(record.id)
            else { continue }
            propose(.forgetMember(record.id), by: order.principal)
        }
    }

    /// The table has answered an admission.
    func admitted(_ token: UInt64, _ result: CommandResult) {
        guard var pending = memberships[token], case .admitting(let missing) = pending.phase else { return }
        guard case .memberAdmitted(let id) = result else {
            let refusal = result.refusal
            return endMembership(
                token, failing: refusal == nil ? .changeRefused : .memberExists,
                refusal?.message { member($0)?.name ?? "node \($0)" } ?? "the node was not admitted")
        }
        guard let record = state.members.record(id) else { return }
        pending.nodes[record.name] = id
        pending.phase = missing > 1 ? .admitting(missing - 1) : .waiting
        memberships[token] = pending
        advanceMembership(token)
    }

    /// The leader takes no admissions: a change that waits for one ends, unless it may be begun already and has to be found out
    /// about.
    func admissionRefused(_ token: UInt64, _ code: ServiceFailure.Code, _ message: String) {
        guard memberships[token]?.order.isRepeat == false else { return }
        endMembership(token, failing: code, message)
    }

    /// Hands every change that waits to the core, which says whether its time has come.
    func advanceMemberships() {
        for token in memberships.keys.sorted() { advanceMembership(token) }
    }

    private func advanceMembership(_ token: UInt64) {
        guard let pending = memberships[token], pending.phase == .waiting else { return }
        guard role == .leader else {
            memberships[token] = nil
            return passOn(pending.order, for: pending.asker)
        }
        let status = raft.status
        let changes = pending.changes(for: status.configuration)
        if changes.isEmpty, !status.isConfigurationPending, !status.configuration.isJoint {
            memberships[token] = nil
            return answer(
                pending.asker, MembershipReply(index: status.configurationIndex, members: pending.subjects))
        }
        memberships[token]?.phase = .changing
        step(.changeConfiguration(token: token, .change(changes, autoLeave: true)))
    }

    func configurationChange(_ token: UInt64, _ outcome: ConfigurationOutcome) {
        guard let pending = memberships[token] else { return }
        switch outcome {
        case .accepted: recordChanges(pending)
        case .refused(let refusal):
            if refusal.passes || pending.order.isRepeat && refusal.isOfAnotherChange {
                memberships[token]?.phase = .waiting
                return
            }
            let (code, message) = explain(refusal)
            endMembership(token, failing: code, message)
        case .done(_, let index):
            memberships[token] = nil
            logger.notice("members changed as asked", metadata: ["raft.index": "\(index)"])
            answer(pending.asker, MembershipReply(index: index, members: pending.subjects))
        case .unknown:
            memberships[token] = nil
            var order = pending.order
            order.isRepeat = true
            passOn(order, for: pending.asker)
        }
    }

    /// This node leads no more: whoever asked asks the next leader.
    func handOverMemberships() {
        for token in memberships.keys.sorted() {
            guard let pending = memberships[token], pending.phase == .waiting else { continue }
            memberships[token] = nil
            passOn(pending.order, for: pending.asker)
        }
    }

    /// - Returns: when the next one's time is over.
    func expireMemberships(_ now: Instant) -> Instant {
        var next = Instant.distantFuture
        for (token, pending) in memberships {
            guard pending.deadline <= now else {
                next = min(next, pending.deadline)
                continue
            }
            memberships[token] = nil
            guard case .caller(let caller) = pending.asker else { continue }
            if pending.phase == .waiting, !pending.order.isRepeat {
                fail(
                    caller, .changePending, "another change is not finished yet; nothing was changed", .notCommitted)
            } else {
                fail(
                    caller, .timedOut,
                    "the change was begun but not confirmed in time; esper cluster status shows what came of it",
                    .unknown)
            }
        }
        return next
    }

    // MARK: - Answers

    private func passOn(_ order: MembershipOrder, for asker: PendingMembership.Asker) {
        switch asker {
        case .peer(let peer, let token): answer(.notLeader, token, peer)
        case .caller(let caller): askLeader(.changeMembers(order), caller)
        }
    }

    private func endMembership(_ token: UInt64, failing code: ServiceFailure.Code, _ message: String) {
        guard let pending = memberships.removeValue(forKey: token) else { return }
        answer(pending.asker, failing: code, message)
    }

    private func answer(
        _ asker: PendingMembership.Asker, failing code: ServiceFailure.Code, _ message: String
    ) {
        switch asker {
        case .caller(let caller): fail(caller, code, message, .notCommitted)
        case .peer(let peer, let token): answer(.refused(code, message), token, peer)
        }
    }

    private func answer(_ asker: PendingMembership.Asker, _ done: MembershipReply) {
        switch asker {
        case .caller(let caller): reply(caller, .membersChanged(done))
        case .peer(let peer, let token): answer(.membersChanged(done), token, peer)
        }
        scheduleTurn()
    }

    private func recordChanges(_ pending: PendingMembership) {
        let notes = pending.order.changes.map { change in
            var fields: [OutboxRecord.Field] = [.init("change", change.word)]
            let subject: String
            switch change {
            case .add(let new): subject = new.name
            case .promote(let name), .demote(let name), .remove(let name): subject = name
            case .replace(let old, let new):
                subject = old
                fields.append(.init("with", new))
            }
            if let id = pending.nodes[subject] { fields.insert(.init("node_id", id.description), at: 0) }
            return OutboxNote(kind: .membershipChanged, subject: subject, fields: fields)
        }
        propose(.record(notes, term: nil), by: pending.order.principal)
    }

    /// What to say, and what to do about it.
    private func explain(_ refusal: ConfigurationRefusal) -> (ServiceFailure.Code, String) {
        func name(_ id: NodeID) -> String { member(id)?.name ?? id.description }
        switch refusal {
        case .notCaughtUp(let id):
            let status = raft.status
            let match = status.peers.first { $0.id == id }?.match ?? .zero
            return (
                .notCaughtUp,
                "\(name(id)) is \(status.last.index.distance(from: match)) entries behind the leader; wait until it has "
                    + "caught up"
            )
        case .notHeard(let id):
            return (.notHeard, "\(name(id)) has not answered lately; see that it runs and can be reached")
        case .quorumNotHeard(let silent):
            return (
                .quorumNotHeard,
                "the cluster would wait for \(silent.map(name).joined(separator: ", ")), which has not answered lately; "
                    + "bring it back, or remove it"
            )
        case .changePending(let index):
            return (.changePending, "the change at index \(index) is not committed yet; try again")
        case .joint, .termNotCommitted, .transferring, .notLeader, .paused, .storageStalled:
            return (.changePending, "another change or a hand-over is under way; try again")
        case .storageFull: return (.storageFull, Self.storageFullMessage)
        case .notJoint, .unchanged: return (.changeRefused, "there is nothing to change")
        case .repeated(let id): return (.changeRefused, "two of the changes are about \(name(id))")
        case .notMember(let id): return (.unknownMember, "\(name(id)) is no member")
        case .notVoter(let id): return (.changeRefused, "\(name(id)) has no vote")
        case .notLearner(let id): return (.changeRefused, "\(name(id)) is no learner; add it first")
        case .alreadyVoter(let id): return (.changeRefused, "\(name(id)) has a vote already")
        case .noVoters: return (.changeRefused, "nobody would be left to vote")
        case .tooManyMembers:
            return (.changeRefused, "a cluster has at most \(Configuration.maximumMembers) members")
        }
    }
}

extension ConfigurationRefusal {
    /// Passes by itself within moments, whoever asks.
    fileprivate var passes: Bool {
        switch self {
        case .termNotCommitted, .transferring, .notLeader, .paused, .storageStalled: true
        default: false
        }
    }

    /// Another change is in the way.
    fileprivate var isOfAnotherChange: Bool {
        switch self {
        case .changePending, .joint: true
        default: false
        }
    }
}
