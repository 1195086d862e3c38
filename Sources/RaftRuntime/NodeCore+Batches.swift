import Coordination
import CoreMetrics
import EsperTypes
import PeerTransport
import RaftCore

/// The commands that went to the log last, as far as those that come next have to wait for them.
enum CommandBatch {
    case none
    /// At the leader: until its own disk has the write, or a quorum of disks has the entry.
    case writing(WriteSequence, LogIndex)
    /// Elsewhere: until the leader sends entries again, or this moment.
    case forwarded(until: Instant)
}

// How commands get to the log. While one batch is on its way the next one gathers, so that a busy cluster makes few large
// writes and messages instead of many small ones, and a quiet one makes nobody wait. Source: group commit (DeWitt et al. 1984).
extension NodeCore {
    /// As much does not gather: what is large enough fills its write and its messages alone.
    private static let fullBatchBytes = 256 << 10

    /// Hands waiting proposals to the leader, wherever it is; without one they wait until their deadline.
    func submit(_ numbers: [UInt64], _ now: Instant) {
        guard !numbers.isEmpty else { return }
        guard role == .leader || leader != nil else { return hold(numbers, now) }
        gathered += numbers
        for number in numbers { gatheredBytes += proposals[number]?.envelope.count ?? 0 }
        sendGathered(now)
        scheduleTurn()
    }

    /// Takes what a peer has forwarded to the leader.
    func submit(foreign: [Proposal], _ now: Instant) {
        gatheredForeign += foreign
        for proposal in foreign { gatheredBytes += proposal.payload.count }
        sendGathered(now)
        scheduleTurn()
    }

    /// Sends what has gathered unless it still has to wait.
    func sendGathered(_ now: Instant) {
        guard !gathered.isEmpty || !gatheredForeign.isEmpty else { return }
        guard !isBatchOut(now) || gatheredBytes >= Self.fullBatchBytes else { return }
        let (numbers, foreign) = (gathered, gatheredForeign)
        (gathered, gatheredForeign, gatheredBytes) = ([], [], 0)
        if role == .leader {
            propose(numbers, foreign)
        } else {
            // Too late: their origins are told, and what only the leader before could propose is forgotten.
            if !foreign.isEmpty { step(.propose(foreign)) }
            let numbers = forgetExpiries(numbers)
            if let leader { forward(numbers, to: leader, now) } else { hold(numbers, now) }
        }
    }

    private func isBatchOut(_ now: Instant) -> Bool {
        switch batch {
        case .none: false
        case .writing(let write, let index): durableThrough < write && raft.commitIndex < index
        case .forwarded(let end): now < end
        }
    }

    /// Entries go to the own disk.
    func batchWritten(_ write: WriteBatch) {
        guard let last = write.entries.last else { return }
        batch = role == .leader ? .writing(write.sequence, last.index) : .none
    }

    /// The moment when what has gathered is sent although nothing was heard of the batch before.
    var batchDeadline: Instant {
        guard case .forwarded(let end) = batch, !gathered.isEmpty else { return .distantFuture }
        return end
    }

    private func propose(_ numbers: [UInt64], _ foreign: [Proposal]) {
        let time = NodeClock.wallNanoseconds()
        var entries: [Proposal] = []
        entries.reserveCapacity(numbers.count + foreign.count)
        for number in numbers {
            guard var proposal = proposals[number] else { continue }
            proposal.state = .sent(term, epoch: sendEpoch)
            proposals[number] = proposal
            _ = Envelope.stamp(time, into: &proposal.envelope)
            entries.append(Proposal(token: number, payload: proposal.envelope))
        }
        entries += foreign
        // One copy for all: each look at a property of this class would make one.
        let (state, last) = (state, raft.lastIndex)
        nameGuard.leads(in: raft.currentTerm) { raft.lastGuarded(after: state.applied.index) }
        for position in entries.indices {
            entries[position].isGuarded = nameGuard.guards(
                entries[position].payload, at: last.advanced(by: position + 1), state)
        }
        step(.propose(entries))
    }

    private func forward(_ numbers: [UInt64], to leader: NodeID, _ now: Instant) {
        // A frame's worth at a time: the largest batch of the largest envelopes would not fit one.
        var frame: [ForwardedProposal] = []
        var bytes = 0
        var sent: [UInt64] = []
        func send() -> Bool {
            guard !frame.isEmpty else { return true }
            guard transport.send(.forward(term, frame), to: leader) == .queued else { return false }
            metrics.forwarded.increment(by: frame.count)
            for number in sent { proposals[number]?.state = .sent(term, epoch: sendEpoch) }
            (frame, bytes, sent) = ([], 0, [])
            return true
        }
        for number in numbers {
            guard let proposal = proposals[number] else { continue }
            frame.append(ForwardedProposal(token: number, envelope: proposal.envelope))
            sent.append(number)
            bytes += proposal.envelope.count + 16
            if bytes >= Limits.peerFrameBytes / 4, !send() { break }
        }
        _ = send()
        batch = .forwarded(until: now + options.retryInterval)
        hold(numbers.filter { proposals[$0]?.state == .waiting }, now)
    }
}
