import Coordination
import EsperTypes
import RaftCore

/// Runs a whole cluster from one seed: real cores and machines, simulated time, network, disks, crashes and clients.
///
/// Everything that happens is an ``Occurrence`` of one queue; nothing else makes time pass. After every turn of a node
/// the ``Oracles`` look at it; at the end faults cease, the cluster must recover within a bound, and the history of what
/// the clients were told is judged. The same seed takes the same steps: ``SimulationReport/traceHash`` proves it.
final class Simulator {
    let plan: SimulationPlan
    let mutant: Mutant?
    @exclusivity(unchecked) var clock = VirtualClock<Occurrence>()
    @exclusivity(unchecked) var random: SeededRandom
    /// Draws what faults do; begins anew with each of them.
    @exclusivity(unchecked) var chaos: SeededRandom
    @exclusivity(unchecked) var network: Network
    @exclusivity(unchecked) var nodes: [SimulatedNode] = []
    @exclusivity(unchecked) var workload: Workload
    @exclusivity(unchecked) var oracles: Oracles
    @exclusivity(unchecked) var trace = Trace()
    @exclusivity(unchecked) var transcript: Transcript?
    @exclusivity(unchecked) var steps: StepTrace?
    @exclusivity(unchecked) var counters = SimulationCounters()
    @exclusivity(unchecked) var faults = ActiveFaults()
    @exclusivity(unchecked) var isHealed = false
    /// Until when nothing may change any more, and the leader and term that must stay.
    @exclusivity(unchecked) var calm: (leader: Int, term: Term, until: UInt64)?
    @exclusivity(unchecked) var effects: [Effect] = []
    /// Memory that every turn uses again.
    @exclusivity(unchecked) var spareEffects: [Effect] = []
    @exclusivity(unchecked) var spareInbox: [Input] = []
    @exclusivity(unchecked) var holders: [Holder] = []
    /// The last entry that somebody has applied and that changed the name, by the name's mark.
    @exclusivity(unchecked) var changes: [UInt64: LogIndex] = [:]
    /// Names that last for a moment, with their version where most is applied.
    @exclusivity(unchecked) var brief: [[UInt8]: LogIndex?] = [:]
    @exclusivity(unchecked) var watchers: [Watcher] = []
    /// What members somebody was asked to make, by the number of the request, until it is answered.
    @exclusivity(unchecked) var askedFor: [UInt64: Configuration] = [:]
    /// What each lock guards, and the tokens that sessions have been given.
    @exclusivity(unchecked) var resources: [GuardedResource] = []
    @exclusivity(unchecked) var held: [SessionID: [(lock: String, token: UInt64)]] = [:]
    /// Who votes in the beginning. The other nodes know nobody.
    let founders: Configuration

    init(
        plan: SimulationPlan, mutant: Mutant? = nil, transcript: Transcript? = nil, steps: StepTrace? = nil
    ) {
        var plan = plan
        if mutant == .leadsWithHungDisk { plan.raft.storageStallLimit = .seconds(3600) }
        self.plan = plan
        self.mutant = mutant
        self.transcript = transcript
        self.steps = steps
        var random = SeededRandom(seed: plan.seed ^ plan.variation << 48)
        network = Network(plan: plan.network, nodes: plan.nodes, random: random.split())
        workload = Workload(
            plan: plan.workload, nodes: plan.nodes, random: random.split(), binds: plan.bindsNames,
            reusesNumbers: mutant == .reusesRequestNumbers)
        self.random = random.split()
        chaos = random.split()
        founders = Configuration(voters: (1...(plan.membership?.founders ?? plan.nodes)).map { NodeID(UInt64($0)) })
        oracles = Oracles(founders: founders, nodes: plan.nodes, maximumDrift: plan.greatestDrift)
        for index in 0..<plan.nodes { nodes.append(makeNode(index)) }
        for index in 0..<plan.sessions.holders {
            let target = self.random.int(in: 0...plan.nodes - 1)
            holders.append(
                Holder(index: index, process: workload.newProcess(), target: target, keeperTarget: target))
        }
        for index in 0..<plan.watchers {
            let range = index == 0 ? KeyRange.all : .key(Replica.key(index % plan.workload.keys))
            watchers.append(Watcher(index: index, cursor: WatchOracle.Cursor(range), node: 0))
        }
        resources = Array(repeating: GuardedResource(), count: plan.sessions.locks)
    }

    private func makeNode(_ index: Int) -> SimulatedNode {
        let offset = UInt64(random.int(in: 1...1_000_000_000_000))
        let drift = plan.clockDrift == 0 ? 0 : random.int(in: -plan.clockDrift...plan.clockDrift)
        let id = NodeID(UInt64(index + 1))
        let restored = RestoredState(configuration: founders.contains(id) ? founders : .none)
        let clock = LocalClock(offset: offset, drift: drift)
        let raft = RaftNode(
            options: plan.raftOptions(of: index), id: id, restored: restored, seed: random.next(), at: clock.local(0))
        var files: NodeFiles?
        if plan.disk.segmentBytes > 0, !(mutant?.isOfTheDiskModel ?? false) {
            files = NodeFiles(
                node: id, configuration: restored.configuration, segmentBytes: plan.disk.segmentBytes,
                deathPerMille: plan.activeFaults.contains(.crashAtPoint) ? plan.crashPointPerMille : 0, mutant: mutant,
                random: random.split())
        }
        let node = SimulatedNode(index: index, raft: raft, disk: Disk(mutant, files: files), clock: clock)
        beginNames(of: node, [])
        return node
    }

    /// Runs to the end.
    func run() -> SimulationReport {
        var failure: SimulationFailure?
        do throws(SimulationFailure) {
            begin()
            while let occurrence = clock.next() {
                counters.steps += 1
                trace.mix(clock.now)
                try happen(occurrence)
                if isHealed, try isOver() { break }
                if clock.now > plan.recoveryLimit {
                    throw SimulationFailure(.liveness, "not recovered: \(stateOfPlay)")
                }
            }
            workload.finish()
            finishHolders()
            try judgeHistory()
        } catch {
            failure = error
            say("FAILED \(error)")
        }
        counters.elections = oracles.elections
        counters.committed = Int(oracles.committedThrough.rawValue)
        counters.expiredSessions = oracles.sessions.expired
        counters.watchEvents = oracles.watches.delivered
        counters.guardedWrites = resources.reduce(0) { $0 + $1.writes }
        counters.staleWrites = resources.reduce(0) { $0 + $1.refused }
        counters.deaths = nodes.reduce(0) { $0 + ($1.disk.files?.deaths ?? 0) }
        counters.quarantines = nodes.reduce(0) { $0 + $1.disk.quarantines }
        counters.operations = workload.operations.count
        counters.messages = network.sent
        return SimulationReport(
            seed: plan.seed, failure: failure, traceHash: trace.digest, virtualNanoseconds: clock.now,
            counters: counters,
            history: History(
                header: ["header": true, "seed": .integer(Int64(truncatingIfNeeded: plan.seed))],
                operations: workload.operations, faults: faults.history))
    }

    private func begin() {
        for node in nodes {
            scheduleTurn(node)
            scheduleScrub(node)
        }
        for client in 0..<plan.workload.clients {
            setDue(client, after: workload.pauseBeforeNext())
        }
        beginHolders()
        beginWatchers()
        if !plan.faults.isEmpty { clock.schedule(.fault, after: UInt64(random.int(in: 0...plan.faultInterval * 2))) }
        if let membership = plan.membership {
            clock.schedule(.membership, after: UInt64(random.int(in: 0...membership.interval * 2)))
        }
        if let housekeeping = plan.housekeeping {
            clock.schedule(.housekeeping, after: UInt64(random.int(in: 0...housekeeping.interval * 2)))
        }
        if plan.bindsNames { clock.schedule(.briefName, after: UInt64(random.int(in: 0...200_000_000))) }
        clock.schedule(.heal, at: plan.healAt)
    }

    private func happen(_ occurrence: Occurrence) throws(SimulationFailure) {
        switch occurrence {
        case .deliver(let message, let from, let to, let epoch):
            try deliver(message, from: from, to: to, epoch: epoch)
        case .turn(let node, let life): try turn(nodes[node], life: life)
        case .timer(let node, let life): timerFired(nodes[node], life: life)
        case .written(let node, let life): try written(nodes[node], life: life)
        case .worked(let node, let life, let result): try worked(nodes[node], life: life, result)
        case .link(let node, let life, let peer, let isUp):
            guard nodes[node].life == life else { return }
            let id = nodes[peer].id
            receive(nodes[node], .event(isUp ? .linkUp(id) : .linkDown(id)))
        case .request(let node, let request): requested(request, of: nodes[node])
        case .reply(let request, let reply): replied(request, reply)
        case .client(let client, let number): clientIsDue(client, number: number)
        case .timeout(let asker, let attempt): timedOut(asker, attempt: attempt)
        case .holder(let holder): holderIsDue(holder)
        case .keeper(let holder): keeperIsDue(holder)
        case .guardedWrite(let holder, let lock, let token, let session):
            try guardedWrite(by: holder, lock, token, session)
        case .connect(let watcher): connect(watcher)
        case .watched(let watcher, let connection, let delivery):
            try watched(watcher, connection: connection, delivery)
        case .credit(let node, let life, let watch, let bytes):
            if nodes[node].life == life { credit(nodes[node], watch, bytes) }
        case .crash(let node, let life):
            if nodes[node].life == life, !isHealed { try crash(nodes[node], downAtMost: Self.shortDowntime) }
        case .restart(let node): try restart(nodes[node])
        case .reserve(let node, let life): if nodes[node].life == life { try reserve(nodes[node]) }
        case .resume(let node): resume(nodes[node])
        case .scrub(let node, let life): if nodes[node].life == life { try scrub(nodes[node]) }
        case .stop(let node, let life): if nodes[node].life == life { try crash(nodes[node]) }
        case .fault: try injectFault()
        case .membership: try changeMembership()
        case .housekeeping: keepHouse()
        case .briefName: bindBriefly()
        case .endOfFault(let number): endFault(number)
        case .heal: try heal()
        }
    }

    // MARK: The end

    /// The cluster has recovered, and stayed as it was for a while.
    private func isOver() throws(SimulationFailure) -> Bool {
        if let calm {
            guard clock.now >= calm.until else { return false }
            try demandAnswers(under: calm.leader)
            return true
        }
        guard let leader = currentLeader, let members = recoveredMembers(under: leader) else { return false }
        if counters.recoveryNanoseconds == 0 { counters.recoveryNanoseconds = clock.now - plan.healAt }
        // Whatever was on its way when the faults ended may still stir something up.
        guard clock.now >= plan.healAt + UInt64(plan.network.spike) * 3,
            nodes.allSatisfy({ $0.disk.isIdle || $0.index == faults.hungDisk })
        else { return false }
        let hashes = members.map(\.replica.stateHash)
        guard hashes.allSatisfy({ $0 == hashes[0] }) else {
            throw SimulationFailure(.stateHash, "after \(oracles.committedThrough) the machines differ: \(hashes)")
        }
        say("recovered")
        calm = (leader, nodes[leader].raft.currentTerm, clock.now + plan.calm)
        return false
    }

    /// Nobody who asked a member to read waits for ever: reads are answered, or refused after as long as the cluster is watched.
    private func demandAnswers(under leader: Int) throws(SimulationFailure) {
        let configuration = nodes[leader].raft.configuration
        for node in nodes where node.isUp && configuration.contains(node.id) && !isExcused(node.index, under: leader) {
            let forgotten = node.reads.values.filter { clock.now - $0.sentAt > plan.calm * 3 / 2 }.map(\.attempt).min()
            guard let forgotten else { continue }
            throw SimulationFailure(.liveness, "n\(node.index + 1) never answers attempt \(forgotten) to read")
        }
    }

    /// Nobody tries to replace a leader that everybody hears.
    ///
    /// Who was removed while it was cut off may be in a higher term, and may ask in vain whether it would be elected.
    func staysCalm(_ node: Node, _ change: RoleChange) throws(SimulationFailure) {
        guard let calm, calm.leader != faults.hungDisk, !isExcused(node.index, under: calm.leader) else { return }
        let isMember = nodes[calm.leader].raft.configuration.contains(node.id)
        guard change.role == .candidate || (isMember && change.term > calm.term) else { return }
        throw SimulationFailure(
            .stability,
            "n\(node.index + 1) is \(change.role) in term \(change.term), although all is well in \(calm.term)")
    }

    /// Those of whom anything can be demanded, once the members are up, idle, and at the same point, and every client was served after the
    /// cluster was healed; nil until then.
    private func recoveredMembers(under leader: Int) -> [SimulatedNode]? {
        guard workload.clients.allSatisfy(\.isDone), holders.allSatisfy(\.isDone) else { return nil }
        let through = oracles.committedThrough
        let configuration = nodes[leader].raft.configuration
        // Without a vote it is about to hand over.
        guard configuration.isVoter(nodes[leader].id), !configuration.isJoint,
            nodes[leader].raft.configurationIndex <= through
        else { return nil }
        var members = nodes.filter { configuration.contains($0.id) }
        guard members.count == configuration.members.count else { return nil }
        guard members.count(where: { $0.isUp && $0.raft.currentRole == .leader }) == 1 else { return nil }
        members.removeAll { isExcused($0.index, under: leader) }
        for node in members {
            guard node.isUp, node.replica.applied == through, node.raft.commitIndex == through else { return nil }
        }
        let areLevel = watchers.allSatisfy { watcher in
            oracles.watches.isLevel(watcher.cursor) || !members.contains { $0.index == watcher.node }
        }
        return areLevel && !members.contains(where: neglectsDamage) ? members : nil
    }

    private var stateOfPlay: String {
        var waiting = workload.clients.filter { !$0.isDone }.map { "c\($0.index)" }
        waiting += holders.filter { !$0.isDone }.map { "h\($0.index)" }
        waiting += watchers.filter { !oracles.watches.isLevel($0.cursor) }.map { "w\($0.index)" }
        return nodes.map(\.summary).joined(separator: "; ") + "; committed \(oracles.committedThrough); waiting "
            + waiting.joined(separator: " ")
    }

    private func judgeHistory() throws(SimulationFailure) {
        switch HistoryChecker(maximumConfigurations: 500_000).check(workload.operations).verdict {
        case .holds: return
        case .violated(let violation):
            throw SimulationFailure(violation.model == "lock" ? .fencing : .linearizability, violation.description)
        case .undecided(_, let key, let reason):
            // Not a mistake of the cluster; counted, so that it does not happen unseen.
            counters.undecided += 1
            say("the history of \(key) is undecided: \(reason)")
        case .invalid(let problem): throw SimulationFailure(.history, problem.description)
        }
    }

    // MARK: Telling

    /// Adds a line to the transcript, when there is one; the line is not even made otherwise.
    func say(_ line: @autoclosure () -> String) {
        transcript?.add(line(), at: clock.now)
    }
}

extension SimulatedNode {
    var summary: String {
        let status = raft.status
        let state = isUp ? isPaused ? " paused" : "" : " down"
        return "n\(index + 1)\(state) \(status.role) term \(status.term) log \(status.first)...\(status.last) "
            + "durable \(status.durable) commit \(status.commit) applied \(status.applied) \(status.configuration)"
    }
}
