import CacheCore
import EsperTypes
import Logging
import RaftRuntime
import Synchronization

/// Drives the map of shards on this node: follows it, tells the leader how far this node is, and decides for all while it leads.
///
/// The rules are those of the table in docs/CACHE.md, and `MoveSimulator` keeps the same ones:
/// - ``follow()`` alone changes what ``Placements`` has applied, and deletes only between two changes of it.
/// - ``tell()`` reports that map, and so confirms its steps; the answer is the node's lease.
/// - ``lead()`` reads the map so that a quorum confirms the leadership, and proposes what the driver decides.
final class Rebalancer: Sendable {
    struct Parts: Sendable {
        var names: any NameAuthority
        var disk: BlobDirectory?
        var memory: MemoryTier
        var peers: any PeerExchange
        var placements: Placements
        var options: CacheOptions
        var logger: Logger
    }

    struct State: Sendable {
        // Following.
        var isMoving = false
        /// A piece of work has ended, so that another may begin.
        var hasRoom = false
        var work: [MoveWork: MovePull] = [:]
        var done = MoveWork.Done()
        var since: [MoveID: Instant] = [:]
        /// Since when nobody coordinates the shards of moves that flip.
        var flipping: [MoveID: Instant] = [:]
        var rate: MoveRate
        /// A node that blobs came from since the rate was judged last was strained.
        var isSourceStrained = false
        var movedBytes: UInt64 = 0
        var measured = MeasuredRate()
        var heat: (at: Instant, weights: [ShardID: [Digest: UInt64]])?
        // Telling.
        var isLeaving = false
        var isSetAside = false
        // Leading.
        var term: UInt64?
        var hasNews = false
        var book: LeaseBook
        var driver: RebalanceDriver
        var said: [NodeID: PeerReport] = [:]
    }

    let parts: Parts
    let state: Mutex<State>
    let metrics = RebalanceMetrics()
    /// Rung when the map is another or a piece of work has ended, when this node has something new to report, and when the leader has
    /// something new to decide by.
    let following = Doorbell()
    let telling = Doorbell()
    let leading = Doorbell()
    /// Whether this node has too little processor for what it is used for.
    let isStrained = Atomic<Bool>(false)
    /// Reads from peers that somebody waits for, and reports to the leader.
    let reads = RecentTimes()
    let reports = RecentTimes()

    init(_ parts: Parts) {
        self.parts = parts
        state = Mutex(
            State(
                rate: MoveRate(limit: parts.options.moveRate ?? Throttle().bytesPerSecond),
                book: LeaseBook(length: parts.options.nodeLease),
                driver: RebalanceDriver(options: parts.options.moves)))
    }

    var me: NodeID { parts.placements.me }

    /// Until the task is cancelled.
    func run() async {
        parts.names.observeMap { [following] in following.ring() }
        await withDiscardingTaskGroup { group in
            group.addTask { await self.follow() }
            group.addTask { await self.tell() }
            group.addTask { await self.lead() }
            group.addTask { await self.judge() }
        }
    }

    /// Before something that did not work is tried again, or looked at that nobody rings for.
    func pause() async {
        // Cancelled: the loops end.
        try? await Task.sleep(for: parts.options.movePause)
    }

    /// Until the bell rings; and now and then without it, for what nobody rings for.
    func pause(at bell: Doorbell) async {
        await bell.wait(atMost: parts.options.restPause, clock: ContinuousClock())
    }

    // MARK: Leaving

    /// Has this node's shards move away, as long as somebody can take them and leads the moves; returns when it holds none that
    /// counts, or the time is over. A node without blobs leaves at once: there is nothing that anybody would miss.
    func leave(by deadline: Instant) async {
        guard let disk = parts.disk, disk.size.blobs > 0 else { return }
        state.withLock { $0.isLeaving = true }
        telling.ring()
        // One report that is late is no reason to give up.
        var heard = NodeClock.now()
        while !Task.isCancelled {
            let now = NodeClock.now()
            if parts.placements.holdsLease(at: now) { heard = now }
            guard now < deadline, now - heard < parts.options.nodeLease * 2, let map = parts.placements.map,
                map.host(me) != nil, map.hosts.contains(where: { $0.isEligible && $0.id != me }),
                map.shards.contains(where: { $0.involves(me) })
            else { return }
            await pause()
        }
    }

    // MARK: Telling how far it is

    func progress() -> MoveProgress {
        let now = NodeClock.now()
        return state.withLock { state in
            MoveProgress(
                moves: state.work.compactMap { work, pull in
                    work.move.map { .init(id: $0, copiedBytes: pull.copiedBytes, leftBytes: pull.leftBytes) }
                }.sorted { $0.id < $1.id }, bytesPerSecond: state.measured.bytesPerSecond(at: now),
                allowedBytesPerSecond: state.rate.current, movedBytes: state.movedBytes)
        }
    }
}

/// The speed of what happened lately, measured only while something happens.
struct MeasuredRate: Sendable {
    private static let window = Duration.seconds(10)
    private var samples: [(at: Instant, bytes: UInt64)] = []

    mutating func add(_ bytes: UInt64, at now: Instant) {
        samples.removeAll { now - $0.at > Self.window }
        samples.append((now, bytes))
    }

    /// 0: nothing was measured.
    func bytesPerSecond(at now: Instant) -> UInt64 {
        let recent = samples.filter { now - $0.at <= Self.window }
        guard let first = recent.first, recent.count > 1 else { return 0 }
        let seconds = Double((now - first.at).nanoseconds) / 1e9
        let bytes = recent.dropFirst().reduce(UInt64(0)) { $0 + $1.bytes }
        return seconds > 0 ? UInt64(Double(bytes) / seconds) : 0
    }
}

extension ShardMap.Shard {
    /// Whether anybody counts on what the node has of it.
    func involves(_ node: NodeID) -> Bool {
        placement.contains(node) || strays.contains(node) || move?.members.contains(node) ?? false
    }
}
