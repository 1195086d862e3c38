import CacheCore
import EsperTypes

/// A cluster that moves shards while everything goes wrong, from a seed: leaders, sources and targets crash, pause and are cut off
/// at any step; hosts join, leave, die and come back with an older disk; commands are lost, doubled and late; writers never stop.
///
/// The log is given: entries have one order, a deposed leader's are either in its successor's log or lost. What is tested is the map,
/// its driver, and the rules that nodes keep (see ``MoveMutant`` for each one's absence). Time is in milliseconds.
package struct MoveSimulator {
    package struct Report: Sendable {
        package var commands = 0
        package var moves = 0
        package var flips = 0
        package var cancels = 0
        package var crashes = 0
        package var acknowledged = 0
        /// Shards that were given to others since all members were dead.
        package var revivals = 0
        /// Disks that died with the last member of a shard.
        package var lastDeaths = 0
        package var failure: MoveFailure?
    }

    struct Node {
        var id: NodeID
        var isMember = true
        var isUp = true
        var pausedUntil = 0
        var isolatedUntil = 0
        /// Until then what is sent to it is lost; what it sends is not.
        var deafUntil = 0
        var boot = 0
        /// Entries of the log that it has applied.
        var applied = 0
        /// Until when its lease lasts for itself, and what it has to have applied.
        var leaseEnd = -1
        var leaseBase = 0
        var disk: [Set<Int>]
        var copied: Set<MoveID> = []
        var verified: Set<MoveID> = []
        var absorbed: Set<RebalanceDriver.Absorption> = []
        var restartAt = 0
    }

    struct Message {
        enum Body {
            case push(blob: Int, shard: Int, epoch: ShardEpoch, from: Int, write: Int)
            case pushed(write: Int, by: Int)
            case report(RebalanceDriver.Report, node: Int, boot: Int)
            case lease(node: Int, boot: Int, asked: Int, base: Int)
            case askLease(node: Int, boot: Int, asked: Int)
        }
        var due: Int
        var term: Int
        var body: Body
    }

    struct Write {
        var blob: Int
        var shard: Int
        var missing: Set<Int>
        var writerBoot: Int
        var writer: Int
    }

    static let shardCount = 12
    static let lease = 1000
    static let leaseMargin = 60
    static let tick = 10

    let mutant: MoveMutant?
    var random: SeededRandom
    var now = 0
    var nodes: [Node] = []
    /// The map after each entry; the first is the founding one.
    var maps: [ShardMap] = []
    var history: [MapCommand] = []
    var messages: [Message] = []
    var writes: [Int: Write] = [:]
    var nextWrite = 0
    /// Blobs by shard that somebody was told are held.
    var acknowledged: [Set<Int>]
    /// By shard: the newest blob when it was given to others because all members were dead.
    var lastBeforeRevival: [Int]
    /// Leadership.
    var term = 0
    var leader: Int?
    var leaderSince = 0
    var electAt = 0
    var driverOptions = RebalanceDriver.Options()
    var driver = RebalanceDriver()
    var pending: [(due: Int, command: MapCommand)] = []
    var granted: [Int: Int] = [:]
    var heard: [Int: Int] = [:]
    var draining: Set<NodeID> = []
    var isCalm = false
    var report = Report()

    package static func run(seed: UInt64, mutant: MoveMutant? = nil) -> Report {
        var simulator = MoveSimulator(seed: seed, mutant: mutant)
        do throws(MoveFailure) {
            try simulator.run()
        } catch {
            simulator.report.failure = error
        }
        return simulator.report
    }

    init(seed: UInt64, mutant: MoveMutant?) {
        random = SeededRandom(seed: seed)
        self.mutant = mutant
        acknowledged = Array(repeating: [], count: Self.shardCount)
        lastBeforeRevival = Array(repeating: 0, count: Self.shardCount)
        driverOptions.debounce = .milliseconds(300)
        driverOptions.repairDelay = .milliseconds(4000)
        driverOptions.drainTime = .milliseconds(200)
        driverOptions.replanInterval = random.pick([.zero, .seconds(5), .seconds(1000)])!
        driver = RebalanceDriver(options: driverOptions)
        let count = random.int(in: 3...5)
        for _ in 0..<count { addNode() }
        let hosts = nodes.map { ShardMap.Host(id: $0.id, zone: "z\($0.id.rawValue % 3)") }
        let copies = random.int(in: 2...3)
        let placements = PlacementPlanner(copies: copies).placements(
            hosts: hosts, previous: [], shards: Self.shardCount)!
        maps = [ShardMap(founding: hosts, placements: placements, copies: copies, shards: Self.shardCount)!]
    }

    mutating func addNode() {
        nodes.append(
            Node(
                id: NodeID(UInt64(nodes.count + 1)), applied: max(0, maps.count - 1),
                disk: Array(repeating: [], count: Self.shardCount)))
    }

    mutating func run() throws(MoveFailure) {
        let chaosEnd = 25_000
        while now < chaosEnd {
            now += Self.tick
            if random.chance(1, in: 40) { try fault() }
            try step()
        }
        heal()
        let limit = chaosEnd + 90_000
        while now < limit {
            now += Self.tick
            try step()
            if now % 1000 == 0, now > chaosEnd + 6000, unsettled() == nil { return }
        }
        throw MoveFailure(rule: .settles, story: unsettled() ?? "never quiet")
    }

    mutating func step() throws(MoveFailure) {
        elect()
        try deliver()
        for node in nodes.indices where isRunning(node) { try act(node) }
        if now % 50 == 0 { try lead() }
        try commit()
        if random.chance(1, in: isCalm ? 20 : 4) { write() }
        try checkCoordinators()
    }

    func isRunning(_ node: Int) -> Bool { nodes[node].isUp && now >= nodes[node].pausedUntil }

    func isHeard(_ node: Int) -> Bool { isRunning(node) && now >= nodes[node].isolatedUntil }

    func isReachable(_ node: Int) -> Bool { isHeard(node) && now >= nodes[node].deafUntil }

    func map(of node: Int) -> ShardMap { maps[nodes[node].applied] }

    func holdsLease(_ node: Int) -> Bool {
        now < nodes[node].leaseEnd && (mutant == .leasesWithoutBase || nodes[node].applied >= nodes[node].leaseBase)
    }

    func index(_ id: NodeID) -> Int { Int(id.rawValue) - 1 }

    mutating func send(_ body: Message.Body) {
        // Most messages are quick; some arrive long after.
        let delay = random.chance(1, in: 20) ? random.int(in: 50...1500) : random.int(in: 10...40)
        messages.append(Message(due: now + delay, term: term, body: body))
    }

    // MARK: Leadership

    mutating func elect() {
        if let current = leader, isReachable(current) { return }
        if leader != nil {
            leader = nil
            // Its successor has some of what it appended, and the rest never was.
            let kept = random.int(in: 0...pending.count)
            let survivors = pending.prefix(kept)
            pending = []
            for entry in survivors { append(entry.command) }
            electAt = now + random.int(in: 50...400)
        }
        let candidates = nodes.indices.filter { isReachable($0) && nodes[$0].isMember }
        guard now >= electAt, candidates.count * 2 > nodes.count(where: \.isMember), let new = random.pick(candidates)
        else { return }
        leader = new
        term += 1
        leaderSince = now
        driver = RebalanceDriver(options: driverOptions)
        granted = [:]
        heard = [:]
    }

    /// What the leader knows of a node: alive, its lease over, or neither yet.
    func liveness(_ node: Int) -> Bool? {
        if mutant == .buriesAlive { return now - heard[node, default: leaderSince] < 200 }
        if let end = granted[node], now < end { return now - heard[node, default: 0] < Self.lease ? true : nil }
        let isSure = mutant == .newLeaderForgetsLeases || now - leaderSince > Self.lease + Self.leaseMargin
        return isSure ? false : nil
    }

    mutating func lead() throws(MoveFailure) {
        guard let leader, isRunning(leader) else { return }
        // A leader proposes from what it has applied.
        nodes[leader].applied = max(nodes[leader].applied, maps.count - 1 - random.int(in: 0...1))
        let view = map(of: leader)
        guard pending.count < 8 else { return }
        let members = nodes.indices.filter { nodes[$0].isMember }.map { node in
            RebalanceDriver.Member(
                id: nodes[node].id, zone: "z\(nodes[node].id.rawValue % 3)",
                isAlive: node == leader && granted[node] == nil ? nil : liveness(node))
        }
        var commands = driver.step(
            map: view, members: members, at: EsperTypes.Instant(nanoseconds: UInt64(now) * 1_000_000))
        if mutant == .neverRepairs {
            commands = commands.filter { if case .plan = $0 { false } else { true } }
        }
        for id in draining where view.host(id).map({ !$0.isDraining }) ?? false {
            commands.append(.setDraining(id, true))
        }
        for command in commands { propose(command) }
    }

    mutating func propose(_ command: MapCommand) {
        let due = max(now + random.int(in: 10...60), pending.last?.due ?? 0)
        pending.append((due, command))
        // Somebody was not sure, and asked again.
        if random.chance(1, in: 15) { pending.append((due + random.int(in: 0...300), command)) }
    }

    mutating func commit() throws(MoveFailure) {
        while let first = pending.first, first.due <= now {
            pending.removeFirst()
            try commit(first.command)
        }
    }

    mutating func commit(_ command: MapCommand) throws(MoveFailure) {
        append(command)
        try checkEpochs()
        try checkKept()
    }

    mutating func append(_ command: MapCommand) {
        var command = command
        var map: ShardMap? = maps.last
        if mutant == .appliesLateCommands, case .advance(let changes) = command {
            command = .advance(
                changes.map { change in
                    let shard = map!.shards[Int(change.shard.rawValue)]
                    return StepChange(
                        shard: change.shard, move: shard.move?.id ?? change.move, step: shard.step, epoch: shard.epoch)
                })
        }
        _ = ShardMap.apply(command, to: &map)
        forgetStrays(after: command, &map)
        count(command, from: maps.last!, to: map!)
        if case .revive(let revivals) = command {
            for number in revivals.map({ Int($0.shard.rawValue) })
            where map!.shards[number].epoch != maps.last!.shards[number].epoch {
                lastBeforeRevival[number] = nextWrite
                report.revivals += 1
            }
        }
        maps.append(map!)
        history.append(command)
        report.commands += 1
    }

    /// Those that a mutant does not keep.
    private func forgetStrays(after command: MapCommand, _ map: inout ShardMap?) {
        var isRevival = false
        if case .revive = command { isRevival = true }
        for (number, (old, new)) in zip(maps.last!.shards, map!.shards).enumerated() where old.epoch != new.epoch {
            let forgotten = new.strays.filter { stray in
                switch mutant {
                case .forgetsHeirs: isRevival && new.placement.contains(stray)
                case .forgetsNewMembers: !isRevival && old.move?.joining.contains(stray) ?? false
                default: false
                }
            }
            for stray in forgotten {
                _ = ShardMap.apply(.forgetStray(ShardID(number)!, stray, epoch: new.epoch), to: &map)
            }
        }
    }

    private mutating func count(_ command: MapCommand, from old: ShardMap, to new: ShardMap) {
        for (before, after) in zip(old.shards, new.shards) where before.step != after.step {
            if after.step == .copy { report.moves += 1 }
            if after.step == .flip { report.flips += 1 }
            if before.step > .stable, before.step < .flip, after.step == .stable { report.cancels += 1 }
        }
    }
}
