import CacheCore
import EsperTypes

// What nodes do with the map that they have applied, which may be an old one.
extension MoveSimulator {
    mutating func act(_ node: Int) throws(MoveFailure) {
        // Some lag behind.
        if nodes[node].applied < maps.count - 1, !random.chance(1, in: isCalm ? 2 : 4), isReachable(node) {
            nodes[node].applied += random.int(in: 1...min(3, maps.count - 1 - nodes[node].applied))
        }
        if random.chance(1, in: 3) { pull(node) }
        if random.chance(1, in: 10) { try free(node) }
        guard now % 100 < Self.tick, isHeard(node), leader != nil, nodes[node].isMember else { return }
        send(.askLease(node: node, boot: nodes[node].boot, asked: now))
        var said = RebalanceDriver.Report(
            map: map(of: node).epoch, copied: nodes[node].copied, verified: nodes[node].verified,
            absorbed: nodes[node].absorbed)
        if mutant == .confirmsUnapplied { said.map = maps.last!.epoch }
        send(.report(said, node: node, boot: nodes[node].boot))
    }

    /// Brings over what moves to this node, a few blobs at a time.
    private mutating func pull(_ node: Int) {
        let map = map(of: node)
        let id = nodes[node].id
        for (number, shard) in map.shards.enumerated() {
            if let move = shard.move, move.joining.contains(id), shard.step == .copy || shard.step == .verify {
                if mutant == .verifiesUnseen {
                    nodes[node].copied.insert(move.id)
                    if shard.step == .verify { nodes[node].verified.insert(move.id) }
                    continue
                }
                let sources = shard.placement.members.map(index).filter { answers($0, number, shard) && $0 != node }
                guard !sources.isEmpty, isReachable(node) else { continue }
                var missing: Set<Int> = []
                for source in sources {
                    missing.formUnion(nodes[source].disk[number].subtracting(nodes[node].disk[number]))
                }
                for blob in missing.sorted().prefix(random.int(in: 1...6)) {
                    nodes[node].disk[number].insert(blob)
                    missing.remove(blob)
                }
                guard missing.isEmpty else { continue }
                // By the log or by a report.
                if leader != nil, random.chance(1, in: 2) {
                    let change = StepChange(
                        shard: ShardID(number)!, move: move.id, step: shard.step, epoch: shard.epoch)
                    if !move.finished.contains(id), pending.count < 20 { propose(.finish([change], by: id)) }
                    continue
                }
                if shard.step == .copy {
                    nodes[node].copied.insert(move.id)
                } else {
                    nodes[node].verified.insert(move.id)
                }
            }
            for stray in shard.strays where shard.step == .stable && shard.placement.contains(id) {
                let other = index(stray)
                if mutant != .absorbsUnseen {
                    guard isReachable(node), isReachable(other), self.map(of: other).shards[number].epoch == shard.epoch
                    else { continue }
                    nodes[node].disk[number].formUnion(nodes[other].disk[number])
                }
                nodes[node].absorbed.insert(
                    .init(shard: ShardID(number)!, epoch: shard.epoch, stray: stray))
            }
        }
    }

    /// A source answers whoever knows the shard as it does itself, and only while its map is known to be the newest.
    private func answers(_ source: Int, _ number: Int, _ shard: ShardMap.Shard) -> Bool {
        guard isReachable(source), holdsLease(source) else { return false }
        let own = map(of: source).shards[number]
        return own.epoch == shard.epoch && own.step >= .copy
    }

    private mutating func free(_ node: Int) throws(MoveFailure) {
        guard holdsLease(node) || mutant == .freesWithoutLease else { return }
        let map = map(of: node)
        for (number, shard) in map.shards.enumerated() where !nodes[node].disk[number].isEmpty {
            let id = nodes[node].id
            let isEarly = mutant == .freesEarly && (shard.move?.leaving.contains(id) ?? false) && shard.step >= .verify
            if map.isFree(ShardID(number)!, of: id) || isEarly {
                nodes[node].disk[number] = []
                try checkKept()
            }
        }
    }

    // MARK: Writers

    mutating func write() {
        guard let writer = random.pick(nodes.indices.filter { isReachable($0) }) else { return }
        let number = random.int(in: 0...Self.shardCount - 1)
        let map = map(of: writer)
        guard var required = map.requiredWriters(of: ShardID(number)!) else { return }
        let shard = map.shards[number]
        if mutant == .writesToOldSet { required = shard.placement.members.filter(map.isUp) }
        nextWrite += 1
        writes[nextWrite] = Write(
            blob: nextWrite, shard: number, missing: Set(required.map(index)), writerBoot: nodes[writer].boot,
            writer: writer)
        for member in required {
            send(.push(blob: nextWrite, shard: number, epoch: shard.epoch, from: index(member), write: nextWrite))
        }
    }

    mutating func deliver() throws(MoveFailure) {
        guard messages.contains(where: { $0.due <= now }) else { return }
        let due = messages.filter { $0.due <= now }
        messages.removeAll { $0.due <= now }
        for message in due {
            switch message.body {
            case .push(let blob, let shard, let epoch, let node, let write):
                guard isReachable(node) else { continue }
                guard holdsLease(node) || mutant == .acceptsWithoutLease else { continue }
                // Neither behind nor ahead: who is behind might delete it with what it was about to delete.
                guard map(of: node).shards[shard].epoch == epoch || mutant == .acceptsAnyEpoch else { continue }
                nodes[node].disk[shard].insert(blob)
                send(.pushed(write: write, by: node))
            case .pushed(let number, let node):
                guard var write = writes[number], nodes[write.writer].boot == write.writerBoot,
                    isReachable(write.writer)
                else { continue }
                write.missing.remove(node)
                writes[number] = write.missing.isEmpty ? nil : write
                if write.missing.isEmpty {
                    acknowledged[write.shard].insert(write.blob)
                    report.acknowledged += 1
                    try checkKept()
                }
            case .report(let said, let node, let boot):
                guard let leader, isReachable(leader), message.term == term, nodes[node].boot == boot else { continue }
                driver.reported(said, by: nodes[node].id)
            case .askLease(let node, let boot, let asked):
                guard let leader, isReachable(leader), message.term == term, nodes[node].isMember else { continue }
                heard[node] = now
                // Whatever is in its log is older than the lease, and the node must know it.
                send(.lease(node: node, boot: boot, asked: asked, base: maps.count - 1 + pending.count))
                granted[node] = now + Self.lease
            case .lease(let node, let boot, let asked, let base):
                guard isReachable(node), nodes[node].boot == boot else { continue }
                let end = asked + Self.lease - Self.leaseMargin
                guard end > nodes[node].leaseEnd else { continue }
                nodes[node].leaseEnd = end
                nodes[node].leaseBase = base
            }
        }
    }
}
