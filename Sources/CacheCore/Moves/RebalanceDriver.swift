public import EsperTypes

/// Decides what the leader should propose next, from the map, who is alive, and what the nodes report.
///
/// The map alone says how far each move is, so a new leader begins with an empty driver and goes on where the last one stopped;
/// reports and waiting times are gathered anew. Proposing twice, or late, is harmless: the map refuses it.
///
/// - A host is down when its node lease is over on the leader's clock (a new leader waits a whole lease before it says so).
/// - A move takes its next step only after every member of both sets that is not down has the map in which it took the last one.
/// - Joins are planned once they have been quiet for a while; missing copies after a longer while, or at once when one is left; what
///   draining hosts hold at once, as they wait for it.
public struct RebalanceDriver: Sendable {
    public struct Options: Hashable, Sendable {
        /// Joins and changes of weight this close to each other are planned together.
        public var debounce: Duration = .seconds(2)
        /// After a death, before what it held is copied again, when two copies are left.
        public var repairDelay: Duration = .seconds(30)
        /// How long the old set goes on answering: twice the longest deadline of a request.
        public var drainTime: Duration = .seconds(2)

        /// While moves are under way and no host comes or goes, the planner, which looks at everything, is asked no sooner again.
        public var replanInterval: Duration = .zero

        public init() {}
    }

    /// A member of the cluster that is to be a host.
    public struct Member: Hashable, Sendable {
        public var id: NodeID
        public var weight: UInt32
        public var zone: String
        /// What the leader knows of its node lease; nil: not known yet, as after an election.
        public var isAlive: Bool?

        public init(id: NodeID, weight: UInt32 = 100, zone: String = "", isAlive: Bool?) {
            self.id = id
            self.weight = weight
            self.zone = zone
            self.isAlive = isAlive
        }
    }

    /// What a node says of itself, as of its applied index.
    public struct Report: Hashable, Sendable {
        /// Of its map: it has seen every step up to it.
        public var map: MapEpoch
        /// Moves for which it has pulled everything that it found missing.
        public var copied: Set<MoveID>
        /// Moves in VERIFY for which it holds all that the old set holds.
        public var verified: Set<MoveID>
        /// Strays whose blobs it has, for the shard as of that epoch.
        public var absorbed: Set<Absorption>
        /// Bytes and recent uses of the shards that it holds.
        public var loads: [ShardID: Load]

        public init(
            map: MapEpoch, copied: Set<MoveID> = [], verified: Set<MoveID> = [], absorbed: Set<Absorption> = [],
            loads: [ShardID: Load] = [:]
        ) {
            self.map = map
            self.copied = copied
            self.verified = verified
            self.absorbed = absorbed
            self.loads = loads
        }
    }

    public struct Absorption: Hashable, Sendable {
        public var shard: ShardID
        public var epoch: ShardEpoch
        public var stray: NodeID

        public init(shard: ShardID, epoch: ShardEpoch, stray: NodeID) {
            self.shard = shard
            self.epoch = epoch
            self.stray = stray
        }
    }

    public struct Load: Hashable, Sendable {
        public var bytes: UInt64
        public var heat: UInt64

        public init(bytes: UInt64, heat: UInt64) {
            self.bytes = bytes
            self.heat = heat
        }
    }

    public var options: Options
    private var reports: [NodeID: Report] = [:]
    private var hosts: [ShardMap.Host] = []
    private var copies = 0
    /// When hosts changed last, and when one of them was lost last.
    private var changed = Instant.zero
    private var lost: Instant?
    private var downSince: [NodeID: Instant] = [:]
    private var drainingSince: [MoveID: Instant] = [:]
    /// When the planner was asked last: after which change of the hosts, and what was due.
    private var planned: (at: Instant, changed: Instant, isQuiet: Bool, isLate: Bool)?
    /// The map for which nothing was left to plan.
    private var settled: (map: MapEpoch, isLate: Bool)?

    public init(options: Options = Options()) { self.options = options }

    /// The newest from each node counts.
    public mutating func reported(_ report: Report, by node: NodeID) { reports[node] = report }

    /// A new life of a node: what it said before does not hold for it.
    public mutating func restarted(_ node: NodeID) { reports[node] = nil }

    /// What to propose now, in order. Asked again after a change of the map, a report, or a short time.
    ///
    /// - Parameter copies: how many copies a new map is to have.
    public mutating func step(
        map: ShardMap?, members: [Member], copies: Int = 2, at now: Instant
    ) -> [MapCommand] {
        guard let map else { return found(members, copies: copies) }
        let changes = hostChanges(map, members)
        note(map, at: now)
        if !changes.isEmpty { return changes }
        var commands: [MapCommand] = []
        let revivals = revivals(map, at: now)
        if !revivals.isEmpty { commands.append(.revive(revivals)) }
        commands += forgottenStrays(map)
        let cancelled = staleMoves(map)
        if !cancelled.isEmpty { commands.append(.cancel(cancelled)) }
        let advances = advances(map, at: now)
        if !advances.isEmpty { commands.append(.advance(advances)) }
        if commands.isEmpty {
            let moves = plannable(map, at: now)
            if !moves.isEmpty { commands.append(.plan(moves)) }
        }
        return commands
    }

    private func found(_ members: [Member], copies: Int) -> [MapCommand] {
        let hosts = members.map { ShardMap.Host(id: $0.id, weight: $0.weight, zone: $0.zone) }
        guard let placements = PlacementPlanner(copies: copies).placements(hosts: hosts) else { return [] }
        return [.found(hosts: hosts, placements: placements, copies: copies)]
    }

    // MARK: Hosts

    private func hostChanges(_ map: ShardMap, _ members: [Member]) -> [MapCommand] {
        guard !members.isEmpty else { return [] }
        var commands: [MapCommand] = []
        for member in members.sorted(by: { $0.id < $1.id }) {
            guard let host = map.host(member.id) else {
                if member.isAlive == true {
                    commands.append(.admit(member.id, weight: member.weight, zone: member.zone))
                }
                continue
            }
            if host.weight != member.weight || host.zone != member.zone {
                commands.append(.admit(member.id, weight: member.weight, zone: member.zone))
            } else if host.isDown, member.isAlive == true {
                commands.append(.up(host.id, seen: host.epoch))
            } else if !host.isDown, member.isAlive == false {
                commands.append(.down(host.id, seen: host.epoch))
            }
        }
        for host in map.hosts where !members.contains(where: { $0.id == host.id }) {
            commands.append(.remove(host.id))
        }
        return commands
    }

    private mutating func note(_ map: ShardMap, at now: Instant) {
        if map.hosts != hosts || map.copies != copies {
            let isLoss = hosts.contains { old in !old.isDown && !map.isUp(old.id) }
            if isLoss { lost = now }
            changed = now
            hosts = map.hosts
            copies = map.copies
            settled = nil
        }
        for host in map.hosts {
            if host.isDown {
                if downSince[host.id] == nil { downSince[host.id] = now }
                reports[host.id] = nil
            } else {
                downSince[host.id] = nil
            }
        }
        let draining = Set(map.shards.compactMap { $0.step == .drain ? $0.move?.id : nil })
        drainingSince = drainingSince.filter { draining.contains($0.key) }
        for move in draining where drainingSince[move] == nil { drainingSince[move] = now }
    }

    private func revivals(_ map: ShardMap, at now: Instant) -> [Revival] {
        let eligible = map.hosts.filter(\.isEligible)
        guard !eligible.isEmpty,
            map.hosts.contains(where: \.isDown) || map.shards.contains(where: { !isKnown($0, map) })
        else { return [] }
        var wanted: [Placement]?
        var revivals: [Revival] = []
        for number in map.shards.indices where !map.shards[number].placement.contains(where: map.isUp) {
            let shard = map.shards[number]
            let isOver = shard.placement.members.allSatisfy { id in
                guard map.host(id) != nil else { return true }
                return downSince[id].map { now - $0 >= options.repairDelay } ?? false
            }
            guard isOver else { continue }
            // Those to whom it was on the way, or from whom it came, hold most of it.
            let near = (shard.move?.members ?? []).filter(map.isUp)
            if wanted == nil {
                wanted = PlacementPlanner(copies: map.copies).placements(
                    hosts: map.hosts, previous: map.shards.map(\.placement), shards: map.shards.count)
            }
            guard let fallback = wanted?[number] else { continue }
            let to = near.first.map { Placement(owner: $0, replicas: Array(near.dropFirst())) } ?? fallback
            revivals.append(Revival(shard: ShardID(number)!, epoch: shard.epoch, to: to))
        }
        return revivals
    }

    private func isKnown(_ shard: ShardMap.Shard, _ map: ShardMap) -> Bool {
        shard.placement.contains { node in map.hosts.contains { $0.id == node } }
    }

    private func forgottenStrays(_ map: ShardMap) -> [MapCommand] {
        var commands: [MapCommand] = []
        for number in map.shards.indices where !map.shards[number].strays.isEmpty && map.shards[number].step == .stable
        {
            let (id, shard) = (ShardID(number)!, map.shards[number])
            for stray in shard.strays {
                let absorption = Absorption(shard: id, epoch: shard.epoch, stray: stray)
                let live = shard.placement.members.filter(map.isUp)
                // A stray that is a member has what it has; the others are to take it.
                let others = live.filter { $0 != stray }
                if !live.isEmpty, others.allSatisfy({ reports[$0]?.absorbed.contains(absorption) ?? false }) {
                    commands.append(.forgetStray(id, stray, epoch: shard.epoch))
                }
            }
        }
        return commands
    }

    // MARK: Moves

    /// Moves to hosts that are to hold nothing any more.
    private func staleMoves(_ map: ShardMap) -> [StepChange] {
        if map.hosts.allSatisfy(\.isEligible) { return [] }
        return map.shards.indices.compactMap { number in
            let shard = map.shards[number]
            guard let move = shard.move, shard.step < .flip,
                move.joining.contains(where: { !(map.host($0)?.isEligible ?? false) })
            else { return nil }
            return change(number, shard, move)
        }
    }

    private func change(_ number: Int, _ shard: ShardMap.Shard, _ move: ShardMap.Move) -> StepChange {
        StepChange(shard: ShardID(number)!, move: move.id, step: shard.step, epoch: shard.epoch)
    }

    private mutating func plannable(_ map: ShardMap, at now: Instant) -> [PlannedMove] {
        let isQuiet = now - changed >= options.debounce
        let isLate = lost.map { now - $0 >= options.repairDelay } ?? true
        if let settled, settled.map == map.epoch, settled.isLate || !isLate { return [] }
        let draining = Set(map.hosts.filter { $0.isDraining && !$0.isDown }.map(\.id))
        let isUrgent = map.shards.contains { shard in
            shard.step == .stable
                && (shard.placement.count < min(2, map.copies) || shard.placement.contains(where: draining.contains))
        }
        guard isQuiet || isUrgent else { return [] }
        if let planned, planned.changed == changed, planned.isQuiet == isQuiet, planned.isLate == isLate,
            now - planned.at < options.replanInterval, map.shards.contains(where: { $0.move != nil })
        {
            return []
        }
        planned = (now, changed, isQuiet, isLate)
        let moves = PlacementPlanner(copies: map.copies).moves(for: map).compactMap { (move) -> PlannedMove? in
            let shard = map[move.shard]
            guard shard.placement.contains(where: map.isUp) else { return nil }
            let held = shard.placement.count
            let isShort = held < move.to.members.count
            let isDrain = shard.placement.contains(where: draining.contains)
            let isDue: Bool =
                if isShort, held == 1 { true } else if isShort { isQuiet && isLate } else {
                    isDrain || isQuiet && isLate && (!map.isManual || move.reason == .drain)
                }
            guard isDue else { return nil }
            var move = move
            move.estimatedBytes = load(move.shard).bytes
            return move
        }
        if moves.isEmpty, isQuiet { settled = (map.epoch, isLate) }
        return moves
    }

    /// The largest that anybody reports.
    private func load(_ shard: ShardID) -> Load {
        var load = Load(bytes: 0, heat: 0)
        for report in reports.values {
            guard let one = report.loads[shard] else { continue }
            load.bytes = max(load.bytes, one.bytes)
            load.heat = max(load.heat, one.heat)
        }
        return load
    }

    private func isConfirmed(_ shard: ShardMap.Shard, _ move: ShardMap.Move, _ map: ShardMap) -> Bool {
        move.members.filter(map.isUp).allSatisfy { (reports[$0]?.map ?? .zero) >= shard.since }
    }

    private func advances(_ map: ShardMap, at now: Instant) -> [StepChange] {
        var changes: [StepChange] = []
        var idle: [Int] = []
        var room = Room(map.throttle)
        for number in map.shards.indices {
            if map.shards[number].step == .planned { idle.append(number) }
            guard map.shards[number].step > .planned else { continue }
            let shard = map.shards[number]
            guard let move = shard.move else { continue }
            if shard.step == .copy || shard.step == .verify { room.take(move.joining, from: shard.placement.owner) }
            if isConfirmed(shard, move, map), isDone(shard, move, map, at: now) {
                changes.append(change(number, shard, move))
            }
        }
        // Hundreds may wait: what there is no room for is looked at no further.
        var waiting: [(number: Int, heat: UInt64, move: ShardMap.Move)] = []
        for number in idle {
            let shard = map.shards[number]
            guard let move = shard.move, room.has(move.joining, from: shard.placement.owner),
                isConfirmed(shard, move, map), shard.placement.contains(where: map.isUp)
            else { continue }
            waiting.append((number, move.joining.isEmpty ? .max : load(ShardID(number)!).heat, move))
        }
        // Those that need no copying first, then the hottest.
        waiting.sort { $0.heat == $1.heat ? $0.number < $1.number : $0.heat > $1.heat }
        for (number, _, move) in waiting {
            let shard = map.shards[number]
            guard room.has(move.joining, from: shard.placement.owner) else { continue }
            room.take(move.joining, from: shard.placement.owner)
            changes.append(change(number, shard, move))
        }
        return changes
    }

    private func isDone(
        _ shard: ShardMap.Shard, _ move: ShardMap.Move, _ map: ShardMap, at now: Instant
    ) -> Bool {
        switch shard.step {
        case .stable, .planned: false
        case .copy:
            move.joining.allSatisfy { move.finished.contains($0) || reports[$0]?.copied.contains(move.id) ?? false }
        case .verify:
            shard.placement.contains(where: map.isUp)
                && move.joining.allSatisfy {
                    move.finished.contains($0) || reports[$0]?.verified.contains(move.id) ?? false
                }
        case .flip: true
        case .drain: drainingSince[move.id].map { now - $0 >= options.drainTime } ?? false
        }
    }
}

/// How many shards may come to and leave each node at a time; moves that copy nothing take no room.
private struct Room {
    private let limits: Throttle
    private var incoming: [NodeID: Int] = [:]
    private var outgoing: [NodeID: Int] = [:]

    init(_ limits: Throttle) { self.limits = limits }

    func has(_ joining: [NodeID], from owner: NodeID) -> Bool {
        joining.isEmpty
            || outgoing[owner, default: 0] < Int(limits.maximumOutgoing)
                && joining.allSatisfy { incoming[$0, default: 0] < Int(limits.maximumIncoming) }
    }

    mutating func take(_ joining: [NodeID], from owner: NodeID) {
        for node in joining { incoming[node, default: 0] += 1 }
        if !joining.isEmpty { outgoing[owner, default: 0] += 1 }
    }
}
