import Coordination
import EsperTypes
import RaftCore

/// What waits for a node's next turn.
enum Input {
    case event(Event)
    case durable(WriteSequence)
    case write(ClientRequest)
    case read(ClientRequest)
    /// A command that somebody else encoded.
    case propose(Proposal)

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
    var seen: RaftGlance
    var replica = Replica()
    var disk: Disk

    /// Counts restarts; what was under way for an earlier life does not reach this one.
    var life: UInt32 = 0
    var isUp = true
    /// Nothing can be made of its disk any more.
    var isLost = false
    /// The core was told that the disk is full.
    var isFull = false
    var isPaused = false

    var inbox: [Input] = []
    var isTurnScheduled = false
    var turns = 0
    /// When the one timer that is set fires.
    var timerAt = UInt64.max
    /// Messages that wait for a write, in the order in which they were made.
    var held: [(after: WriteSequence, message: Message, to: NodeID)] = []
    var durableThrough = WriteSequence.zero

    /// What clients of this node wait for, by attempt.
    var writes: [UInt64: ClientRequest] = [:]
    var reads: [UInt64: ClientRequest] = [:]

    /// Expiries that it proposed as leader, and which sessions they end.
    var expiries: [UInt64: [SessionID]] = [:]
    var hasLed = false
    /// Who watches here, and what waits to be sent to them.
    var watching: [WatchID: (watcher: Int, connection: UInt32)] = [:]
    var deliveries: [WatchDelivery] = []

    var appliedSinceSnapshot = 0
    var isSnapshotRunning = false
    /// The worker does one thing after the other.
    var workerFreeAt: UInt64 = 0

    // What the oracles remember of this life.
    var lastTerm = Term.zero
    var lastCommit = LogIndex.zero
    var lastConfiguration: (index: LogIndex, configuration: Configuration)?
    /// The term that it led when it was last looked at.
    var ledTerm: Term?

    /// Starts with whatever the clock shows.
    var clock: LocalClock

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
