import CacheCore
import EsperTypes

extension MoveSimulator {
    mutating func fault() throws(MoveFailure) {
        for node in nodes.indices where !nodes[node].isUp && nodes[node].isMember && now >= nodes[node].restartAt {
            restart(node)
        }
        let members = nodes.indices.filter { nodes[$0].isMember }
        switch random.int(in: 0...13) {
        case 0...2: if let node = victim(members) { crash(node) }
        case 3:
            if let node = victim(members) { nodes[node].pausedUntil = now + random.int(in: 50...3000) }
        case 4:
            if let node = victim(members) { nodes[node].isolatedUntil = now + random.int(in: 100...3000) }
        case 5 where members.count < 6 && nodes.count < 12: addNode()
        case 6 where members.count > 3:
            if let node = random.pick(members) { draining.insert(nodes[node].id) }
        case 7: try leave()
        case 8, 9: cancel()
        case 10:
            // An entry from long ago, again.
            if let old = random.pick(history), case .remove = old {
                break
            } else if let old = random.pick(history) {
                switch old {
                case .plan, .advance, .finish, .cancel, .revive, .forgetStray, .down, .up: propose(old)
                case .found, .admit, .remove, .setDraining, .setThrottle, .setCopies, .setManual: break
                }
            }
        case 11:
            // It is heard, and hears nobody.
            if let node = victim(members) { nodes[node].deafUntil = now + random.int(in: 100...3000) }
        case 12 where members.count > 3: if let node = random.pick(last(of: members)) { try die(node) }
        default:
            if let leader, random.chance(1, in: 2) { crash(leader) }
        }
    }

    /// Mostly one that a move is about.
    private mutating func victim(_ members: [Int]) -> Int? {
        let moving = maps.last!.shards.compactMap(\.move).flatMap(\.members).map(index).filter(members.contains)
        return random.chance(2, in: 3) ? random.pick(moving) ?? random.pick(members) : random.pick(members)
    }

    mutating func crash(_ node: Int) {
        guard nodes[node].isUp else { return }
        report.crashes += 1
        nodes[node].isUp = false
        nodes[node].restartAt = now + random.int(in: 100...(random.chance(1, in: 3) ? 8000 : 1500))
    }

    /// Blobs are synced; the log may be read again from an older snapshot.
    mutating func restart(_ node: Int) {
        nodes[node].isUp = true
        nodes[node].boot += 1
        nodes[node].leaseEnd = -1
        nodes[node].applied = max(0, nodes[node].applied - random.int(in: 0...(random.chance(1, in: 4) ? 80 : 12)))
        nodes[node].copied = []
        nodes[node].verified = []
        nodes[node].absorbed = []
        driver.restarted(nodes[node].id)
    }

    /// A member that has drained leaves, or one dies with its disk.
    ///
    /// Who has drained may have the last copies of a shard whose members are dead: nobody removes it until others have them.
    private mutating func leave() throws(MoveFailure) {
        let map = maps.last!
        let members = nodes.indices.filter { nodes[$0].isMember }
        guard members.count > 3 else { return }
        for node in members where draining.contains(nodes[node].id) && !isNeeded(node) {
            let id = nodes[node].id
            if map.shards.allSatisfy({
                !$0.placement.contains(id) && !($0.move?.members.contains(id) ?? false) && !$0.strays.contains(id)
            }) {
                nodes[node].isMember = false
                nodes[node].isUp = false
                return
            }
        }
        if random.chance(1, in: 3), let node = random.pick(members) { try die(node) }
    }

    /// Those of which a shard has no other member that is up.
    private func last(of members: [Int]) -> [Int] {
        let map = maps.last!
        let last = map.shards.compactMap { shard in
            let up = shard.placement.members.filter(map.isUp)
            return up.count == 1 ? index(up[0]) : nil
        }
        return Set(last).intersection(members).sorted()
    }

    /// With its disk, if others have what it has.
    ///
    /// It is removed at once: while nobody knows that it is dead, a step that it has confirmed lets others delete what it had too, and
    /// until its removal its death is like a crash.
    private mutating func die(_ node: Int) throws(MoveFailure) {
        if isNeeded(node) { return }
        if last(of: [node]) == [node] { report.lastDeaths += 1 }
        nodes[node].isMember = false
        nodes[node].isUp = false
        nodes[node].disk = Array(repeating: [], count: Self.shardCount)
        try commit(.remove(nodes[node].id))
    }

    /// Whether it has something that is acknowledged, or may yet be, and that nobody else has for sure.
    private func isNeeded(_ node: Int) -> Bool {
        nodes[node].disk.enumerated().contains { number, own in
            let others = nodes.indices.filter { $0 != node && nodes[$0].isMember && keeps($0, number) }
            let kept = others.reduce(into: Set<Int>()) { $0.formUnion(nodes[$1].disk[number]) }
            let pending = writes.values.filter { $0.shard == number }.map(\.blob)
            return !own.intersection(acknowledged[number].union(pending)).isSubset(of: kept)
        }
    }

    /// No map that it has or will apply lets it delete its copies of the shard.
    private func keeps(_ node: Int, _ number: Int) -> Bool {
        !maps[nodes[node].applied...].contains { $0.isFree(ShardID(number)!, of: nodes[node].id) }
    }

    /// An operator cancels what an older view showed.
    private mutating func cancel() {
        guard leader != nil else { return }
        let map = maps[max(0, maps.count - 1 - random.int(in: 0...4))]
        let changes = map.shards.enumerated().compactMap { number, shard in
            shard.move.map {
                StepChange(shard: ShardID(number)!, move: $0.id, step: shard.step, epoch: shard.epoch)
            }
        }
        if let change = random.pick(changes) { propose(.cancel([change])) }
    }

    mutating func heal() {
        isCalm = true
        for node in nodes.indices where nodes[node].isMember {
            nodes[node].pausedUntil = 0
            nodes[node].isolatedUntil = 0
            nodes[node].deafUntil = 0
            if !nodes[node].isUp { restart(node) }
        }
    }
}
