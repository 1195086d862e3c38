import Coordination
import EsperTypes
import RaftCore
import RaftStorage

/// Crashes and starts of nodes, and what hits their processes.
extension Simulator {
    /// A vote, an election, a snapshot: where crashes hurt most.
    func passedDelicatePoint(_ node: Node) {
        guard plan.crashPointPerMille > 0, !plan.skippedKinds.contains(.crashAtPoint), !isHealed,
            random.chance(plan.crashPointPerMille, in: 1000)
        else { return }
        clock.schedule(.crash(node: node.index, life: node.life), after: UInt64(random.int(in: 0...3_000_000)))
    }

    /// The node's process may have died in the middle of what it did last to its files.
    ///
    /// - Returns: whether it is down now.
    func crashIfDead(_ node: Node) throws(SimulationFailure) -> Bool {
        guard node.disk.isDead else { return false }
        try crash(node, downAtMost: Self.shortDowntime)
        return true
    }

    /// Does something to the files of a node.
    ///
    /// - Returns: nil when the node is down now: its process died in the middle, or has to end because of what has failed.
    func atFiles<Value>(
        of node: Node, _ work: () throws(StorageError) -> Value
    ) throws(SimulationFailure) -> Value? {
        let result = Result { () throws(StorageError) in try work() }
        if try crashIfDead(node) { return nil }
        switch result {
        case .success(let value): return value
        case .failure(let error):
            counters.failedSyncs += 1
            say("n\(node.index + 1) stops: \(error)")
            try crash(node)
            return nil
        }
    }

    static let shortDowntime = 20_000_000

    func crash(_ node: Node, downAtMost: Int? = nil) throws(SimulationFailure) {
        guard node.isUp else { return }
        counters.crashes += 1
        let lost = try powerOff(node)
        if mutant == .losesSyncedEntries { node.disk.forgetTail(random.int(in: 1...3)) }
        if mutant == .losesVote { node.disk.forgetVote() }
        steps?.add("crash", of: node, at: clock.now)
        let end = clock.now + (downAtMost.map { UInt64(chaos.int(in: 1_000_000...$0)) } ?? duration())
        note("crash", "n\(node.index + 1), \(lost) writes lost", until: end)
        for peer in nodes where peer !== node { closeLink(node.index, peer.index, told: plan.network.tellsClosedLinks) }
        clock.schedule(.restart(node: node.index), at: end)
    }

    /// - Returns: how many writes were lost.
    func powerOff(_ node: Node) throws(SimulationFailure) -> Int {
        node.lostLease = mutant == .leaseKeptOverRestart ? node.raft.findLease() : nil
        node.isUp = false
        node.isPaused = false
        node.life += 1
        node.inbox = []
        node.held = []
        node.writes = [:]
        node.reads = [:]
        node.expiries = [:]
        node.hasLed = false
        node.leaderHeardAt = nil
        node.preVoteGivenAt = nil
        node.deliveries = []
        disconnectWatchers(of: node)
        return try node.disk.crash(using: &random)
    }

    func restart(_ node: Node) throws(SimulationFailure) {
        guard !node.isUp, !node.isLost else { return }
        if mutant == .rejoinsWiped { node.disk = Disk(mutant) }
        let lostThrough: Term?
        let receiving: PartialSnapshot?
        switch try node.disk.start(of: node.index) {
        case .ready(let lost, let part): (lostThrough, receiving) = (lost, part)
        case .later:
            if isHealed { node.disk.files?.repair() }
            return clock.schedule(.restart(node: node.index), after: 20_000_000)
        case .never(let error):
            say("n\(node.index + 1) is lost: \(error)")
            node.isLost = true
            return
        }
        let image = node.disk.image
        var first = node.founding(founders)
        if mutant == .keepsTruncatedConfiguration, let known = node.lastConfiguration { first = known.configuration }
        let restored = RestoredState(
            hardState: image.hardState, configuration: first, snapshot: image.snapshot,
            compactedThrough: image.compactedThrough, entries: image.entries, lostThrough: lostThrough,
            receiving: receiving)
        node.replica = Replica()
        node.life += 1
        node.isUp = true
        node.isTurnScheduled = false
        node.isFull = false
        node.isSnapshotRunning = false
        node.appliedSinceSnapshot = 0
        node.repair = StorageRepair()
        node.timerAt = .max
        node.durableThrough = .zero
        node.workerFreeAt = clock.now
        node.lastTerm = image.hardState.term
        node.lastCommit = image.snapshot?.index ?? .zero
        node.lastConfiguration = nil
        node.ledTerm = nil
        if let snapshot = image.snapshot {
            guard let replica = try load(snapshot, at: node) else {
                throw SimulationFailure(
                    .driverContract, "n\(node.index + 1) has no snapshot \(snapshot.id) to start from")
            }
            node.replica = replica
        }
        node.raft = RaftNode(
            options: plan.raftOptions(of: node.index), id: node.id, restored: restored, seed: random.next(),
            at: node.clock.local(clock.now))
        node.seen = node.raft.glance
        beginNames(of: node, mutant == .leaseKeptOverRestart ? [] : image.entries)
        if let lost = node.lostLease { node.raft.pretendLease(lost) }
        say(
            "n\(node.index + 1) restarts: \(image.hardState), snapshot \(image.snapshot?.id.description ?? "none"), log to \(image.last)"
        )
        steps?.add("restart", of: node, at: clock.now)
        for peer in nodes where peer !== node { openLink(node.index, peer.index) }
        try reserve(node)
        scheduleTurn(node)
        scheduleScrub(node)
    }

    func pause(_ node: Node) {
        guard node.isUp, !node.isPaused else { return }
        let end = clock.now + duration()
        node.isPaused = true
        note("pause", "n\(node.index + 1)", until: end)
        clock.schedule(.resume(node: node.index), at: end)
    }

    func resume(_ node: Node) {
        guard node.isPaused else { return }
        node.isPaused = false
        say("n\(node.index + 1) goes on")
        mixInbox(of: node)
        node.isTurnScheduled = false
        scheduleTurn(node)
    }

    /// What came by different connections meanwhile is read in any order; by one connection, in its own.
    func mixInbox(of node: Node) {
        var connections: [[Input]] = Array(repeating: [], count: plan.nodes + 1)
        for input in node.inbox { connections[input.connection].append(input) }
        var waiting = connections.map { $0[...] }.filter { !$0.isEmpty }
        node.inbox.removeAll(keepingCapacity: true)
        while !waiting.isEmpty {
            let next = random.int(in: 0...waiting.count - 1)
            node.inbox.append(waiting[next].removeFirst())
            if waiting[next].isEmpty { waiting.remove(at: next) }
        }
    }

    func transfer(to victim: Int) {
        guard let leader = currentLeader else { return }
        let target = chaos.chance(1, in: 2) ? nodes[victim].id : nil
        counters.transfers += 1
        note("transfer", "n\(leader + 1) to \(target.map { "n\($0.rawValue)" } ?? "any")", until: nil)
        receive(nodes[leader], .event(.transferLeadership(to: target)))
    }
}
