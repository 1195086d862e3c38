import DequeModule
import EsperTypes

extension RaftNode {
    /// Traps, with the values, when the node's state contradicts itself. Meant for tests and simulations, after every step.
    ///
    /// - Parameter tail: how many entries at the end of the log are looked at; whether the peers are the members, only with all.
    /// - Complexity: O(entries in memory), or O(tail).
    public func checkInvariants(tail: Int = .max) {
        checkIndexes()
        log.checkInvariants(tail: tail)
        checkRole(tail: tail)
        let last = log.last.index
        for position in peers.indices { peers[position].checkInvariants(last: last) }
        var previous = LogIndex.zero
        for read in confirmedReads {
            precondition(read.index >= previous, "confirmed reads out of order: \(read.index) after \(previous)")
            previous = read.index
        }
    }

    private func checkIndexes() {
        precondition(applied <= scheduled, "applied \(applied) beyond handed over \(scheduled)")
        precondition(scheduled <= commit, "handed over \(scheduled) beyond commit \(commit)")
        precondition(commit <= log.last.index, "commit \(commit) beyond the log's end \(log.last)")
        precondition(log.base.index <= commit, "the log begins after \(log.base), commit is \(commit)")
        precondition(
            log.base.index <= snapshot?.index ?? .zero,
            "the log begins after \(log.base), snapshot \(snapshot?.id as Any)")
        precondition((snapshot?.index ?? .zero) <= commit, "snapshot \(snapshot?.id as Any) beyond commit \(commit)")
        precondition(
            snapshot?.configuration.isValid ?? true, "a snapshot that names nobody: \(snapshot as Any)")
        precondition(log.last.term <= hardState.term, "log \(log.last) beyond term \(hardState.term)")
        precondition(
            pendingRestore != nil || log.base.index <= scheduled, "handed over \(scheduled), log after \(log.base)")
        precondition(durableSequence < nextSequence, "durable \(durableSequence), next \(nextSequence)")
    }

    private func checkRole(tail: Int) {
        switch role {
        case .leader:
            precondition(leader == id, "a leader that follows \(leader as Any)")
            precondition(hardState.vote == id, "a leader that voted for \(hardState.vote as Any)")
            precondition(log.last.term == hardState.term, "a leader of \(hardState.term) whose log ends in \(log.last)")
            let uncommitted = log.payloadBytes(from: max(commit, log.base.index).next, through: log.last.index)
            precondition(uncommittedBytes == uncommitted, "uncommitted \(uncommittedBytes), counted \(uncommitted)")
            if tail == .max {
                let members = log.configuration.configuration.members.filter { $0 != id }
                let present = peers.filter { !$0.isDeparting }.map(\.id)
                precondition(present == members, "peers \(present), members \(members)")
            }
            checkConfiguration()
            precondition(inbound == nil, "a leader that receives a snapshot")
        case .candidate:
            precondition(
                hardState.vote == id && leader == nil, "a candidate with \(hardState), leader \(leader as Any)")
        case .preCandidate:
            precondition(leader == nil, "a pre-candidate with leader \(leader as Any)")
        case .follower:
            precondition(leader != id, "a follower of itself")
            precondition(following.matched <= log.last.index, "matched \(following.matched) beyond \(log.last)")
        }
        if role != .leader {
            precondition(peers.isEmpty && transfer == nil, "a \(role) with a leader's state")
            precondition(change == nil && !isConfigurationOpen, "a \(role) that changes the configuration")
            precondition(reads.waitingCount == 0 && uncommittedBytes == 0, "a \(role) with a leader's work")
        }
    }
}

extension RaftNode {
    /// A leader has at most one configuration that is not committed, and whoever waits for one waits for the last.
    private func checkConfiguration() {
        let current = log.configuration
        let uncommitted = log.configurations.filter { $0.index > commit && log.term(at: $0.index) == hardState.term }
        precondition(uncommitted.count <= 1, "several changes at once: \(uncommitted)")
        precondition(
            isConfigurationOpen || current.index <= commit && !current.configuration.autoLeave && isVoter,
            "nobody looks after \(current), commit \(commit)")
        if let change {
            precondition(change.index == current.index, "\(change) waits for another entry than \(current)")
            precondition(change.index > commit || current.configuration.autoLeave, "\(change) has ended")
        }
    }
}

extension RaftLog {
    func checkInvariants(tail: Int) {
        let first = max(0, entries.count - tail)
        var previous = first == 0 ? base : entries[first - 1].id
        for position in first..<entries.count {
            let id = entries[position].id
            precondition(id.index == previous.index.next, "entry \(id) after \(previous)")
            precondition(id.term >= previous.term, "entry \(id) after \(previous)")
            previous = id
        }
        precondition(durable <= handedOver, "durable \(durable), handed over \(handedOver)")
        precondition(handedOver <= last.index, "handed over \(handedOver), last \(last)")
        var mark = (sequence: WriteSequence.zero, reach: LogIndex.zero)
        for next in marks {
            precondition(next.sequence > mark.sequence && next.reach >= mark.reach, "mark \(next) after \(mark)")
            mark = (next.sequence, next.reach)
        }
        precondition(mark.reach <= handedOver, "marks reach \(mark.reach), handed over \(handedOver)")
        precondition(!configurations.isEmpty, "no configuration")
        if first == 0 { checkSums() }
    }

    private func checkSums() {
        var bytes = 0
        for position in entries.indices { bytes += entries[position].payload.count }
        precondition(bytes == payloadBytes, "counted \(bytes) payload bytes, not \(payloadBytes)")
        for record in configurations.dropFirst() {
            precondition(record.configuration.isValid, "an impossible configuration \(record)")
        }
        let held = entries.filter { $0.kind == .configuration }.map(\.index)
        let listed = configurations.map(\.index)
        precondition(listed == listed.sorted(), "configurations out of order: \(listed)")
        // All but the floor are entries of this log, and every entry above the floor is listed.
        precondition(
            Array(listed.dropFirst()) == held.filter { $0 > listed[0] }, "listed \(listed), in the log \(held)")
    }
}

extension Progress {
    func checkInvariants(last: LogIndex) {
        precondition(match < next, "\(id): match \(match), next \(next)")
        precondition(match <= last && next <= last.next, "\(id): match \(match), next \(next), last \(last)")
        precondition((state == .snapshot) == (transfer != nil), "\(id): \(state) and transfer \(transfer as Any)")
        precondition(state == .probe || probeAnchor == nil, "\(id): \(state) with a probe out")
        var end = match
        var bytes = 0
        for append in inflights.appends {
            precondition(
                append.end > end && append.end < next, "\(id): in flight \(append.end) after \(end), next \(next)")
            end = append.end
            bytes += append.bytes
        }
        precondition(bytes == inflights.bytes, "\(id): counted \(bytes) bytes in flight, not \(inflights.bytes)")
    }
}
