import CacheCore
import Coordination
import EsperTypes
import RaftCore
import RaftStorage

/// What waits for a node's next turn.
enum Input {
    case event(Event)
    case durable(WriteSequence)
    case write(ClientRequest)
    case read(ClientRequest)
    /// A command that somebody else encoded.
    case propose(Proposal)
    case scrubbed(Scrubber.Report)

    /// By which it came: from a peer, by its number, or from clients and the node itself.
    var connection: Int {
        if case .event(.received(_, let peer)) = self { Int(peer.rawValue) } else { 0 }
    }
}

/// One node of a simulated cluster: the real consensus core and machine, on a simulated disk, clock and network.
final class SimulatedNode {
    let index: Int
    let id: NodeID
    /// In memory of its own, so that a look at it copies nothing.
    private let core: UnsafeMutablePointer<RaftNode>
    var raft: RaftNode {
        _read { yield core.pointee }
        _modify { yield &core.pointee }
    }
    /// What it was at the end of the last turn.
    @exclusivity(unchecked) var seen: RaftGlance
    @exclusivity(unchecked) var replica = Replica()
    @exclusivity(unchecked) var disk: Disk
    /// What it answers by its lease; nil in plans without leases.
    @exclusivity(unchecked) var names: NameView<StateMachine>?
    /// Which of its commands all that answer by a lease must have first.
    @exclusivity(unchecked) var nameGuard = NameGuard()
    /// A table of some turns ago, for a mistake made on purpose.
    @exclusivity(unchecked) var staleTable: StateMachine?
    /// What it held when it went down, likewise.
    @exclusivity(unchecked) var lostLease: HolderLease?

    /// Counts restarts; what was under way for an earlier life does not reach this one.
    @exclusivity(unchecked) var life: UInt32 = 0
    @exclusivity(unchecked) var isUp = true
    /// Nothing can be made of its disk any more.
    @exclusivity(unchecked) var isLost = false
    /// The core was told that the disk is full.
    @exclusivity(unchecked) var isFull = false
    @exclusivity(unchecked) var isPaused = false

    @exclusivity(unchecked) var inbox: [Input] = []
    @exclusivity(unchecked) var isTurnScheduled = false
    @exclusivity(unchecked) var turns = 0
    /// When the one timer that is set fires.
    @exclusivity(unchecked) var timerAt = UInt64.max
    /// Messages that wait for a write, in the order in which they were made.
    @exclusivity(unchecked) var held: [(after: WriteSequence, message: Message, to: NodeID)] = []
    @exclusivity(unchecked) var durableThrough = WriteSequence.zero

    /// What clients of this node wait for, by attempt.
    @exclusivity(unchecked) var writes: [UInt64: ClientRequest] = [:]
    @exclusivity(unchecked) var reads: [UInt64: ClientRequest] = [:]

    /// Expiries that it proposed as leader, and which sessions they end.
    @exclusivity(unchecked) var expiries: [UInt64: [SessionID]] = [:]
    @exclusivity(unchecked) var hasLed = false
    /// When, by its own clock, it last took in a message of the leader that it follows.
    @exclusivity(unchecked) var leaderHeardAt: Instant?
    /// When it last gave a pre-vote, and reads that it will not answer: for mistakes made on purpose.
    @exclusivity(unchecked) var preVoteGivenAt: UInt64?
    @exclusivity(unchecked) var strandedReads: Set<UInt64> = []
    /// Who watches here, and what waits to be sent to them.
    @exclusivity(unchecked) var watching: [WatchID: (watcher: Int, connection: UInt32)] = [:]
    @exclusivity(unchecked) var deliveries: [WatchDelivery] = []

    @exclusivity(unchecked) var appliedSinceSnapshot = 0
    @exclusivity(unchecked) var isSnapshotRunning = false
    /// What was found damaged, and is not made up for yet.
    @exclusivity(unchecked) var repair = StorageRepair()
    /// When its files were last looked at for damage that nobody repairs, by their operations, and whether there was any.
    @exclusivity(unchecked) var neglect: (operations: Int, isFound: Bool)?
    /// The worker does one thing after the other.
    @exclusivity(unchecked) var workerFreeAt: UInt64 = 0

    // What the oracles remember of this life.
    @exclusivity(unchecked) var lastTerm = Term.zero
    @exclusivity(unchecked) var lastCommit = LogIndex.zero
    @exclusivity(unchecked) var lastConfiguration: (index: LogIndex, configuration: Configuration)?
    /// The term that it led when it was last looked at.
    @exclusivity(unchecked) var ledTerm: Term?

    /// Starts with whatever the clock shows.
    @exclusivity(unchecked) var clock: LocalClock

    init(index: Int, raft: RaftNode, disk: Disk, clock: LocalClock) {
        self.index = index
        self.disk = disk
        id = raft.id
        core = .allocate(capacity: 1)
        core.initialize(to: raft)
        seen = raft.glance
        self.clock = clock
    }

    deinit {
        core.deinitialize(count: 1)
        core.deallocate()
    }
}
