import CacheCore
import EsperTypes
import RaftRuntime

extension CacheService {
    public func evict(_ request: EvictRequest) async throws(CacheFailure) -> EvictReply {
        try Self.check(request.name)
        try Self.checkTime(request.deadline)
        switch request.subject {
        case .name(let version): return try await evictName(request, version)
        case .copy: return try await evictCopy(request)
        case .tier(let tier): return try await evict(request, from: tier)
        }
    }

    private func evictName(_ request: EvictRequest, _ version: LogIndex?) async throws(CacheFailure) -> EvictReply {
        let (result, index) = try await names.change(
            .evict(request.name, version: version), request: request.request, principal: request.principal,
            deadline: request.deadline)
        switch result {
        case .evicted(let previous):
            counters.evictions.add()
            let bytes = memory.drop(name: request.name)
            return EvictReply(
                previous: previous, version: previous.map { _ in index }, copies: bytes > 0 ? 1 : 0, bytes: bytes)
        case .conflict(let current):
            throw CacheFailure(.conflict, "the name has another version", current: current)
        case .bound, .kept, .quarantined, .full: throw CacheFailure(.invalid, "an answer to another question")
        }
    }

    /// The manifest and everything that it names, as far as it is found.
    private func closure(_ request: EvictRequest) async throws(CacheFailure) -> (binding: Binding, digests: [Digest])? {
        let binding = try await names.look(request.name, principal: request.principal, deadline: request.deadline)
        guard let binding else { return nil }
        let loaded = await loader.load([binding.manifest], deadline: request.deadline)
        if !loaded.refused.isEmpty { throw .tooManyLoads }
        if !loaded.unreached.isEmpty {
            throw CacheFailure(.tierUnavailable, "a tier that may have the manifest does not answer; try again")
        }
        let manifest = loaded.found[binding.manifest].flatMap { try? Manifest(decoding: $0.bytes) }
        let blobs = Set(manifest?.blobs.map(\.digest) ?? []).subtracting([binding.manifest])
        return (binding, [binding.manifest] + blobs.sorted())
    }

    private func evictCopy(_ request: EvictRequest) async throws(CacheFailure) -> EvictReply {
        var reply = EvictReply()
        let hot = memory.drop(name: request.name)
        if hot > 0 { reply.add(hot) }
        guard let closure = try await closure(request) else { return reply }
        for digest in closure.digests {
            let bytes = memory.drop(digest)
            if bytes > 0 { reply.add(bytes) }
        }
        return reply
    }

    /// Only when all of it is left in a tier that counts, looked at just before.
    private func evict(_ request: EvictRequest, from kind: CacheTier) async throws(CacheFailure) -> EvictReply {
        if kind == .memory { return try await evictCopy(request) }
        guard let closure = try await closure(request) else { return EvictReply() }
        let (safe, isCertain) = await left(of: closure.digests, without: kind, deadline: request.deadline)
        let lacking = closure.digests.count { !safe.contains($0) }
        guard lacking == 0 else {
            if !isCertain {
                throw CacheFailure(.tierUnavailable, "not every tier that may have it answers; try again")
            }
            throw CacheFailure(.closureIncomplete, Self.refusal(from: kind, lacking, of: closure.digests.count))
        }
        var reply = EvictReply()
        if kind == .peer {
            guard let disk else { return reply }
            let wanted = Set(closure.digests)
            let held = Set(wanted.map { ShardID(of: $0) })
                .flatMap { disk.entries(of: $0) }.filter { wanted.contains($0.digest) }
            let gone = Set(await disk.delete(held.map(\.digest), deadline: request.deadline))
            for entry in held where gone.contains(entry.digest) { reply.add(UInt64(entry.size)) }
            guard held.allSatisfy({ !disk.has($0.digest) }) else {
                throw CacheFailure(
                    .tierUnavailable, "the disk has not deleted everything in time", outcome: .unknown)
            }
            return reply
        }
        guard let tier = tier(kind) else { throw CacheFailure(.invalid, "there is no tier \(kind.name)") }
        do throws(TierFailure) {
            let held = try await tier.has(closure.digests, deadline: request.deadline)
            try await tier.delete(Array(held), deadline: request.deadline)
            reply.copies = held.count
        } catch { throw CacheFailure(.tierUnavailable, "\(error)", outcome: .unknown) }
        return reply
    }

    /// Those of which enough is left when a tier has them no more; and whether everybody who was asked has answered.
    private func left(
        of digests: [Digest], without kind: CacheTier, deadline: Instant
    ) async -> (Set<Digest>, isCertain: Bool) {
        switch kind {
        case .memory: return (Set(digests), true)
        case .redis:
            let (holdings, isCertain) = await locate(digests, counts: true, deadline: deadline)
            let held = holdings.filter { !$1.synced.isEmpty || !$1.tiers.subtracting(TierSet(.redis)).isEmpty }
            return (Set(held.keys), isCertain)
        // Nothing else may have what leaves the disk or the catalog: its bytes are looked at.
        case .peer: return await verified(digests, in: [.catalog, .archive], deadline: deadline)
        case .catalog: return await verified(digests, in: [.archive], deadline: deadline)
        case .archive: return ([], true)
        }
    }

    private static func refusal(from kind: CacheTier, _ lacking: Int, of count: Int) -> String {
        switch kind {
        case .memory, .redis: "on no disk, and neither in the catalog nor in the archive: \(lacking) of \(count) blobs"
        case .peer: "not whole in the catalog or the archive, which alone count: \(lacking) of \(count) blobs"
        case .catalog: "not whole in the archive, which alone counts: \(lacking) of \(count) blobs"
        case .archive: "nothing is evicted from the archive: no tier is below it"
        }
    }

    /// Those that one of the tiers gave back, and their bytes were right; each is asked for what those before it have not got. And
    /// whether all have answered.
    private func verified(
        _ digests: [Digest], in kinds: [CacheTier], deadline: Instant
    ) async -> (Set<Digest>, isCertain: Bool) {
        var (verified, isCertain): (Set<Digest>, Bool) = ([], true)
        for below in kinds.compactMap({ tier($0) }) {
            for part in digests.filter({ !verified.contains($0) }).parts(of: Self.blobsReadBack) {
                do throws(TierFailure) {
                    let found = try await below.get(part, deadline: deadline)
                    verified.formUnion(found.filter { Digest(hashing: $1) == $0 }.keys)
                } catch {
                    // What cannot be read now does not count.
                    isCertain = false
                    break
                }
            }
        }
        return (verified, isCertain)
    }

    /// Of up to a mebibyte each.
    private static let blobsReadBack = 16

    public func list(_ request: ListRequest) async throws(CacheFailure) -> ListReply {
        try Self.checkTime(request.deadline)
        return try await names.list(
            prefix: request.prefix, after: request.after, limit: request.limit, principal: request.principal,
            deadline: request.deadline)
    }
}

extension EvictReply {
    fileprivate mutating func add(_ bytes: UInt64) {
        copies += 1
        self.bytes += bytes
    }
}
