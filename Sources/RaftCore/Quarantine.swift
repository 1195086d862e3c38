import EsperTypes

/// A node whose storage lost something that it had promised: it counts as absent in elections until it has caught up
/// (after Alagappan et al., "Protocol-Aware Recovery for Consensus-Based Storage", FAST 2018).
///
/// Its storage knows a term T that none of its promises (votes, acknowledgements) is above, and has begun a later one with
/// the vote used up, durably. So nothing is promised twice in a term up to T, and leaders up to T are deposed. It gives no
/// vote and does not campaign until its durable log holds an entry of a term above T. It takes entries and snapshots meanwhile,
/// and acknowledges them: an acknowledgement speaks of what is held now, and the first that can commit anything is the one
/// that ends the quarantine, because leaders commit by counting only entries of their own term.
///
/// Why the end is safe: that entry came from a leader elected above T. It won without this node, so each majority of its
/// voters met each majority of acknowledgements in a node that has lost nothing: it had everything committed before. This node's log
/// agrees with it up to that entry, and so holds whatever it lost that was or will be committed.
struct Quarantine: Hashable, Sendable {
    /// T: what was promised in terms up to this one may be gone.
    let lostThrough: Term

    /// - Returns: nil when nothing was lost, or everything that counts is there again.
    init?(_ restored: RestoredState) {
        guard let lost = restored.lostThrough else { return nil }
        precondition(
            lost < restored.hardState.term,
            "promises up to \(lost) are lost, but the term is \(restored.hardState.term)")
        guard (restored.entries.last?.term ?? restored.compactedThrough.term) <= lost else { return nil }
        lostThrough = lost
    }
}

extension RaftNode {
    /// Ends the quarantine when the log, as far as it is durable, shows a leader that was elected without this node's
    /// lost promises.
    mutating func endQuarantineIfPossible() {
        guard let lost = quarantine?.lostThrough, let term = log.term(at: log.durable), term > lost else { return }
        quarantine = nil
        resetElectionDeadline(at: lastInstant)
    }
}
