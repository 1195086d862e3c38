/// Gives out request ids, so that no client id has more commands open than the cluster keeps answers for.
///
/// A client id's window is the distance between its newest sequence and the oldest that is not finished; the cluster keeps
/// 256 answers for each, and half of that is used. A slow command holds its own window back and no other's. Pure.
struct RequestIdentities {
    /// One id, given out.
    struct RequestID: Hashable, Sendable {
        let client: UInt64
        let sequence: UInt64
        let acknowledgedThrough: UInt64
    }

    private struct Identity {
        let client: UInt64
        var next: UInt64 = 1
        /// Finished sequences above the mark.
        var finished: Set<UInt64> = []
        var acknowledgedThrough: UInt64 = 0

        var hasRoom: Bool { next - acknowledgedThrough <= RequestIdentities.window }
    }

    static let window: UInt64 = 128

    private var identities: [Identity] = []

    /// How many client ids are known.
    var count: Int { identities.count }

    /// Adds a client id that the cluster has registered.
    mutating func add(_ client: UInt64) { identities.append(Identity(client: client)) }

    /// - Returns: nil when every window is full: register another client id.
    mutating func take() -> RequestID? {
        guard let index = identities.firstIndex(where: \.hasRoom) else { return nil }
        defer { identities[index].next += 1 }
        return RequestID(
            client: identities[index].client, sequence: identities[index].next,
            acknowledgedThrough: identities[index].acknowledgedThrough)
    }

    /// The caller has the answer, or has given the command up: it will not ask again.
    mutating func finish(_ id: RequestID) {
        guard let index = identities.firstIndex(where: { $0.client == id.client }) else { return }
        identities[index].finished.insert(id.sequence)
        while identities[index].finished.remove(identities[index].acknowledgedThrough + 1) != nil {
            identities[index].acknowledgedThrough += 1
        }
    }

    /// The cluster does not know this client id any more.
    mutating func forget(client: UInt64) { identities.removeAll { $0.client == client } }
}
