import CacheCore
public import EsperTypes
import RaftRuntime
import Synchronization

/// What keeps collectors and stores apart in the tiers that all nodes share.
///
/// A store holds, or claims, its digests first, then waits until none of them is about to be deleted, and only then looks where they
/// are. A collector says at every node what it is about to delete, and leaves what a node wants. So one of the two sees the other.
extension CacheService {
    private static let maximumEvidence = 262_144
    private static let look: Duration = .milliseconds(10)

    /// For a store that will come: nobody deletes them for the time of ``CacheOptions/addHold``, unless so many are claimed that
    /// they are forgotten; then the store looks for them anew.
    func claim(_ digests: [Digest], deadline: Instant) async throws(CacheFailure) {
        let now = NodeClock.now()
        state.withLock { state in
            if state.evidence.count + digests.count > Self.maximumEvidence { state.evidence = [:] }
            // The oldest word counts: it is not renewed by what others say later.
            for digest in digests where state.evidence[digest] == nil { state.evidence[digest] = (BlobHolding(), now) }
        }
        try await awaitReprieve(digests, deadline: deadline)
    }

    /// Returns when nobody is about to delete any of them.
    func awaitReprieve(_ digests: [Digest], deadline: Instant) async throws(CacheFailure) {
        while true {
            let now = NodeClock.now()
            let isCondemned = state.withLock { state in
                digests.contains { state.holds.isCondemned($0, now: now) }
            }
            guard isCondemned else { return }
            guard now < deadline, !Task.isCancelled else {
                throw CacheFailure(
                    .tierUnavailable, "blobs of that content are being thrown away; ask again in a few minutes")
            }
            // Cancelled: the loop ends.
            try? await Task.sleep(for: Self.look)
        }
    }

    public func condemn(_ digests: [Digest], for time: Duration, by name: String) -> Set<Digest> {
        guard let collector = placements.id(of: name) else { return Set(digests) }
        return condemn(digests, for: time, by: collector)
    }

    func condemn(_ digests: [Digest], for time: Duration, by collector: NodeID) -> Set<Digest> {
        let now = NodeClock.now()
        return state.withLock { state in
            guard time > .zero else {
                state.holds.reprieve(digests, by: collector)
                return []
            }
            let claimed = digests.filter { state.evidence[$0] != nil }
            let rest = digests.filter { state.evidence[$0] == nil }
            return state.holds.condemn(rest, by: collector, until: now + time, now: now).union(claimed)
        }
    }

    public func bindings(_ list: [[UInt8]], deadline: Instant) async -> [NameReading] {
        var readings: [NameReading] = []
        for name in list { readings.append(await reading(of: name, deadline: deadline)) }
        return readings
    }

    func reading(of name: [UInt8], deadline: Instant) async -> NameReading {
        let principal = "node/" + options.node
        if let known = names.binding(name, principal: principal) { return NameReading(known.binding) }
        do throws(CacheFailure) {
            return NameReading(try await names.look(name, principal: principal, deadline: deadline))
        } catch { return .unknown }
    }
}
