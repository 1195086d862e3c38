public import Coordination

/// Where the projector's records come from and where it says how far they are stored; the node implements it.
///
/// Every method answers from committed state of this node and may throw when the node cannot; the projector tries
/// again.
public protocol OutboxSource: Sendable {
    func status() async throws -> OutboxStatus

    /// Records above `position`, in order.
    func records(after position: OutboxRecord.ID, limit: Int) async throws -> [OutboxRecord]

    /// Proposes that records up to `position` be dropped; they are stored.
    func acknowledge(through position: OutboxRecord.ID) async throws
}
