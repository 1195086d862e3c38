public import CacheCore
public import EsperTypes
import Logging
import Metrics
import RaftRuntime
import Synchronization

extension CacheService {
    public func hit(_ name: [UInt8], in turn: inout HitTurn) -> CacheHit? {
        guard let lookup = turn.binding(name, from: names) else {
            turn.refused += 1
            return nil
        }
        guard case .found(let binding) = lookup, binding.state == .live else {
            turn.absent += 1
            return .absent
        }
        if let value = memory.value(of: name, version: binding.version) {
            note(name, binding, value.count, in: &turn)
            return .found(binding, value: value)
        }
        guard let value = valueInMemory(of: binding) else { return nil }
        memory.put(value, of: name, version: binding.version, costMilliseconds: binding.costMilliseconds)
        note(name, binding, value.count, in: &turn)
        noteUse(of: binding.manifest)
        return .found(binding, value: value)
    }

    @inline(__always)
    private func note(_ name: [UInt8], _ binding: Binding, _ bytes: Int, in turn: inout HitTurn) {
        turn.note(bytes: bytes, costMilliseconds: binding.costMilliseconds)
        record(name, bytes: UInt64(bytes), costMilliseconds: binding.costMilliseconds, isHit: true)
    }

    public func end(_ turn: inout HitTurn) {
        if turn.found > 0 {
            counters.localHits.add(turn.found)
            counters[.memory].add(turn.found, bytes: turn.foundBytes, cost: turn.foundCostMilliseconds)
        }
        if turn.absent > 0 { counters.absent.add(turn.absent) }
        if turn.found + turn.absent > 0 { counters.asked.add(turn.found + turn.absent) }
        if turn.refused > 0 { counters.leaseRefusals.add(turn.refused) }
        turn = HitTurn()
    }

    private func valueInMemory(of binding: Binding) -> [UInt8]? {
        guard binding.size <= UInt64(CacheLimits.blobBytes), let encoded = memory.get(binding.manifest),
            let manifest = try? Manifest(decoding: encoded), manifest.files.count == 1
        else { return nil }
        switch manifest.files[0].content {
        case .inline(let bytes): return bytes
        case .blobs(let blobs): return blobs.count == 1 ? memory.get(blobs[0].digest) : nil
        }
    }

    public func retrieve(_ request: RetrieveRequest) async throws(CacheFailure) -> RetrieveReply {
        try Self.check(request.name)
        counters.asked.add()
        if !request.allowsStale { try await checkMembers() }
        let start = NodeClock.now()
        defer { counters.retrieveTime.recordNanoseconds((NodeClock.now() - start).nanoseconds) }
        var pauses = Self.pauses[...]
        while true {
            try Self.checkTime(request.deadline)
            let (binding, isStale) = try await look(request)
            if let binding, binding.state == .live {
                switch await open(request.name, binding, deadline: request.deadline) {
                case .found(let manifest, let tier):
                    return RetrieveReply(result: .found(binding, manifest, tier: tier), isStale: isStale)
                case .lost where request.allowsStale:
                    // This node may not even know yet whom to ask: no name is judged by that.
                    counters.lost.add()
                    return RetrieveReply(result: .absent(binding), isStale: isStale)
                case .lost:
                    counters.lost.add()
                    // Otherwise the name stands for something else by now.
                    guard try await quarantine(request.name, binding, deadline: request.deadline) else { continue }
                case .refused: throw .tooManyLoads
                case .unreached:
                    if state.withLock({ $0.isDraining }) {
                        throw CacheFailure(.draining, "this node is stopping; ask another one")
                    }
                    if let pause = pauses.popFirst(), NodeClock.now() + pause < request.deadline {
                        // Cancelled: the next look is the last.
                        if (try? await Task.sleep(for: pause)) == nil { pauses = [] }
                        continue
                    }
                    // To whoever asks it is as good as absent; what the name stands for stays.
                    counters.lost.add()
                    counters.unreached.add()
                    return RetrieveReply(result: .absent(binding), isStale: isStale)
                }
            }
            let remains = binding.map { binding in
                var binding = binding
                if binding.state == .live { binding.state = .quarantined }
                return binding
            }
            if binding?.state != .live { counters.absent.add() }
            guard request.wantsToMake, !isStale else {
                return RetrieveReply(result: .absent(remains), isStale: isStale)
            }
            if let token = try await waitForTurn(request) { return RetrieveReply(result: .make(token)) }
        }
    }

    /// Between looks for what somebody has who does not answer: a node that restarts is back in a moment, and making a thing anew
    /// takes longer.
    private static let pauses: [Duration] = [.milliseconds(50), .milliseconds(150), .milliseconds(300)]

    private func look(_ request: RetrieveRequest) async throws(CacheFailure) -> (Binding?, isStale: Bool) {
        if let lookup = names.binding(request.name, principal: request.principal) {
            return (lookup.binding, false)
        }
        counters.leaseRefusals.add()
        // What is told unconfirmed has to be brought in time as well.
        let deadline = request.allowsStale ? Self.half(until: request.deadline) : request.deadline
        do throws(CacheFailure) {
            return (try await names.look(request.name, principal: request.principal, deadline: deadline), false)
        } catch {
            guard request.allowsStale, error.isUnconfirmed else { throw error }
            return (names.staleBinding(request.name).binding, true)
        }
    }

    // MARK: From the binding to the bytes

    private enum Opened {
        case found(Manifest, CacheTier)
        case lost
        case unreached
        case refused
    }

    /// Brings the manifest, and everything that it names or the knowledge that it is there.
    private func open(_ name: [UInt8], _ binding: Binding, deadline: Instant) async -> Opened {
        let cost = binding.costMilliseconds
        let first = await loader.load([binding.manifest], costs: .all(cost), deadline: deadline)
        guard let encoded = first.found[binding.manifest] else {
            if !first.refused.isEmpty { return .refused }
            return first.lost.isEmpty ? .unreached : .lost
        }
        // Its digest is right, so whoever stored it stored nonsense; there is nothing to find.
        guard let manifest = try? Manifest(decoding: encoded.bytes) else { return .lost }
        var tier = encoded.tier
        let digests = Array(Set(manifest.blobs.map(\.digest)))
        if manifest.size <= options.prefetchBytes {
            let rest = await loader.load(digests, costs: .all(cost), deadline: deadline)
            if !rest.lost.isEmpty { return .lost }
            if !rest.refused.isEmpty { return .refused }
            if !rest.unreached.isEmpty { return .unreached }
            if !digests.isEmpty { tier = max(tier, rest.tier) }
            keepHot(name, binding, manifest, rest)
        } else {
            let missing = await loader.missing(digests, deadline: deadline)
            if !missing.lost.isEmpty { return .lost }
            if !missing.unreached.isEmpty { return .unreached }
        }
        counters[tier].add(bytes: manifest.size, cost: UInt64(cost))
        record(name, bytes: manifest.size, costMilliseconds: cost, isHit: tier == .memory)
        noteUse(of: binding.manifest)
        return .found(manifest, tier)
    }

    /// A small value stands in memory under its name too, for ``hit(_:)``.
    private func keepHot(_ name: [UInt8], _ binding: Binding, _ manifest: Manifest, _ loaded: LoadResult) {
        guard manifest.files.count == 1, manifest.size <= Self.hotBytes else { return }
        switch manifest.files[0].content {
        case .inline(let bytes):
            memory.put(bytes, of: name, version: binding.version, costMilliseconds: binding.costMilliseconds)
        case .blobs(let blobs):
            guard blobs.count == 1, let blob = loaded.found[blobs[0].digest] else { return }
            memory.put(blob.bytes, of: name, version: binding.version, costMilliseconds: binding.costMilliseconds)
        }
    }

    static let hotBytes: UInt64 = 64 << 10

    /// - Returns: false when somebody has stored it anew, evicted it or marked it already.
    private func quarantine(
        _ name: [UInt8], _ binding: Binding, deadline: Instant
    ) async throws(CacheFailure) -> Bool {
        let (result, _) = try await names.change(
            .quarantine(name, version: binding.version), request: nil, principal: "node/" + options.node,
            deadline: deadline)
        guard case .quarantined = result else { return false }
        counters.quarantined.add()
        logger.warning(
            "the bytes of a name were found in no tier; it is quarantined until it is made again",
            metadata: ["cache.version": "\(binding.version)"])
        return true
    }

    // MARK: Blobs

    public func blob(_ reference: BlobReference, deadline: Instant) async throws(CacheFailure) -> CachedBlob {
        let digest = reference.digest
        if let bytes = memory.get(digest) { return CachedBlob(bytes: bytes, tier: .memory) }
        try Self.checkTime(deadline)
        let result = await loader.load([digest], deadline: deadline)
        if let blob = result.found[digest] { return blob }
        if !result.refused.isEmpty { throw .tooManyLoads }
        try await checkMembers()
        if result.lost.contains(digest) { throw CacheFailure(.bytesLost, "no tier has \(digest)") }
        if NodeClock.now() >= deadline { throw CacheFailure(.timedOut, "the blob was not there in time") }
        throw CacheFailure(.tierUnavailable, "a tier that may have \(digest) does not answer")
    }
}

extension BindingLookup {
    var binding: Binding? {
        switch self {
        case .found(let binding): binding
        case .absent: nil
        }
    }
}
