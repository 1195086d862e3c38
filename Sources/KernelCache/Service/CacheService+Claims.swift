import CacheCore
public import EsperTypes
import Logging
import RaftRuntime
import Synchronization

/// What keeps collectors and stores apart in the tiers that all nodes share; the rules are those of ``BlobHolds`` and ``GarbageRound``.
extension CacheService {
    private static let look: Duration = .milliseconds(10)

    /// For a store that will come: nobody deletes them for the time of ``CacheOptions/addHold``, unless so many are claimed that
    /// they are forgotten; then the store looks for them anew.
    ///
    /// - Returns: under which what is found out from now on is evidence.
    func claim(_ digests: [Digest], deadline: Instant) async throws(CacheFailure) -> BlobHolds.Claim {
        let claim = state.withLock { $0.holds.claim(digests, now: NodeClock.now()) }
        try await awaitReprieve(digests, deadline: deadline)
        return claim
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

    public func condemn(_ digests: [Digest], for time: Duration, by name: String, round: UInt64) async -> Set<Digest> {
        guard let collector = placements.id(of: name) else { return Set(digests) }
        return await condemn(digests, for: time, by: CollectionID(collector: collector, number: round))
    }

    /// What is promised here outlives the process: it is on the disk before it is told. A node that cannot write, or has no disk, promises
    /// nothing.
    func condemn(_ digests: [Digest], for time: Duration, by collection: CollectionID) async -> Set<Digest> {
        guard let disk else { return Set(digests) }
        let now = NodeClock.now()
        let wanted = state.withLock { state in
            guard time > .zero else {
                state.holds.reprieve(digests, by: collection)
                return Set<Digest>()
            }
            return state.holds.condemn(digests, by: collection, until: now + time, now: now)
        }
        do throws(PeerFailure) {
            // The latest are written, whoever comes first.
            try await disk.keep(.condemned, isSynced: true) {
                self.state.withLock { $0.holds.promises(at: NodeClock.now()) }.encoded()
            }
        } catch {
            logger.warning(
                "what is about to be deleted cannot be noted; garbage stays for now", metadata: ["error": "\(error)"])
            return Set(digests)
        }
        return wanted
    }

    /// Begins with what the process before has promised.
    func recallPromises() {
        let note = disk?.note(.condemned)
        let promises = note.map { CondemnedBlobs(decoding: $0) } ?? CondemnedBlobs()
        if promises == nil {
            logger.error(
                "what was about to be deleted when the node stopped cannot be read; stores wait until it is over")
        }
        state.withLock { state in
            state.holds.restarted(
                promises, at: NodeClock.now(), quiet: options.settling, condemnation: options.condemnation)
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
