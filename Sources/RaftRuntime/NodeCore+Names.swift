import CoreMetrics
import EsperTypes
import RaftCore

// What the node says of its names: see ``NameBoard``.
extension NodeCore {
    /// Tells the metrics what has happened since the last report.
    func observeNames() {
        let lease = names.leaseState
        metrics.observe(lease, after: toldNames)
        toldNames = lease
        let held = raft.commitsHeldByRoster
        let since = role == .leader ? raft.commitHeldSince : nil
        // A new leader counts from zero.
        metrics.observe(
            heldCommits: Int(held >= toldHeldCommits ? held - toldHeldCommits : held),
            for: since.map { max(NodeClock.now() - $0, .zero) } ?? .zero)
        toldHeldCommits = held
    }
}
