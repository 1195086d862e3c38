public import CacheCore
public import EsperTypes
import Metrics
import RaftRuntime
import Synchronization

extension CacheService {
    public func missing(
        _ blobs: [BlobReference], mode: StoreMode, deadline: Instant
    ) async throws(CacheFailure) -> [BlobReference] {
        try Self.checkTime(deadline)
        try await checkMembers()
        let digests = Array(Set(blobs.map(\.digest)))
        let claim = try await claim(digests, deadline: deadline)
        let gate = makeGate([], mode: mode == .memory ? .durable : mode)
        let (holdings, _) = await locate(digests, counts: true, enough: gate, deadline: deadline)
        state.withLock { $0.holds.note(holdings, under: claim) }
        return blobs.filter { blob in !gate.isSatisfied(by: holdings[blob.digest] ?? BlobHolding()) }
    }

    public func add(
        _ bytes: [UInt8], mode: StoreMode, deadline: Instant
    ) async throws(CacheFailure) -> BlobReference {
        guard (1...CacheLimits.blobBytes).contains(bytes.count) else {
            throw CacheFailure(.oversized, "a blob has 1 to \(CacheLimits.blobBytes) bytes, not \(bytes.count)")
        }
        try checkWritable(deadline)
        try await checkMembers()
        let blob = Blob(digest: Digest(hashing: bytes), bytes: bytes)
        let claim = try await claim([blob.digest], deadline: deadline)
        let holdings = await distribute([blob], mode: mode, deadline: deadline)
        state.withLock { $0.holds.note(holdings, under: claim) }
        return BlobReference(digest: blob.digest, size: UInt32(bytes.count))
    }

    public func store(_ request: StoreRequest) async throws(CacheFailure) -> StoreReply {
        try Self.check(request.name)
        try checkWritable(request.deadline)
        try await checkMembers()
        do throws(ManifestError) { try request.manifest.validate() } catch {
            throw CacheFailure(.invalid, error.description)
        }
        let encoded = request.manifest.encoded()
        guard encoded.count <= CacheLimits.manifestBytes else {
            throw CacheFailure(.oversized, ManifestError.manifestTooLarge(encoded.count).description)
        }
        let start = NodeClock.now()
        defer { counters.storeTime.recordNanoseconds((NodeClock.now() - start).nanoseconds) }
        let manifest = Blob(digest: Digest(hashing: encoded), bytes: encoded)
        let closure = [manifest.digest] + Set(request.manifest.blobs.map(\.digest)).subtracting([manifest.digest])
        let now = NodeClock.now()
        let until = max(request.deadline, now) + options.settling
        guard let holder = state.withLock({ $0.holds.hold(closure, until: until, now: now) }) else {
            throw CacheFailure(.overloaded, "too many stores are under way")
        }
        let reply: Result<StoreReply, CacheFailure>
        do throws(CacheFailure) {
            try await awaitReprieve(closure, deadline: request.deadline)
            let tiers = try await secure(closure, manifest, request)
            reply = .success(try await bind(request, manifest, tiers))
        } catch {
            // What may be bound yet is held until then.
            if error.outcome == .unknown { throw error }
            reply = .failure(error)
        }
        state.withLock { $0.holds.release(holder) }
        return try reply.get()
    }

    // MARK: The closure

    /// Returns when every blob is held as the mode asks.
    private func secure(
        _ closure: [Digest], _ manifest: Blob, _ request: StoreRequest
    ) async throws(CacheFailure) -> TierSet {
        var gate = makeGate(closure, mode: request.mode)
        state.withLock { state in
            for digest in closure {
                if let known = state.holds.evidence(of: digest) { gate.note(digest, known) }
            }
        }
        note(await distribute([manifest], mode: request.mode, deadline: request.deadline), in: &gate)
        var lacking = gate.lacking.filter { $0 != manifest.digest }
        if !lacking.isEmpty {
            note(await locate(lacking, counts: true, deadline: request.deadline).holdings, in: &gate)
            lacking = gate.lacking.filter { $0 != manifest.digest }
        }
        if !lacking.isEmpty {
            // Somewhere, though not where the mode wants it.
            let wanted = Set(lacking)
            let blobs = Set(request.manifest.blobs.filter { wanted.contains($0.digest) })
            for part in parts(of: blobs) { try await bring(part, request, &gate) }
        }
        guard gate.isOpen else {
            counters.closureFailures.add()
            let lack =
                "\(gate.lacking.count) of \(closure.count) blobs are held by too few for mode \(request.mode.name)"
            // The caller's haste or a tier's fault: nobody knows.
            throw NodeClock.now() < request.deadline
                ? CacheFailure(.tierUnavailable, lack)
                : CacheFailure(.timedOut, "when the time given was over, \(lack)")
        }
        return gate.tiers
    }

    /// Loads blobs from wherever they are, and gives them to those whom the mode wants to have them.
    private func bring(
        _ digests: [Digest], _ request: StoreRequest, _ gate: inout ClosureGate
    ) async throws(CacheFailure) {
        let loaded = await loader.load(digests, deadline: request.deadline)
        let blobs = loaded.found.map { Blob(digest: $0.key, bytes: $0.value.bytes) }
        note(await distribute(blobs, mode: request.mode, deadline: request.deadline), in: &gate)
        if !loaded.refused.isEmpty { throw .tooManyLoads }
        guard blobs.count < digests.count else { return }
        // Then the gate tells what is lacking.
        if NodeClock.now() >= request.deadline { return }
        counters.closureFailures.add()
        if let absent = loaded.lost.min() {
            throw CacheFailure(.closureIncomplete, "the blob \(absent) of the manifest is nowhere; send it first")
        }
        throw CacheFailure(
            .tierUnavailable,
            "a tier that may have \(loaded.unreached.count) blobs of the manifest does not answer; try again")
    }

    private func note(_ holdings: [Digest: BlobHolding], in gate: inout ClosureGate) {
        for (digest, holding) in holdings { gate.note(digest, holding) }
    }

    func makeGate(_ closure: [Digest], mode: StoreMode) -> ClosureGate {
        ClosureGate(
            closure, mode: mode, members: placements.memberCount, copies: options.copies,
            hasArchive: tier(.archive) != nil)
    }

    private func checkWritable(_ deadline: Instant) throws(CacheFailure) {
        try Self.checkTime(deadline)
        guard !state.withLock({ $0.isDraining }) else {
            throw CacheFailure(.draining, "the node is stopping; ask another one")
        }
    }

    // MARK: The name

    private func bind(
        _ request: StoreRequest, _ manifest: Blob, _ tiers: TierSet
    ) async throws(CacheFailure) -> StoreReply {
        let condition: CacheBind.Condition =
            switch request.condition {
            case .byKind: .byKind
            case .version(let version): .version(version)
            }
        let bind = CacheBind(
            name: request.name, kind: request.kind, manifest: manifest.digest, size: request.manifest.size,
            costMilliseconds: request.costMilliseconds, mode: request.mode, tiers: tiers, lineage: request.lineage,
            expiry: request.lifetime.map { .after($0) } ?? .never, condition: condition)
        let (result, _) = try await names.change(
            .bind(bind), request: request.request, principal: request.principal, deadline: request.deadline)
        switch result {
        case .bound(let binding):
            counters.stores.add()
            counters.storedBytes.add(binding.size)
            counters.storedCost.add(UInt64(binding.costMilliseconds))
            record(
                request.name, bytes: binding.size, costMilliseconds: binding.costMilliseconds, isHit: false)
            stored(request, binding)
            return StoreReply(binding: binding, isStored: true, tiers: tiers)
        case .kept(let binding):
            let isSame = binding.manifest == manifest.digest
            if !isSame { counters.storesLost.add() }
            stored(request, binding)
            return StoreReply(binding: binding, isStored: isSame, tiers: isSame ? tiers : binding.tiers)
        case .conflict(let current):
            throw CacheFailure(.conflict, "the name has another version", current: current)
        case .full: throw CacheFailure(.storageFull, "as many names as a cluster may have are bound")
        case .evicted, .quarantined: throw CacheFailure(.invalid, "an answer to another question")
        }
    }

    private func stored(_ request: StoreRequest, _ binding: Binding) {
        let name = request.name
        _ = decide(PeerTokenRequest(name: name, holder: options.node, action: .stored(binding.version), epoch: 0))
        if placements.coordinator(of: Self.homeShard(of: name)) != names.nodeID {
            news.start { [weak self] in
                _ = await self?.exchange(name, .stored(binding.version), deadline: NodeClock.now() + .seconds(1))
            }
        }
    }
}
