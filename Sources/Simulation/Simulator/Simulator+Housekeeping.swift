import Coordination
import EsperTypes
import RaftCore

/// What keeps the state from growing for ever: keys lose their history, and audit records that were taken are forgotten.
extension Simulator {
    func keepHouse() {
        guard let housekeeping = plan.housekeeping, !isHealed else { return }
        clock.schedule(.housekeeping, after: UInt64(random.int(in: 0...housekeeping.interval * 2)))
        guard let leader = currentLeader, !nodes[leader].isPaused else { return }
        let node = nodes[leader]
        let revision = node.replica.state.revision.rawValue
        let kept = UInt64(random.int(in: 0...housekeeping.keptRevisions))
        if revision > kept, revision - kept > node.replica.state.compactedRevision.rawValue {
            propose(.compact(through: Revision(revision - kept)), at: node)
        }
        guard case .outbox(let records) = node.replica.state.answer(.outbox(after: .zero, limit: 100)).result,
            let last = records.last
        else { return }
        propose(.acknowledgeOutbox(through: last.id), at: node)
    }

    /// Nobody waits for the answer.
    func propose(_ command: Command, at node: Node) {
        say("n\(node.index + 1) proposes \(command)")
        let number = workload.newAttempt()
        let envelope = Envelope(
            time: node.clock.wall(clock.now),
            proposal: ProposalID(origin: node.id, boot: UInt64(node.life), number: number), principal: "node/n",
            command: command)
        receive(node, .propose(Proposal(token: number, payload: envelope.encoded())))
    }
}
