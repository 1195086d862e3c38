import CacheCore
import EsperTypes
import Metrics
import NIOCore
import RaftRuntime
import Synchronization

/// What a load brought.
struct LoadResult: Sendable {
    var found: [Digest: CachedBlob] = [:]
    /// Denied by every tier.
    var lost: Set<Digest> = []
    /// Not found, and not known to be lost: a tier did not answer, or not in time.
    var unreached: Set<Digest> = []
    /// Not looked for: as much is being loaded as may be, or too many wait for the same.
    var refused: Set<Digest> = []
    /// Somebody else's load was waited for.
    var isCoalesced = false

    /// The farthest tier that something came from.
    var tier: CacheTier { found.values.map(\.tier).max() ?? .memory }
}

/// What making blobs took, in milliseconds, for whoever decides what stays in memory; 0: not known.
enum LoadCosts: Sendable {
    case all(UInt32)
    case each([Digest: UInt32])

    subscript(digest: Digest) -> UInt32 {
        switch self {
        case .all(let cost): cost
        case .each(let costs): costs[digest] ?? 0
        }
    }
}

/// Brings blobs into memory from wherever they are, each at most once at a time.
final class BlobLoader: Sendable {
    private struct State {
        var flights: SingleFlight<Digest>
        var waits: [UInt64: LoadWait] = [:]
        var nextWaiter: UInt64 = 1
        /// When something far was last used, for promotion on the second use.
        var usedAt: [Digest: Instant] = [:]
    }

    private let memory: MemoryTier
    private let disk: BlobDirectory?
    /// By nearness.
    private let outer: [any BlobTier]
    private let peers: any PeerExchange
    private let placements: Placements
    private let options: CacheOptions
    private let counters: CacheCounters
    /// Of reads from peers.
    private let readTimes: RecentTimes
    private let background: BackgroundWork
    private let eventLoop: any EventLoop
    private let state: Mutex<State>

    init(
        memory: MemoryTier, disk: BlobDirectory?, outer: [any BlobTier], peers: any PeerExchange,
        placements: Placements, options: CacheOptions, counters: CacheCounters, readTimes: RecentTimes,
        background: BackgroundWork, eventLoop: any EventLoop
    ) {
        self.memory = memory
        self.disk = disk
        self.outer = outer.sorted { $0.tier < $1.tier }
        self.peers = peers
        self.placements = placements
        self.options = options
        self.counters = counters
        self.readTimes = readTimes
        self.background = background
        self.eventLoop = eventLoop
        state = Mutex(
            State(
                flights: SingleFlight(
                    maximumWaiters: options.maximumWaiters, maximumLoads: options.maximumLoads)))
    }

    var load: (loads: Int, waiters: Int) { state.withLock { ($0.flights.loadCount, $0.flights.waiterCount) } }

    func load(_ digests: [Digest], costs: LoadCosts = .all(0), deadline: Instant) async -> LoadResult {
        var result = LoadResult()
        var wanted: [Digest] = []
        for digest in digests where result.found[digest] == nil {
            if let bytes = memory.get(digest) {
                result.found[digest] = CachedBlob(bytes: bytes, tier: .memory)
            } else if !wanted.contains(digest) {
                wanted.append(digest)
            }
        }
        if wanted.isEmpty { return result }
        let wait = LoadWait(wanted)
        let (waiter, led, waited) = state.withLock { state in
            let waiter = state.nextWaiter
            state.nextWaiter += 1
            state.waits[waiter] = wait
            var led: [Digest: UInt64] = [:]
            var waited: [UInt64] = []
            for digest in wanted {
                switch state.flights.join(digest, waiter) {
                case .lead(let flight): led[digest] = flight
                case .wait(let flight): waited.append(flight)
                case .refuse: wait.set(digest, .refused)
                }
            }
            return (waiter, led, waited)
        }
        result.isCoalesced = !waited.isEmpty
        let refused = wanted.count - led.count - waited.count
        if refused > 0 { counters.loadsRefused.add(UInt64(refused)) }
        // Ends by the load's own limit; whoever started it may be gone by then, since others may wait for it.
        if !led.isEmpty { Task { await self.run(led, costs) } }
        let outcomes = await wait.outcomes(by: deadline, on: eventLoop)
        state.withLock { state in
            state.waits[waiter] = nil
            for flight in waited { _ = state.flights.leave(flight, waiter) }
        }
        for digest in wanted {
            switch outcomes[digest] {
            case .found(let bytes, let tier): result.found[digest] = CachedBlob(bytes: bytes, tier: tier)
            case .lost: result.lost.insert(digest)
            case .refused: result.refused.insert(digest)
            case .unreached, nil: result.unreached.insert(digest)
            }
        }
        return result
    }

    /// As ``load(_:costs:deadline:)``, for whoever looks at everything: no tier and no peer counts it as a use, and nothing comes into memory or goes
    /// up to a nearer tier.
    func peek(_ digests: [Digest], deadline: Instant) async -> LoadResult {
        var result = LoadResult()
        for digest in digests {
            if let bytes = memory.peek(digest) { result.found[digest] = CachedBlob(bytes: bytes, tier: .memory) }
        }
        var plan = plan(digests.filter { result.found[$0] == nil }, deadline: deadline)
        while let step = plan.next(now: NodeClock.now()) {
            do throws(PeerFailure) {
                let found = try await ask(step, isUse: false)
                plan.answered(step, found: found.keys)
                for (digest, bytes) in found { result.found[digest] = CachedBlob(bytes: bytes, tier: step.source.tier) }
            } catch { plan.failed(step, found: [Digest]()) }
        }
        (result.lost, result.unreached) = (plan.lost, plan.unreached)
        return result
    }

    /// Those that nobody has, and those of which nobody can say; asks in the order of reading, and for what the nearer have not got alone.
    func missing(_ digests: [Digest], deadline: Instant) async -> (lost: Set<Digest>, unreached: Set<Digest>) {
        let away = digests.filter { !memory.contains($0) && !(disk?.has($0) ?? false) }
        var plan = plan(away, deadline: deadline)
        while let step = plan.next(now: NodeClock.now()) {
            do throws(PeerFailure) {
                plan.answered(step, found: try await look(step))
            } catch { plan.failed(step, found: [Digest]()) }
        }
        return (plan.lost, plan.unreached)
    }

    /// The bytes came by another way: nobody else joins the load.
    func overtake(_ digest: Digest) { state.withLock { $0.flights.overtake(digest) } }

    // MARK: One load

    private func run(_ flights: [Digest: UInt64], _ costs: LoadCosts) async {
        var plan = plan(Array(flights.keys), deadline: .distantFuture)
        while let step = plan.next(now: NodeClock.now()) {
            let found: [Digest: [UInt8]]
            do throws(PeerFailure) {
                found = try await ask(step)
                plan.answered(step, found: found.keys)
            } catch {
                plan.failed(step, found: [Digest]())
                continue
            }
            for (digest, bytes) in found {
                memory.put(bytes, under: digest, costMilliseconds: costs[digest])
                if let flight = flights[digest] { finish(digest, flight, .found(bytes, step.source.tier)) }
            }
            restore(found, from: step.source)
            promote(found, from: step.source.tier, costs)
        }
        let lost = plan.lost
        for (digest, flight) in flights { finish(digest, flight, lost.contains(digest) ? .lost : .unreached) }
    }

    private func plan(_ digests: [Digest], deadline: Instant) -> RetrievalPlan {
        RetrievalPlan(
            digests, sources: sources(for: digests), limits: options.limits,
            deadline: min(deadline, NodeClock.now() + options.loadLimit))
    }

    /// Which of them the source has.
    private func look(_ step: RetrievalPlan.Step) async throws(PeerFailure) -> Set<Digest> {
        switch step.source {
        case .disk: return []
        case .peer(let node):
            let held = try await peers.look(for: step.digests, at: node, deadline: step.deadline)
            return held.memory.union(held.disk)
        case .redis, .catalog, .archive:
            guard let tier = outer.first(where: { $0.tier == step.source.tier }) else { return [] }
            do throws(TierFailure) {
                return try await tier.has(step.digests, deadline: step.deadline)
            } catch {
                throw PeerFailure("\(error)")
            }
        }
    }

    private func ask(
        _ step: RetrievalPlan.Step, isUse: Bool = true
    ) async throws(PeerFailure) -> [Digest: [UInt8]] {
        switch step.source {
        case .disk: return try await disk?.get(step.digests, deadline: step.deadline) ?? [:]
        case .peer(let node):
            let start = NodeClock.now()
            // Also how long it took to fail; nobody waits for who looks at everything.
            defer { if isUse { readTimes.add(NodeClock.now() - start) } }
            return try await peers.fetch(step.digests, from: node, isUse: isUse, deadline: step.deadline).blobs
        case .redis, .catalog, .archive:
            guard let tier = outer.first(where: { $0.tier == step.source.tier }) else { return [:] }
            do throws(TierFailure) {
                if isUse { return try await tier.get(step.digests, deadline: step.deadline) }
                return try await tier.peek(step.digests, deadline: step.deadline)
                    .filter { Digest(hashing: $1) == $0 }
            } catch {
                throw PeerFailure("\(error)")
            }
        }
    }

    private func finish(_ digest: Digest, _ flight: UInt64, _ outcome: LoadWait.Outcome) {
        let waits = state.withLock { state in state.flights.finish(flight).compactMap { state.waits[$0] } }
        if !waits.isEmpty { counters.loadWidth.record(waits.count) }
        if waits.count > 1 { counters.coalesced.add(UInt64(waits.count - 1)) }
        for wait in waits { wait.set(digest, outcome) }
    }

    /// From the nearest to the farthest: own disk, the shards' holders, the outer tiers, and at last every other node.
    func sources(for digests: [Digest]) -> [(source: RetrievalPlan.Source, digests: Set<Digest>?)] {
        var sources: [(source: RetrievalPlan.Source, digests: Set<Digest>?)] = []
        if disk != nil { sources.append((.disk, nil)) }
        var ranks: [[NodeID: Set<Digest>]] = []
        for digest in digests {
            for (rank, node) in placements.readers(of: ShardID(of: digest)).enumerated() {
                if rank == ranks.count { ranks.append([:]) }
                ranks[rank][node, default: []].insert(digest)
            }
        }
        for rank in ranks {
            for (node, digests) in rank.sorted(by: { $0.key < $1.key }) { sources.append((.peer(node), digests)) }
        }
        for tier in outer {
            switch tier.tier {
            case .redis: sources.append((.redis, nil))
            case .catalog: sources.append((.catalog, nil))
            case .archive: sources.append((.archive, nil))
            case .memory, .peer: break
            }
        }
        for node in placements.others {
            let asked = ranks.reduce(into: Set<Digest>()) { $0.formUnion($1[node] ?? []) }
            let rest = Set(digests).subtracting(asked)
            if !rest.isEmpty { sources.append((.peer(node), rest)) }
        }
        return sources
    }

    // MARK: Back and up

    /// What this node holds for its shards and had lost from its disk is put there again. The catalog and the archive need no copy of theirs here.
    /// It is not synced: a store that counts on it has that done first.
    private func restore(_ found: [Digest: [UInt8]], from source: RetrievalPlan.Source) {
        switch source {
        case .disk, .catalog, .archive: return
        case .peer, .redis: break
        }
        guard let disk else { return }
        let lost = found.filter { placements.holds(ShardID(of: $0.key)) && !disk.has($0.key) }
            .map { Blob(digest: $0.key, bytes: $0.value) }
        if lost.isEmpty { return }
        background.start {
            // What cannot be written now is at the next load.
            try? await disk.put(lost, isSynced: false, deadline: NodeClock.now() + .seconds(5))
        }
    }

    private static let promotionWindow: Duration = .seconds(600)
    private static let promotionCost: UInt32 = 1000
    private static let rememberedUses = 16_384

    /// Up to Redis on the second use or when it was expensive to make, and from the archive to PostgreSQL on any use. Best effort.
    private func promote(_ found: [Digest: [UInt8]], from tier: CacheTier, _ costs: LoadCosts) {
        guard tier > .redis, !found.isEmpty else { return }
        let now = NodeClock.now()
        let worthy = state.withLock { state in
            if state.usedAt.count > Self.rememberedUses {
                state.usedAt = state.usedAt.filter { now - $0.value < Self.promotionWindow }
                if state.usedAt.count > Self.rememberedUses { state.usedAt = [:] }
            }
            return found.filter { digest, _ in
                let last = state.usedAt.updateValue(now, forKey: digest)
                return costs[digest] >= Self.promotionCost || last.map { now - $0 < Self.promotionWindow } ?? false
            }
        }
        fill(.redis, worthy)
        if tier == .archive { fill(.catalog, found) }
    }

    private func fill(_ kind: CacheTier, _ blobs: [Digest: [UInt8]]) {
        guard !blobs.isEmpty, let tier = outer.first(where: { $0.tier == kind }) else { return }
        let list = blobs.map { Blob(digest: $0.key, bytes: $0.value) }
        background.start {
            // A copy that is not made now is made at the next use.
            try? await tier.put(list, deadline: NodeClock.now() + .seconds(5))
        }
    }
}
