import EsperTypes
import RaftCore

/// Plans in which one thing happens all the time, and the one by which the speed is measured.
extension SimulationPlan {
    /// The plan of a seed, with members that come and go all the time.
    package init(membershipStorm seed: UInt64) {
        self.init(seed: seed)
        var random = SeededRandom(seed: seed ^ 0x6d65_6d62)
        let ms = Self.millisecond
        if membership == nil { changeMembership(every: 0, &random) }
        membership?.interval = random.int(in: 10...80) * ms
        faults.formUnion([.crash, .leaderCrash, .isolate])
        faultInterval = random.int(in: 40...200) * ms
        faultDuration = random.int(in: 20...300) * ms
    }

    mutating func changeMembership(every interval: Int, _ random: inout SeededRandom) {
        nodes = min(nodes, 5)
        membership = MembershipPlan(
            founders: nodes, interval: interval, explicitLeavePercent: random.chance(1, in: 2) ? 0 : 30)
        nodes += random.int(in: 0...2)
        raft.maximumPromotionLag = random.int(in: 0...60)
    }

    /// The plan of a seed, with short sessions, leaders that are replaced all the time, and clients that fall silent.
    package init(sessionStorm seed: UInt64) {
        self.init(seed: seed)
        var random = SeededRandom(seed: seed ^ 0x7365_7373)
        let ms = Self.millisecond
        nodes = [3, 3, 5][random.int(in: 0...2)]
        membership = nil
        network.tellsClosedLinks = true
        sessions.holders = 4
        sessions.ttl = random.int(in: 100...500) * ms
        sessions.grace = random.int(in: 0...20) * ms
        sessions.absencePerMille = 300
        faults = [.isolate, .pause, .leaderCrash]
        faultInterval = random.int(in: 60...200) * ms
        faultDuration = random.int(in: 100...800) * ms
        clockDrift = 0
    }

    /// The plan of a seed, with clients that read all the time while leaders are cut off for moments, hand over, and hear late.
    package init(readStorm seed: UInt64) {
        self.init(seed: seed)
        var random = SeededRandom(seed: seed ^ 0x7265_6164)
        let ms = Self.millisecond
        nodes = [3, 3, 5][random.int(in: 0...2)]
        membership = nil
        raft.heartbeatInterval = .milliseconds(10)
        raft.electionTimeout = .milliseconds(random.int(in: 30...60))
        network = NetworkPlan(
            delay: 20_000...random.int(in: 100_000...500_000), lossPerMille: random.int(in: 0...30),
            duplicatePerMille: 0, spikePerMille: random.int(in: 50...400), spike: random.int(in: 10...150) * ms,
            isOrdered: false, tellsClosedLinks: true)
        disk = DiskPlan(latency: 30_000...500_000, slowPerMille: 0, slowLatency: 0)
        workload = WorkloadPlan(
            clients: 6, keys: 1, pause: 0...random.int(in: 2...20) * ms, timeout: random.int(in: 50...300) * ms,
            readPercent: random.int(in: 40...80), comparePercent: 0, deletePercent: 0, retries: 2,
            lostReplyPerMille: 0, padding: 0)
        sessions.holders = 0
        watchers = 0
        faults = [.isolate, .partialCut, .oneWayCut, .transfer, .linkReset, .pause]
        faultInterval = random.int(in: 20...100) * ms
        faultDuration = random.int(in: 5...100) * ms
        raft.readLease = .zero
        if random.chance(1, in: 2) { readByLease(for: random.int(in: 20...200)) }
    }

    /// The plan of a seed, with clients that read at every node by its lease while leaders and holders are cut off, stopped,
    /// replaced and slow.
    package init(nameStorm seed: UInt64) {
        self.init(readStorm: seed)
        var random = SeededRandom(seed: seed ^ 0x6e61_6d73)
        let ms = Self.millisecond
        workload.readPercent = random.int(in: 50...85)
        workload.keys = random.int(in: 2...4)
        workload.deletePercent = random.int(in: 0...20)
        workload.timeout = random.int(in: 100...800) * ms
        network.duplicatePerMille = random.chance(1, in: 2) ? 0 : random.int(in: 1...80)
        network.tellsClosedLinks = random.chance(1, in: 2)
        faults = []
        for kind in [
            Faults.isolate, .split, .partialCut, .oneWayCut, .transfer, .linkReset, .pause, .crash, .leaderCrash,
            .diskStall,
            .clockRate, .lossBurst,
        ] where random.chance(1, in: 2) { faults.insert(kind) }
        faultInterval = random.int(in: 30...200) * ms
        faultDuration = random.int(in: 10...600) * ms
        if random.chance(1, in: 3) { snapshotAfter = random.int(in: 3...20) }
        clockDrift = random.chance(1, in: 2) ? 0 : random.int(in: 1...50_000)
        if raft.readLease > .zero { readByLease(for: Int(raft.readLease.nanoseconds) / ms) }
        answerByLease(for: random.int(in: 60...400), &random)
    }

    /// The plan of a seed, with bits that rot, operations on files that fail and disks that fill up all the time, and many short files.
    package init(diskStorm seed: UInt64) {
        self.init(seed: seed)
        var random = SeededRandom(seed: seed ^ 0x6469_736b)
        let ms = Self.millisecond
        nodes = [3, 3, 5][random.int(in: 0...2)]
        membership = nil
        disk.segmentBytes = [4096, 4096, 8192][random.int(in: 0...2)]
        faults = [.bitRot, .diskError]
        for kind in [Faults.crash, .leaderCrash, .isolate, .diskFull, .crashAtPoint] where random.chance(1, in: 2) {
            faults.insert(kind)
        }
        crashPointPerMille = faults.contains(.crashAtPoint) ? random.int(in: 1...50) : 0
        faultInterval = random.int(in: 20...150) * ms
        faultDuration = random.int(in: 20...400) * ms
        scrubInterval = random.chance(1, in: 3) ? nil : random.int(in: 20...400) * ms
        if random.chance(1, in: 2) {
            // Whoever was away is sent a snapshot.
            faults.formUnion([.isolate, .crash])
            snapshotAfter = random.int(in: 5...20)
            retainedEntries = 0
            raft.maximumRetainedBytes = 0
        } else {
            snapshotAfter = random.chance(1, in: 2) ? nil : random.int(in: 5...80)
            retainedEntries = random.int(in: 0...80)
        }
    }

    /// Five nodes with the timeouts and bounds of a node in service, for a minute, with a fault about every second.
    package init(benchmark seed: UInt64) {
        self.init(seed: seed)
        let ms = Self.millisecond
        nodes = 5
        membership = nil
        raft = RaftOptions()
        network = NetworkPlan(
            delay: 20_000...300_000, lossPerMille: 1, duplicatePerMille: 0, spikePerMille: 1, spike: 100 * ms,
            isOrdered: true, tellsClosedLinks: true)
        disk = DiskPlan(latency: 50_000...2 * ms, slowPerMille: 10, slowLatency: 100 * ms, segmentBytes: 32768)
        workload.clients = 4
        workload.keys = 3
        workload.padding = 0
        sessions.holders = 2
        sessions.ttl = 1500 * ms
        watchers = 2
        housekeeping = HousekeepingPlan(interval: 1000 * ms, keptRevisions: 100)
        scrubInterval = 10_000 * ms
        faults = Faults(Faults.passing)
        faultInterval = 1000 * ms
        faultDuration = 500 * ms
        snapshotAfter = 200
        retainedEntries = 50
        inboxBound = .max
        turnDelay = 100_000
        clockDrift = 1000
        crashPointPerMille = 20
        healAt = 60_000_000_000
        recoveryLimit = healAt + 30_000_000_000
    }

    /// The plan of a seed, turned to elections.
    package init(electionStorm seed: UInt64) {
        self.init(seed: seed)
        becomeElectionStorm()
    }

    /// Votes that race with slow disks, late messages and crashes: schedules that calm seeds hardly ever meet.
    mutating func becomeElectionStorm() {
        var random = SeededRandom(seed: seed ^ 0x57_0421)
        let ms = Self.millisecond
        nodes = 3
        membership = nil
        raft.heartbeatInterval = .milliseconds(10)
        raft.electionTimeout = .milliseconds(random.int(in: 30...50))
        network = NetworkPlan(
            delay: 100_000...random.int(in: 1...8) * ms, lossPerMille: random.int(in: 0...150),
            duplicatePerMille: random.int(in: 0...50), spikePerMille: random.int(in: 50...400),
            spike: random.int(in: 20...150) * ms, isOrdered: false, tellsClosedLinks: random.chance(1, in: 2))
        disk = DiskPlan(
            latency: 100_000...random.int(in: 2...30) * ms, slowPerMille: 50,
            slowLatency: random.int(in: 10...100) * ms, segmentBytes: disk.segmentBytes)
        faults = [.leaderCrash, .crash, .isolate, .crashAtPoint]
        faultInterval = random.int(in: 30...150) * ms
        faultDuration = random.int(in: 10...100) * ms
        crashPointPerMille = random.int(in: 50...400)
        workload.pause = 0...random.int(in: 5...20) * ms
        if random.chance(1, in: 2) {
            // Whoever comes back with a log of its own is sent a snapshot that contradicts it.
            snapshotAfter = random.int(in: 2...6)
            retainedEntries = 0
            raft.maximumRetainedBytes = 0
        }
        guard random.chance(1, in: 2) else { return }
        // One entry at a time, so that what a leader sends first is often all that arrives.
        raft.maximumAppendBytes = 1
        raft.maximumInFlightBytes = 1
        raft.maximumInFlightAppends = 1
    }
}
