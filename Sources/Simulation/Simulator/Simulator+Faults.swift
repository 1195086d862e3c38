import EsperTypes
import RaftCore

/// Faults under way, and what has to be undone when they end.
struct ActiveFaults {
    struct Fault {
        /// Directed links that it cuts.
        var cuts: [(from: Int, to: Int)]
        var lossPerMille = 0
        /// Links that are closed and opened, and cut every other time.
        var flapping: (one: Int, other: Int)?
        var flips = 0
        var fullDisk: Int?
    }

    /// How many there were so far, those that were skipped included.
    var injected = 0
    var active: [Int: Fault] = [:]
    var nextNumber = 0
    var diskStalledUntil: [Int: UInt64] = [:]
    /// What stays broken after all else has ended.
    var hungDisk: Int?
    var lostLink: (from: Int, to: Int)?
    var history: [History.Fault] = []
}

/// The one who breaks things.
extension Simulator {
    private func duration() -> UInt64 { UInt64(chaos.int(in: 1_000_000...plan.faultDuration)) }

    func injectFault() throws(SimulationFailure) {
        guard !isHealed else { return }
        chaos = SeededRandom(seed: plan.seed &+ UInt64(faults.injected) << 32)
        faults.injected += 1
        clock.schedule(.fault, after: UInt64(chaos.int(in: 0...plan.faultInterval * 2)))
        guard let kind = chaos.pick(SimulationPlan.Faults.passing.filter { plan.faults.contains($0) }) else { return }
        counters.faults += 1
        if plan.skippedKinds.contains(kind) || plan.skippedFaults.contains(faults.injected - 1) { return }
        let victim = chaos.int(in: 0...plan.nodes - 1)
        switch kind {
        case .crash: try crash(nodes[victim])
        case .leaderCrash: if let leader = currentLeader { try crash(nodes[leader]) }
        case .crashMany: for node in nodes where chaos.chance(2, in: 3) { try crash(node) }
        case .pause: pause(nodes[chaos.chance(1, in: 2) ? currentLeader ?? victim : victim])
        case .isolate: cut("isolate", linksOf(chaos.chance(1, in: 2) ? currentLeader ?? victim : victim))
        case .split: cut("split", linksAcross())
        case .partialCut: cut("partial cut", links().filter { _ in chaos.chance(1, in: 3) })
        case .oneWayCut:
            let toVictim = chaos.chance(1, in: 2)
            cut("one-way cut", linksOf(victim).filter { toVictim ? $0.to == victim : $0.from == victim })
        case .flap: flap(victim)
        case .linkReset: resetLink(victim, chaos.int(in: 0...plan.nodes - 1))
        case .diskStall: stallDisk(nodes[chaos.chance(1, in: 2) ? currentLeader ?? victim : victim])
        case .transfer: transfer(to: victim)
        case .crashAtPoint: break
        case .lossBurst: loseMore()
        case .swizzle: swizzle()
        case .diskError: nodes[victim].disk.files?.failSoon()
        case .diskFull: fillDisk(nodes[chaos.chance(1, in: 2) ? currentLeader ?? victim : victim])
        case .bitRot: try rot(nodes[victim])
        default: break
        }
    }

    var currentLeader: Int? {
        nodes.filter { $0.isUp && $0.raft.currentRole == .leader }.max { $0.raft.currentTerm < $1.raft.currentTerm }?
            .index
    }

    private func note(_ kind: String, _ target: String, until end: UInt64?) {
        faults.history.append(
            History.Fault(
                kind: kind, startNanoseconds: Int64(clock.now), endNanoseconds: end.map { Int64($0) }, target: target))
        say("fault: \(kind) \(target)")
    }

    // MARK: Processes

    /// A vote, an election, a snapshot: where crashes hurt most.
    func passedDelicatePoint(_ node: Node) {
        guard plan.crashPointPerMille > 0, !plan.skippedKinds.contains(.crashAtPoint), !isHealed,
            random.chance(plan.crashPointPerMille, in: 1000)
        else { return }
        clock.schedule(.crash(node: node.index, life: node.life), after: UInt64(random.int(in: 0...3_000_000)))
    }

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
        node.isUp = false
        node.isPaused = false
        node.life += 1
        node.inbox = []
        node.held = []
        node.writes = [:]
        node.reads = [:]
        return try node.disk.crash(using: &random)
    }

    func restart(_ node: Node) throws(SimulationFailure) {
        guard !node.isUp, !node.isLost else { return }
        if mutant == .rejoinsWiped { node.disk = Disk(mutant) }
        let lostThrough: Term?
        switch try node.disk.start(of: node.index, isSound: { (try? Machine(snapshot: $0)) != nil }) {
        case .ready(let lost): lostThrough = lost
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
            compactedThrough: image.compactedThrough, entries: image.entries, lostThrough: lostThrough)
        node.machine = Machine()
        node.life += 1
        node.isUp = true
        node.isTurnScheduled = false
        node.isFull = false
        node.isSnapshotRunning = false
        node.appliedSinceSnapshot = 0
        node.timerAt = .max
        node.durableThrough = .zero
        node.workerFreeAt = clock.now
        node.lastTerm = image.hardState.term
        node.lastCommit = image.snapshot?.index ?? .zero
        node.lastConfiguration = nil
        node.ledTerm = nil
        if let snapshot = image.snapshot { try loadMachine(node, snapshot) }
        node.raft = RaftNode(
            options: plan.raft, id: node.id, restored: restored, seed: random.next(), at: node.localTime(clock.now))
        say(
            "n\(node.index + 1) restarts: \(image.hardState), snapshot \(image.snapshot?.id.description ?? "none"), log to \(image.last)"
        )
        steps?.add("restart", of: node, at: clock.now)
        for peer in nodes where peer !== node { openLink(node.index, peer.index) }
        reserve(node)
        scheduleTurn(node)
    }

    private func pause(_ node: Node) {
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
    private func mixInbox(of node: Node) {
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

    private func stallDisk(_ node: Node) {
        let end = clock.now + duration()
        faults.diskStalledUntil[node.index] = end
        note("disk stall", "n\(node.index + 1)", until: end)
    }

    private func fillDisk(_ node: Node) {
        guard let files = node.disk.files else { return }
        let end = clock.now + duration()
        files.setFreeBytes(chaos.int(in: 0...8192))
        note("full disk", "n\(node.index + 1)", until: end)
        begin(ActiveFaults.Fault(cuts: [], fullDisk: node.index), endingAt: end)
    }

    /// Something stored long ago cannot be read any more; the start that follows has to find out.
    ///
    /// Only on so few nodes at once that the others have everything, see docs/SIMULATION.md.
    private func rot(_ node: Node) throws(SimulationFailure) {
        guard plan.membership == nil else { return }
        let others = nodes.count { $0 !== node && isImpaired($0) }
        guard others < (plan.nodes - 1) / 2, let path = node.disk.rot() else { return }
        counters.rots += 1
        note("bit rot", "n\(node.index + 1) \(path)", until: nil)
        try crash(node)
    }

    private func isImpaired(_ node: Node) -> Bool {
        node.isLost || node.disk.isRotten || node.disk.damaged != nil || node.raft.isQuarantined
    }

    private func transfer(to victim: Int) {
        guard let leader = currentLeader else { return }
        let target = chaos.chance(1, in: 2) ? nodes[victim].id : nil
        counters.transfers += 1
        note("transfer", "n\(leader + 1) to \(target.map { "n\($0.rawValue)" } ?? "any")", until: nil)
        receive(nodes[leader], .event(.transferLeadership(to: target)))
    }

    // MARK: Links

    private func links() -> [(from: Int, to: Int)] {
        (0..<plan.nodes).flatMap { from in (0..<plan.nodes).compactMap { from == $0 ? nil : (from, $0) } }
    }

    private func linksOf(_ node: Int) -> [(from: Int, to: Int)] {
        links().filter { $0.from == node || $0.to == node }
    }

    private func linksAcross() -> [(from: Int, to: Int)] {
        let sides = (0..<plan.nodes).map { _ in chaos.chance(1, in: 2) }
        return links().filter { sides[$0.from] != sides[$0.to] }
    }

    private func cut(_ kind: String, _ cuts: [(from: Int, to: Int)]) {
        guard !cuts.isEmpty else { return }
        let end = clock.now + duration()
        let closes = chaos.chance(1, in: 3)
        for link in cuts {
            network.cut(from: link.from, to: link.to)
            if closes { closeLink(link.from, link.to, told: true) }
        }
        note(kind, cuts.map { "n\($0.from + 1)→n\($0.to + 1)" }.joined(separator: " "), until: end)
        begin(ActiveFaults.Fault(cuts: cuts), endingAt: end)
    }

    private func begin(_ fault: ActiveFaults.Fault, endingAt end: UInt64) {
        faults.active[faults.nextNumber] = fault
        clock.schedule(.endOfFault(faults.nextNumber), at: end)
        faults.nextNumber += 1
    }

    func endFault(_ number: Int) {
        guard var fault = faults.active.removeValue(forKey: number) else { return }
        if let (one, other) = fault.flapping, fault.flips > 0 {
            fault.flips -= 1
            if fault.cuts.isEmpty {
                fault.cuts = [(one, other), (other, one)]
                for link in fault.cuts { network.cut(from: link.from, to: link.to) }
                closeLink(one, other, told: true)
            } else {
                mend(fault)
                fault.cuts = []
            }
            faults.active[number] = fault
            clock.schedule(.endOfFault(number), after: UInt64(chaos.int(in: 1_000_000...100_000_000)))
            return
        }
        mend(fault)
    }

    private func mend(_ fault: ActiveFaults.Fault) {
        network.extraLossPerMille -= fault.lossPerMille
        if let node = fault.fullDisk { nodes[node].disk.files?.setFreeBytes(nil) }
        for link in fault.cuts {
            network.mend(from: link.from, to: link.to)
            openLink(link.from, link.to)
        }
        say("a fault ends")
    }

    private func flap(_ node: Int) {
        guard plan.nodes > 1 else { return }
        let other = (node + chaos.int(in: 1...plan.nodes - 1)) % plan.nodes
        note("flap", "n\(node + 1)–n\(other + 1)", until: nil)
        let fault = ActiveFaults.Fault(cuts: [], flapping: (node, other), flips: chaos.int(in: 2...12))
        begin(fault, endingAt: clock.now)
    }

    private func loseMore() {
        let loss = chaos.int(in: 50...600)
        let end = clock.now + duration()
        network.extraLossPerMille += loss
        note("loss", "\(loss)‰", until: end)
        begin(ActiveFaults.Fault(cuts: [], lossPerMille: loss), endingAt: end)
    }

    /// Links are cut one by one and mended in another order.
    private func swizzle() {
        note("swizzle", "", until: nil)
        for node in 0..<plan.nodes where chaos.chance(1, in: 2) {
            let cuts = linksOf(node)
            for link in cuts { network.cut(from: link.from, to: link.to) }
            begin(ActiveFaults.Fault(cuts: cuts), endingAt: clock.now + duration())
        }
    }

    private func resetLink(_ one: Int, _ other: Int) {
        guard one != other else { return }
        note("link reset", "n\(one + 1)–n\(other + 1)", until: nil)
        closeLink(one, other, told: true)
        openLink(one, other)
    }

    /// A connection closes; its two ends hear of it after a moment, or not at all.
    private func closeLink(_ one: Int, _ other: Int, told: Bool) {
        network.reset(one, other)
        guard told else { return }
        for (node, peer) in [(one, other), (other, one)] where nodes[node].isUp {
            clock.schedule(
                .link(node: node, life: nodes[node].life, peer: peer, isUp: false),
                after: UInt64(chaos.int(in: 10_000...5_000_000)))
        }
    }

    private func openLink(_ one: Int, _ other: Int) {
        guard nodes[one].isUp, nodes[other].isUp, !network.isCut(from: one, to: other),
            !network.isCut(from: other, to: one)
        else { return }
        for (node, peer) in [(one, other), (other, one)] {
            clock.schedule(
                .link(node: node, life: nodes[node].life, peer: peer, isUp: true),
                after: UInt64(chaos.int(in: 6_000_000...40_000_000)))
        }
    }

    // MARK: Peace

    /// All faults end for good: from here on the cluster has to recover.
    func heal() throws(SimulationFailure) {
        say("all faults end")
        isHealed = true
        network.heal()
        faults.active = [:]
        faults.diskStalledUntil = [:]
        for node in nodes {
            node.disk.files?.repair()
            resume(node)
            if !node.isUp { try restart(node) }
        }
        scar()
        for one in 0..<plan.nodes { for other in 0..<one { openLink(one, other) } }
    }

    /// One thing may stay broken for good: the rest has a quorum and must do without it.
    private func scar() {
        guard plan.nodes > 2, plan.membership == nil, !nodes.contains(where: isImpaired) else { return }
        let node = chaos.int(in: 0...plan.nodes - 1)
        if plan.activeFaults.contains(.hungDisk) {
            faults.hungDisk = node
            faults.diskStalledUntil[node] = .max
            note("hung disk", "n\(node + 1)", until: nil)
        } else if plan.activeFaults.contains(.lostLink) {
            let other = (node + chaos.int(in: 1...plan.nodes - 1)) % plan.nodes
            faults.lostLink = (node, other)
            network.cut(from: node, to: other)
            if chaos.chance(2, in: 3) { network.cut(from: other, to: node) }
            closeLink(node, other, told: chaos.chance(1, in: 2))
            note("lost link", "n\(node + 1)→n\(other + 1)", until: nil)
        }
    }

    /// Whether nobody expects the node to keep up: its disk hangs, or it has no link with the leader.
    func isExcused(_ node: Int, under leader: Int) -> Bool {
        nodes[node].isLost || node == faults.hungDisk || network.isCut(from: node, to: leader)
            || network.isCut(from: leader, to: node)
    }
}
