import Coordination
import CoreMetrics
import EsperTypes
import Logging
import NIOCore
import PeerTransport
import RaftCore
import RaftStorage

// Whether this node's state is what the others' is; see `StateAgreement`.
extension NodeCore {
    /// After an entry was applied.
    func markIfDue(_ index: LogIndex) {
        if index == options.divergesAt { state.divergeOnPurpose() }
        if StateAgreement.isMarked(index) { markState() }
    }

    /// Marks present and past of the state for the peers. While nothing is written everybody is at the same index.
    func tellMarks() {
        markState()
        let marks = agreement.marksToSend()
        guard !marks.isEmpty else { return }
        let bytes = PeerQuestion.marks(format: StateMachine.chainFormat, marks).encoded()
        for member in members where member.id != id { transport.send(.ask(0, bytes), to: member.id) }
    }

    /// A peer that has just been reached knows nothing of ours.
    func tellMarks(to peer: NodeID) {
        let marks = agreement.newestMarks
        guard !marks.isEmpty else { return }
        transport.send(.ask(0, PeerQuestion.marks(format: StateMachine.chainFormat, marks).encoded()), to: peer)
    }

    func marksTold(_ marks: [StateMark], format: UInt16, by peer: NodeID) {
        guard format == StateMachine.chainFormat else { return }
        consider(agreement.marked(marks, by: peer, id: id, raft.configuration))
    }

    private func markState() {
        guard let hash = state.comparableChain else { return }
        consider(agreement.mark(StateMark(index: state.applied.index, hash: hash), id: id, raft.configuration))
    }

    private func consider(_ findings: [StateAgreement.Finding]) {
        metrics.agreedIndex.record(agreement.agreedThrough.rawValue)
        guard !findings.isEmpty, divergence == nil else { return }
        for finding in findings {
            switch finding {
            case .weDiffer(let difference): return diverged(difference)
            case .peerDiffers(let peer, let difference, let isOutvoted):
                metrics.stateDifferences.increment()
                logger.error(
                    isOutvoted
                        ? "a peer's state differs from the majority's: it stops by itself, and must be replaced"
                        : "a peer's state differs from this node's, and no majority says who is right",
                    metadata: metadata(difference, peer: peer))
            case .peerAgrees(let peer):
                logger.notice(
                    "a peer's state, which differed, is the same again",
                    metadata: ["peer.id": "\(member(peer)?.name ?? peer.description)"])
            }
        }
        noteDiffering(findings)
    }

    /// What the health of this node says about others; the first difference that was found stands for all.
    func noteDiffering(_ findings: [StateAgreement.Finding] = []) {
        metrics.differingPeers.record(agreement.differing.count)
        if agreement.differing.isEmpty { toldDifference = nil }
        for case .peerDiffers(let peer, let difference, let isOutvoted) in findings where toldDifference == nil {
            let name = member(peer)?.name ?? peer.description
            toldDifference =
                "the state of \(name) differs from this node's \(difference)"
                + (isOutvoted ? "; the majority has this node's" : "; no majority says who is right")
        }
        observer.statesCompared(difference: toldDifference)
    }

    /// A majority has another state: nothing that this node says about its own is worth anything.
    ///
    /// The end comes in a tick of its own, so that it does not fall into the middle of a turn.
    private func diverged(_ difference: StateDifference) {
        divergence = difference
        metrics.stateDifferences.increment()
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        eventLoop.execute { bound.value.stopDiverged(difference) }
    }

    private func stopDiverged(_ difference: StateDifference) {
        guard !isStopped else { return }
        // Blocks the loop, which has nothing better to do: a start that finds no mark would serve the wrong state again.
        let hashes = difference.hashes
        do throws(StorageError) {
            try directory.markDiverged(
                "after log entry \(difference.index) the state of this node was \(hashes.own), and that of a majority "
                    + "of the voters \(hashes.other)")
        } catch {
            logger.error("the divergence cannot be marked on disk", metadata: ["error": "\(error)"])
        }
        observer.stateDiverged(difference)
        _ = stop()
    }

    private func metadata(_ difference: StateDifference, peer: NodeID) -> Logger.Metadata {
        let hashes = difference.hashes
        return [
            "raft.index": "\(difference.index)", "state.own": "\(hashes.own)", "state.other": "\(hashes.other)",
            "peer.id": "\(member(peer)?.name ?? peer.description)",
        ]
    }
}
