/// Gives out request ids, so that no client id has more commands open than the cluster keeps answers for.
///
/// A client id's window is the distance between its newest sequence and the oldest that is not finished; the cluster keeps
/// 256 answers for each, and half of that is used. A slow command holds its own window back and no other's. Pure.
package struct RequestIdentities {
    /// One id, given out.
    package struct RequestID: Hashable, Sendable {
        package let client: UInt64
        package let sequence: UInt64
        package let acknowledgedThrough: UInt64
    }

    private struct Identity {
        let client: UInt64
        var next: UInt64 = 1
        /// Finished sequences above the mark.
        var finished: Set<UInt64> = []
        var acknowledgedThrough: UInt64 = 0

        var hasRoom: Bool { next - acknowledgedThrough <= RequestIdentities.window }
    }

    package static let window: UInt64 = 128

    private var identities: [Identity] = []

    package init() {}

    /// How many client ids are known.
    package var count: Int { identities.count }

    /// Adds a client id that the cluster has registered.
    package mutating func add(_ client: UInt64) { identities.append(Identity(client: client)) }

    /// - Returns: nil when every window is full: register another client id.
    package mutating func take() -> RequestID? {
        guard let index = identities.firstIndex(where: \.hasRoom) else { return nil }
        defer { identities[index].next += 1 }
        return RequestID(
            client: identities[index].client, sequence: identities[index].next,
            acknowledgedThrough: identities[index].acknowledgedThrough)
    }

    /// The caller has the answer, or has given the command up: it will not ask again.
    package mutating func finish(_ id: RequestID) {
        guard let index = identities.firstIndex(where: { $0.client == id.client }) else { return }
        identities[index].finished.insert(id.sequence)
        while identities[index].finished.remove(identities[index].acknowledgedThrough + 1) != nil {
            identities[index].acknowledgedThrough += 1
        }
    }

    /// The cluster does not know this client id any more.
    package mutating func forget(client: UInt64) { identities.removeAll { $0.client == client } }
}
