import CacheCore
public import Catalog
public import EsperTypes
public import Logging
public import NIOCore
import Metrics
import RaftRuntime
import Synchronization

/// The cache of one node: names from the cluster's agreement, bytes from the nearest place that has them.
///
/// Names are decided by ``NameAuthority`` alone; everything here concerns bytes under digests, which are never stale, and so
/// every shortcut here can at worst miss. What is acknowledged as stored is held as its mode asks (``ClosureGate``); what is
/// read is checked when it enters the process.
public final class CacheService: ArtifactCache, PeerResponder {
    /// What a cache is made of.
    public struct Parts: Sendable {
        public var names: any NameAuthority
        public var memory: MemoryTier
        public var disk: BlobDirectory?
        /// Redis, the catalog and the archive, as far as there are any; guarded ones.
        public var outer: [any BlobTier]
        /// What the catalog tells of names; nil: there is no catalog.
        public var rows: BindingTable?
        public var peers: any PeerExchange
        /// For deadlines.
        public var eventLoop: any EventLoop
        public var options: CacheOptions
        /// Where what is asked for is written down; nil: nowhere.
        public var trace: TraceRecorder?
        public var logger: Logger

        public init(
            names: any NameAuthority, memory: MemoryTier, disk: BlobDirectory?, outer: [any BlobTier] = [],
            rows: BindingTable? = nil, peers: any PeerExchange = NoPeers(), eventLoop: any EventLoop,
            options: CacheOptions = CacheOptions(),
            trace: TraceRecorder? = nil, logger: Logger
        ) {
            self.names = names
            self.memory = memory
            self.disk = disk
            self.outer = outer
            self.rows = rows
            self.peers = peers
            self.eventLoop = eventLoop
            self.options = options
            self.trace = trace
            self.logger = logger
        }
    }

    struct State {
        var tokens: CompileTokens
        var holds = BlobHolds()
        /// Manifests that warming brought and nobody has read since.
        var warmed: Set<Digest> = []
        var isDraining = false
    }

    let names: any NameAuthority
    let memory: MemoryTier
    let disk: BlobDirectory?
    let outer: [any BlobTier]
    let rows: BindingTable?
    let peers: any PeerExchange
    let eventLoop: any EventLoop
    let options: CacheOptions
    private let trace: TraceRecorder?
    let logger: Logger
    let counters = CacheCounters()
    let placements: Placements
    let loader: BlobLoader
    let rebalancer: Rebalancer
    let background = BackgroundWork()
    /// Of stores, for those who coordinate their names: many, of which each may be lost, and none keeps a copy from being made.
    let news = BackgroundWork()
    let making: MakeQueue
    let state: Mutex<State>
    /// Cancelled and awaited by ``stop()``.
    private let chores = Mutex<Task<Void, Never>?>(nil)

    public init(_ parts: Parts) {
        names = parts.names
        memory = parts.memory
        disk = parts.disk
        outer = parts.outer.sorted { $0.tier < $1.tier }
        rows = parts.rows
        peers = parts.peers
        eventLoop = parts.eventLoop
        options = parts.options
        trace = parts.trace
        logger = parts.logger
        placements = Placements(me: parts.names.nodeID, copies: parts.options.copies)
        rebalancer = Rebalancer(
            Rebalancer.Parts(
                names: names, disk: disk, memory: memory, peers: peers, placements: placements, options: options,
                logger: logger))
        loader = BlobLoader(
            memory: memory, disk: disk, outer: outer, peers: peers, placements: placements, options: options,
            counters: counters, readTimes: rebalancer.reads, background: background, eventLoop: eventLoop)
        making = MakeQueue(maximumWaiters: options.maximumWaiters, eventLoop: eventLoop)
        state = Mutex(State(tokens: CompileTokens(settings: options.tokens, seed: options.seed)))
        recallPromises()
    }

    /// Learns who the members are, and begins the chores: who is there, what may go.
    /// Does not wait for the cluster: until this node knows the members, calls that need them ask again or fail.
    public func start() {
        chores.withLock { chores in
            guard chores == nil else { return }
            chores = Task {
                async let warming: Void = self.bringBackHotList()
                async let rebalancing: Void = self.rebalancer.run()
                async let upkeep: Void = self.runUpkeep()
                await self.runChores()
                _ = await (warming, rebalancing, upkeep)
            }
        }
    }

    /// Has this node's shards move to others, as long as there is somebody to take them; returns when they have, or at the deadline.
    /// Reads and writes go on.
    public func handOver(by deadline: Instant) async { await rebalancer.leave(by: deadline) }

    /// Takes no new calls that write; reads go on until ``stop()``.
    public func drain() { state.withLock { $0.isDraining = true } }

    public func stop() async {
        drain()
        let task = chores.withLock { chores in
            defer { chores = nil }
            return chores
        }
        task?.cancel()
        await task?.value
        await background.close()
        await news.close()
        await keepHotList()
        await peers.close()
        await disk?.close()
    }

    /// Asks who the members are; called by itself twice a second.
    public func refreshMembers() async {
        // At the next time then.
        let deadline = NodeClock.now() + .seconds(2)
        guard let members = try? await names.members(deadline: deadline) else { return }
        if placements.update(members) { peers.update(members) }
    }

    private func runChores() async {
        var lastList = NodeClock.now()
        while !Task.isCancelled {
            await refreshMembers()
            memory.maintain()
            let now = NodeClock.now()
            let holders = placements.activeNames
            let (tokens, expired) = state.withLock { state in
                state.holds.sweep(now, claimsOlderThan: options.addHold)
                state.tokens.sweep(now)
                state.tokens.release(exceptOf: holders.union([options.node]))
                return (state.tokens.count, state.tokens.expired)
            }
            counters.memoryBytes.record(memory.stat().accountedBytes)
            if let disk { counters.diskBytes.record(disk.size.bytes) }
            counters.tokens.record(tokens)
            counters.tokensExpired.add(expired - counters.tokensExpired.current)
            let load = loader.load
            counters.loads.record(load.loads)
            counters.waiters.record(load.waiters + making.waiterCount)
            if now - lastList >= options.hotListInterval {
                lastList = now
                await keepHotList()
            }
            // Cancelled: the loop ends.
            try? await Task.sleep(for: .milliseconds(500))
        }
    }

    // MARK: Small helpers of all parts

    static func homeShard(of name: [UInt8]) -> ShardID { ShardID(of: Digest(hashing: name)) }

    static func check(_ name: [UInt8]) throws(CacheFailure) {
        guard CacheCommand.isName(name) else { throw CacheFailure(.invalid, CacheCommandError.name.message) }
    }

    /// Without the members nobody can say how many copies are enough, or that everybody was asked.
    func checkMembers() async throws(CacheFailure) {
        if placements.members.isEmpty { await refreshMembers() }
        guard !placements.members.isEmpty else {
            throw CacheFailure(.noLeader, "this node does not know the members of the cluster yet; ask again")
        }
    }

    static func checkTime(_ deadline: Instant) throws(CacheFailure) {
        guard NodeClock.now() < deadline else { throw CacheFailure(.timedOut, "the time given is over") }
    }

    /// Into the trace, if there is one: a use of a name's bytes.
    func record(_ name: [UInt8], bytes: UInt64, costMilliseconds: UInt32, isHit: Bool) {
        trace?.record(
            TraceRecord(
                microseconds: NodeClock.wallNanoseconds() / 1000, key: Digest(hashing: name).prefix,
                bytes: UInt32(clamping: bytes), costMilliseconds: costMilliseconds, isHit: isHit))
    }

    func tier(_ kind: CacheTier) -> (any BlobTier)? { outer.first { $0.tier == kind } }
}
