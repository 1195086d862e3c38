import EsperTypes
import RaftCore

/// What waits for a node's next turn.
enum Input {
    case event(Event)
    case durable(WriteSequence)
    case write(ClientRequest)
    case read(ClientRequest)

    /// By which it came: from a peer, by its number, or from clients and the node itself.
    var connection: Int {
        if case .event(.received(_, let peer)) = self { Int(peer.rawValue) } else { 0 }
    }
}

/// One node of a simulated cluster: the real consensus core and machine, on a simulated disk, clock and network.
final class SimulatedNode<Machine: ReplicatedMachine> {
    let index: Int
    let id: NodeID
    /// In memory of its own, so that a look at it copies nothing.
    private let core: UnsafeMutablePointer<RaftNode>
    var raft: RaftNode {
        _read { yield core.pointee }
        _modify { yield &core.pointee }
    }
    var machine = Machine()
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

    private let clockOffset: UInt64
    private let clockDrift: Int

    init(index: Int, raft: RaftNode, disk: Disk, clockOffset: UInt64, clockDrift: Int) {
        self.index = index
        self.disk = disk
        id = raft.id
        core = .allocate(capacity: 1)
        core.initialize(to: raft)
        self.clockOffset = clockOffset
        self.clockDrift = clockDrift
    }

    deinit {
        core.deinitialize(count: 1)
        core.deallocate()
    }

    static func localTime(_ now: UInt64, offset: UInt64, drift: Int) -> Instant {
        Instant(nanoseconds: UInt64(Int(offset + now) + Int(now) * drift / 1_000_000))
    }

    /// This node's own clock: it began elsewhere and runs at its own rate.
    func localTime(_ now: UInt64) -> Instant { Self.localTime(now, offset: clockOffset, drift: clockDrift) }

    /// A moment at which the own clock shows `instant`, or one shortly before.
    func globalTime(_ instant: Instant) -> UInt64 {
        guard instant != .distantFuture else { return .max }
        let local = instant.nanoseconds - min(instant.nanoseconds, clockOffset)
        let rate = UInt64(1_000_000 + clockDrift)
        let (whole, rest) = local.quotientAndRemainder(dividingBy: rate)
        return whole * 1_000_000 + rest * 1_000_000 / rate
    }
}
