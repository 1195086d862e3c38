public import EsperTypes

/// Whom to ask for what only the coordinator of a shard may decide, and what to answer when somebody else is asked.
///
/// A node that is asked for a shard that it does not coordinate says so, with its map's epoch and who does as far as it
/// knows; it never asks on behalf of the asker, so no two nodes wait for each other. The asker believes the newer map
/// once, and after that does without.
public struct PeerRouting: Hashable, Sendable {
    public enum Verdict: Hashable, Sendable {
        case serve
        case notOwner(epoch: UInt64, owner: NodeID?)
    }

    public enum NextStep: Hashable, Sendable {
        case ask(NodeID, hop: Int)
        /// Nobody can be asked who would decide: go on without.
        case goWithout
    }

    /// As often as a question goes on to another node than the first.
    public static let maximumForwards = 1

    /// At the one who is asked.
    public static func judge(me: NodeID, epoch: UInt64, coordinator: NodeID?, askedAt: UInt64, hop: Int) -> Verdict {
        guard coordinator == me else { return .notOwner(epoch: epoch, owner: coordinator == me ? nil : coordinator) }
        // Asked by somebody with a newer map: he knows of a change that has not come here yet.
        guard askedAt <= epoch else { return .notOwner(epoch: epoch, owner: nil) }
        return .serve
    }

    /// At the asker, after a refusal.
    public static func after(
        refusalBy node: NodeID, epoch: UInt64, owner: NodeID?, mine: UInt64, hop: Int, me: NodeID
    ) -> NextStep {
        guard hop < maximumForwards, let owner, owner != node, owner != me, epoch >= mine else { return .goWithout }
        return .ask(owner, hop: hop + 1)
    }
}
