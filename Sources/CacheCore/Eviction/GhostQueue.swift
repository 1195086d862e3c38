internal import DequeModule

/// Fingerprints of what was let go lately, the oldest forgotten first.
struct GhostQueue: Sendable {
    /// What one fingerprint costs: in the queue and in the table.
    static let bytesPerEntry = 32

    /// As they came; what was taken out stays until it is the oldest.
    private var order: Deque<UInt64> = []
    private var members: Set<UInt64> = []

    var count: Int { members.count }

    mutating func insert(_ fingerprint: UInt64, capacity: Int) {
        guard capacity > 0 else { return }
        guard members.insert(fingerprint).inserted else { return }
        order.append(fingerprint)
        while members.count > capacity || order.count > 2 * capacity + 16 {
            let oldest = order.removeFirst()
            members.remove(oldest)
        }
    }

    mutating func remove(_ fingerprint: UInt64) -> Bool {
        // One that comes again later has two places in the order, and is forgotten at the first: somewhat early.
        members.remove(fingerprint) != nil
    }
}
