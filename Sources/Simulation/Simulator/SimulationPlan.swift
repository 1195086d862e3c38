import EsperTypes
public import RaftCore

/// Everything about a run that its seed decides before it begins.
///
/// Each seed is a different swarm: its own cluster size, timings, network, disk, kinds of fault and workload, so that
/// no fault is always hidden behind another.
public struct SimulationPlan: Hashable, Sendable {
    /// Kinds of fault; each seed has a random subset.
    public struct Faults: OptionSet, Hashable, Sendable {
        public let rawValue: UInt32
        public init(rawValue: UInt32) { self.rawValue = rawValue }

        public static let crash = Faults(rawValue: 1 << 0)
        public static let crashMany = Faults(rawValue: 1 << 1)
        public static let pause = Faults(rawValue: 1 << 2)
        public static let isolate = Faults(rawValue: 1 << 3)
        public static let split = Faults(rawValue: 1 << 4)
        public static let partialCut = Faults(rawValue: 1 << 5)
        public static let oneWayCut = Faults(rawValue: 1 << 6)
        public static let flap = Faults(rawValue: 1 << 7)
        public static let linkReset = Faults(rawValue: 1 << 8)
        public static let diskStall = Faults(rawValue: 1 << 9)
        public static let transfer = Faults(rawValue: 1 << 10)
        public static let lossBurst = Faults(rawValue: 1 << 11)
        public static let swizzle = Faults(rawValue: 1 << 12)
        public static let leaderCrash = Faults(rawValue: 1 << 13)
        /// A crash right after a vote, an election won, or a snapshot installed, and in the middle of any work on the files.
        public static let crashAtPoint = Faults(rawValue: 1 << 14)

        /// After everything else has ended one disk hangs for good.
        public static let hungDisk = Faults(rawValue: 1 << 15)
        /// After everything else has ended one link is lost for good, one way or both.
        public static let lostLink = Faults(rawValue: 1 << 16)

        /// A write or sync fails; the process stops.
        public static let diskError = Faults(rawValue: 1 << 17)
        public static let diskFull = Faults(rawValue: 1 << 18)
        /// Something that was synced long ago cannot be read any more.
        public static let bitRot = Faults(rawValue: 1 << 19)

        /// A clock runs at another rate for a while.
        public static let clockRate = Faults(rawValue: 1 << 20)
        /// A monotonic clock leaps ahead, a wall clock anywhere.
        public static let clockLeap = Faults(rawValue: 1 << 21)

        static let named: [(kind: Faults, name: String)] = [
            (.crash, "crash"), (.crashMany, "crashMany"), (.pause, "pause"), (.isolate, "isolate"), (.split, "split"),
            (.partialCut, "partialCut"), (.oneWayCut, "oneWayCut"), (.flap, "flap"), (.linkReset, "linkReset"),
            (.diskStall, "diskStall"), (.transfer, "transfer"), (.lossBurst, "lossBurst"), (.swizzle, "swizzle"),
            (.leaderCrash, "leaderCrash"), (.crashAtPoint, "crashAtPoint"), (.diskError, "diskError"),
            (.diskFull, "diskFull"), (.bitRot, "bitRot"), (.clockRate, "clockRate"), (.clockLeap, "clockLeap"),
            (.hungDisk, "hungDisk"), (.lostLink, "lostLink"),
        ]
        /// Those that come and go; the others stay when these have ended.
        static let passing = named.map(\.kind).filter { ![.hungDisk, .lostLink].contains($0) }
    }

    public struct NetworkPlan: Hashable, Sendable {
        /// One way, in nanoseconds.
        public var delay: ClosedRange<Int>
        public var lossPerMille: Int
        public var duplicatePerMille: Int
        /// So many messages take up to ``spike`` longer.
        public var spikePerMille: Int
        public var spike: Int
        /// Messages of one link arrive in order, and those under way are lost when it is closed, as on TCP.
        public var isOrdered: Bool
        /// A crash closes the links of the node, so its peers hear of it; otherwise they hear nothing.
        public var tellsClosedLinks: Bool
    }

    public struct DiskPlan: Hashable, Sendable {
        /// One synced write, in nanoseconds.
        public var latency: ClosedRange<Int>
        public var slowPerMille: Int
        public var slowLatency: Int
        /// The size of a file of the log; 0 does without files, so that only what the disk promises is simulated.
        public var segmentBytes = 0
    }

    public struct WorkloadPlan: Hashable, Sendable {
        public var clients: Int
        public var keys: Int
        /// Between an answer and the next operation, in nanoseconds.
        public var pause: ClosedRange<Int>
        /// How long a client waits for an answer.
        public var timeout: Int
        /// Of a hundred operations.
        public var readPercent: Int
        public var comparePercent: Int
        public var deletePercent: Int
        /// Unanswered requests are asked again under the same request ID, so often.
        public var retries: Int
        /// Of a thousand answers, lost on their way to the client.
        public var lostReplyPerMille: Int
        /// Bytes added to each command, so that bounds in bytes matter.
        public var padding: Int
    }

    public struct SessionPlan: Hashable, Sendable {
        /// Who keep sessions alive and take locks in their names.
        public var holders: Int
        public var locks: Int
        /// In nanoseconds, as the other two.
        public var ttl: Int
        /// What a new leader adds to every session's time.
        public var grace: Int
        /// Of a thousand keep-alives so many are followed by a silence that the session may not survive.
        public var absencePerMille: Int
        /// The longest between an answer and what comes next.
        public var pause: Int
    }

    public struct MembershipPlan: Hashable, Sendable {
        /// So many nodes vote in the beginning; the others wait to be added.
        public var founders: Int
        /// Between one request and the next on average, in nanoseconds.
        public var interval: Int
        /// Of a hundred changes of voters so many have to be ended by another request.
        public var explicitLeavePercent: Int
    }

    public struct HousekeepingPlan: Hashable, Sendable {
        /// Between one time and the next on average, in nanoseconds.
        public var interval: Int
        /// Up to so many revisions are kept, for watchers and for reads of the past.
        public var keptRevisions: Int
    }

    public var seed: UInt64
    /// Changes what chance brings while the run lasts, and nothing of this plan.
    public var variation: UInt64 = 0
    public var nodes: Int
    /// Changes of who votes; nil is none.
    public var membership: MembershipPlan?
    public var raft: RaftOptions
    public var network: NetworkPlan
    public var disk: DiskPlan
    public var workload: WorkloadPlan
    public var sessions: SessionPlan
    public var watchers: Int
    /// Keys lose their history, and audit records that were taken are forgotten, now and then; nil is never.
    public var housekeeping: HousekeepingPlan?
    /// How long after a pass a node reads back again what it has stored, in nanoseconds; nil is never.
    public var scrubInterval: Int?
    /// Bytes of events that may be on their way to one watcher.
    public var watchCredit: Int
    public var faults: Faults
    /// Kinds that are drawn as ever and then do not happen, and numbers of single faults: what a shortened run does without.
    public var skippedKinds: Faults = []
    public var skippedFaults: Set<Int> = []
    /// Of a thousand delicate points (a vote, an election, a snapshot) so many are followed by a crash;
    /// and of a thousand pieces of work on a node's files, see ``NodeFiles``, so many end in the middle.
    public var crashPointPerMille = 0
    /// Between one fault and the next on average, in nanoseconds.
    public var faultInterval: Int
    /// The longest a fault lasts.
    public var faultDuration: Int
    /// When faults end and the cluster must recover.
    public var healAt: UInt64
    /// By then everybody must agree.
    public var recoveryLimit: UInt64
    /// A node snapshots after so many entries; nil is never.
    public var snapshotAfter: Int?
    /// Entries kept before a snapshot.
    public var retainedEntries: Int
    /// Clocks of nodes run fast or slow by up to so many parts per million.
    public var clockDrift: Int
    /// How long a node takes from an event to the turn that handles it, in nanoseconds.
    public var turnDelay: Int
    /// How much of what waits for a node one turn takes.
    public var inboxBound = Int.max

    /// How long a recovered cluster is watched, in nanoseconds: longer than any of its timeouts.
    var calm: UInt64 { UInt64(raft.electionTimeout.nanoseconds) * 4 }

    /// What each node has of ``RaftOptions/holderLease``, in hundredths; from the first on again where there are more.
    public var leaseShares = [100]

    func raftOptions(of node: Int) -> RaftOptions {
        var options = raft
        options.holderLease = options.holderLease * leaseShares[node % leaseShares.count] / 100
        return options
    }

    /// Whether some of the keys are names of the cache: wherever nodes answer for names.
    var bindsNames: Bool { raft.holderLease > .zero }

    /// By how many parts per million a clock may be fast or slow.
    static let maximumDrift = 100_000

    var greatestDrift: Int { activeFaults.contains(.clockRate) ? Self.maximumDrift : clockDrift }

    package var activeFaults: Faults { faults.subtracting(skippedKinds) }

    static let millisecond = 1_000_000

    /// Draws the plan of a seed.
    public init(seed: UInt64) {
        var random = SeededRandom(seed: seed ^ 0x9d1e_55ed)
        let ms = Self.millisecond
        self.seed = seed
        nodes = [1, 2, 3, 3, 3, 3, 3, 3, 4, 5, 5, 5, 7][random.int(in: 0...12)]

        var raft = RaftOptions()
        let heartbeat = random.int(in: 10...40)
        raft.heartbeatInterval = .milliseconds(heartbeat)
        raft.electionTimeout = .milliseconds(heartbeat * random.int(in: 3...6))
        if random.chance(1, in: 3) { raft.maximumAppendBytes = random.int(in: 1...400) }
        raft.maximumInFlightAppends = random.int(in: 1...6)
        raft.maximumInFlightBytes = raft.maximumAppendBytes * random.int(in: 1...4)
        if random.chance(1, in: 4) { raft.maximumUnappliedEntries = random.int(in: 1...8) }
        if random.chance(1, in: 5) { raft.maximumUncommittedEntries = random.int(in: 2...10) }
        if random.chance(1, in: 5) { raft.maximumWaitingReads = random.int(in: 1...4) }
        raft.snapshotChunkBytes = random.int(in: 500...8000)
        raft.snapshotRetryInterval = .milliseconds(random.int(in: 20...200))
        if random.chance(1, in: 2) { raft.maximumRetainedBytes = random.int(in: 0...2000) }
        raft.storageStallLimit = .milliseconds(random.int(in: 40...500))
        self.raft = raft

        let isLocal = random.chance(2, in: 3)
        network = NetworkPlan(
            delay: isLocal ? 20_000...random.int(in: 50_000...500_000) : 100_000...random.int(in: 1...8) * ms,
            lossPerMille: random.chance(1, in: 2) ? 0 : random.int(in: 1...80),
            duplicatePerMille: random.chance(1, in: 2) ? 0 : random.int(in: 1...80),
            spikePerMille: random.chance(1, in: 2) ? 0 : random.int(in: 1...60),
            spike: random.int(in: 1...200) * ms,
            isOrdered: random.chance(1, in: 2), tellsClosedLinks: random.chance(2, in: 3))
        if network.isOrdered { network.duplicatePerMille = 0 }
        disk = DiskPlan(
            latency: 30_000...random.int(in: 60_000...6 * ms), slowPerMille: random.chance(1, in: 2) ? 0 : 10,
            slowLatency: random.int(in: 10...400) * ms)
        workload = WorkloadPlan(
            clients: random.int(in: 2...6), keys: random.int(in: 1...4), pause: 0...random.int(in: 5...120) * ms,
            timeout: random.int(in: 100...1200) * ms, readPercent: random.int(in: 10...70),
            comparePercent: random.int(in: 0...30), deletePercent: random.int(in: 0...10),
            retries: random.int(in: 0...4), lostReplyPerMille: random.chance(1, in: 2) ? 0 : 30,
            padding: random.chance(1, in: 4) ? random.int(in: 1...[300, 300, 800][random.int(in: 0...2)]) : 0)

        sessions = SessionPlan(
            holders: random.int(in: 0...3), locks: random.int(in: 1...2), ttl: random.int(in: 100...1500) * ms,
            grace: random.int(in: 0...[20, 300][random.int(in: 0...1)]) * ms, absencePerMille: 65,
            pause: random.int(in: 5...300) * ms)
        watchers = random.int(in: 0...3)
        watchCredit = random.chance(1, in: 2) ? 1 << 20 : random.int(in: 1...1000)

        var faults: Faults = []
        for (fault, _) in Faults.named where random.chance(2, in: 5) { faults.insert(fault) }
        self.faults = random.chance(1, in: 20) ? [] : faults
        faultInterval = random.int(in: 40...700) * ms
        faultDuration = random.int(in: 20...1500) * ms
        healAt = UInt64(random.int(in: 1000...3500) * ms)
        recoveryLimit = healAt + 30_000_000_000
        snapshotAfter = random.chance(1, in: 3) ? nil : random.int(in: 3...60)
        retainedEntries = random.chance(1, in: 2) ? 0 : random.int(in: 1...30)
        clockDrift = random.chance(1, in: 2) ? 0 : random.int(in: 1...50_000)
        turnDelay = random.chance(1, in: 3) ? 0 : random.int(in: 1...300_000)
        if random.chance(1, in: 3) { inboxBound = random.int(in: 1...4) }
        disk.segmentBytes = random.chance(1, in: 2) ? 0 : [4096, 8192, 32768][random.int(in: 0...2)]
        if random.chance(1, in: 2) {
            housekeeping = HousekeepingPlan(
                interval: random.int(in: 20...800) * ms,
                keptRevisions: random.int(in: 0...[0, 10, 100][random.int(in: 0...2)]))
        }
        if random.chance(1, in: 4) { readByLease(for: heartbeat * random.int(in: 1...12)) }
        crashPointPerMille = faults.contains(.crashAtPoint) ? random.int(in: 1...200) : 0
        var leases = SeededRandom(seed: seed ^ 0x6e61_6d65)
        let length = heartbeat * leases.int(in: 4...20)
        if leases.chance(1, in: 4) { answerByLease(for: length, &leases) }
        var scrubs = SeededRandom(seed: seed ^ 0x7363_7275)
        scrubInterval = scrubs.chance(1, in: 4) ? nil : scrubs.int(in: 20...1500) * ms
        if random.chance(1, in: 8) {
            becomeElectionStorm()
        } else if random.chance(1, in: 3) {
            let interval = random.int(in: 30...500) * ms
            changeMembership(every: interval, &random)
        }
    }

    /// Nodes answer by leases; whatever clocks do stays within what the nodes count on.
    mutating func answerByLease(for milliseconds: Int, _ random: inout SeededRandom) {
        // See below: a clock that leaps ahead of time is beyond every bound.
        faults.remove(.clockLeap)
        raft.holderLease = .milliseconds(milliseconds)
        raft.clockDriftPermille = (greatestDrift + 999) / 1000
        // Not everybody has to have the same.
        if random.chance(1, in: 4) { leaseShares = (0..<5).map { _ in [100, 100, 100, 50, 0][random.int(in: 0...4)] } }
    }

    /// Leaders read without a round while a commit is young; whatever clocks do stays within what the nodes count on.
    mutating func readByLease(for milliseconds: Int) {
        // A clock that leaps ahead of time is beyond every bound: a node that woke up has slept as long as its clock says.
        faults.remove(.clockLeap)
        raft.readLease = .milliseconds(milliseconds)
        raft.clockDriftPermille = (greatestDrift + 999) / 1000
    }
}
