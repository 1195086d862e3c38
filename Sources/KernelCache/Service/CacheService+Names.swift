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

    /// Only when all of it is left elsewhere, looked at just before.
    private func evict(_ request: EvictRequest, from kind: CacheTier) async throws(CacheFailure) -> EvictReply {
        if kind == .memory { return try await evictCopy(request) }
        guard let closure = try await closure(request) else { return EvictReply() }
        // Nothing else has what leaves the catalog: its bytes are looked at.
        let (archived, isRead) =
            kind == .catalog ? await verified(closure.digests, deadline: request.deadline) : ([], true)
        let (holdings, isCertain) = await locate(closure.digests, counts: true, deadline: request.deadline)
        let safe = closure.digests.filter { digest in
            guard let holding = holdings[digest] else { return false }
            return switch kind {
            case .memory: true
            case .redis: !holding.synced.isEmpty || !holding.tiers.subtracting(TierSet(.redis)).isEmpty
            case .peer: !holding.tiers.subtracting(TierSet(.redis)).isEmpty
            case .catalog: archived.contains(digest)
            case .archive: false
            }
        }
        guard safe.count == closure.digests.count else {
            if kind < .archive, !isRead || !isCertain {
                throw CacheFailure(.tierUnavailable, "not every tier that may have it answers; try again")
            }
            throw CacheFailure(
                .closureIncomplete,
                "\(closure.digests.count - safe.count) of the blobs are nowhere else")
        }
        var reply = EvictReply()
        if kind == .peer {
            guard let disk else { return reply }
            let wanted = Set(safe)
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
            let held = try await tier.has(safe, deadline: request.deadline)
            try await tier.delete(Array(held), deadline: request.deadline)
            reply.copies = held.count
        } catch { throw CacheFailure(.tierUnavailable, "\(error)", outcome: .unknown) }
        return reply
    }

    /// Those whose bytes the archive has told, and they were right; and whether it has answered.
    private func verified(_ digests: [Digest], deadline: Instant) async -> (Set<Digest>, isWhole: Bool) {
        guard let archive = tier(.archive) else { return ([], true) }
        var verified: Set<Digest> = []
        for start in stride(from: 0, to: digests.count, by: 16) {
            let part = Array(digests[start..<min(start + 16, digests.count)])
            // What cannot be read now does not count.
            guard let found = try? await archive.get(part, deadline: deadline) else { return (verified, false) }
            verified.formUnion(found.keys)
        }
        return (verified, true)
    }

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
