import EsperTypes

extension ShardMap {
    /// Makes the change that an entry of the log asks for.
    ///
    /// Depends on the command and the map alone. What names a shard is compared with the shard as it is, by move, step and epoch:
    /// a duplicate or a late one changes nothing and is counted as refused.
    public static func apply(_ command: MapCommand, to map: inout ShardMap?) -> MapReply {
        guard map != nil else {
            guard case .found(let hosts, let placements, let copies) = command,
                let new = ShardMap(founding: hosts, placements: placements, copies: copies)
            else { return MapReply(epoch: .zero, applied: 0, refused: 1) }
            map = new
            return MapReply(epoch: new.epoch, applied: 1, refused: 0)
        }
        let (applied, refused) = map!.apply(command, making: map!.epoch.next)
        if applied > 0 { map!.epoch = map!.epoch.next }
        return MapReply(epoch: map!.epoch, applied: UInt32(applied), refused: UInt32(refused))
    }

    /// - Parameter count: of shards; simulated maps are small.
    package init?(founding hosts: [Host], placements: [Placement], copies: Int, shards count: Int = ShardID.count) {
        let sorted = hosts.sorted { $0.id < $1.id }
        guard MapLimits.copies.contains(copies), placements.count == count,
            (1...MapLimits.hosts).contains(hosts.count), zip(sorted, sorted.dropFirst()).allSatisfy({ $0.id < $1.id })
        else { return nil }
        let first = MapEpoch(1)
        self.hosts = sorted.map {
            Host(
                id: $0.id, weight: $0.weight, zone: $0.zone, isDraining: $0.isDraining, isDown: $0.isDown, epoch: first)
        }
        shards = placements.map {
            Shard(placement: $0, epoch: ShardEpoch(1), step: .stable, move: nil, since: first, strays: [])
        }
        epoch = first
        self.copies = copies
        throttle = Throttle()
        isManual = false
        nextMove = MoveID(1)
        guard placements.allSatisfy(isPossible) else { return nil }
    }

    /// Of hosts that there are, each once, and no more than fit.
    private func isPossible(_ placement: Placement) -> Bool {
        let members = placement.members
        return members.count <= MapLimits.copies.upperBound && Set(members).count == members.count
            && members.allSatisfy { host($0) != nil }
    }

    private mutating func apply(_ command: MapCommand, making next: MapEpoch) -> (applied: Int, refused: Int) {
        switch command {
        case .found: return (0, 1)
        case .admit(let id, let weight, let zone): return once(admit(id, weight: weight, zone: zone, at: next))
        case .remove(let id): return once(remove(id, at: next))
        case .down(let id, let seen): return once(setDown(id, true, seen: seen, at: next))
        case .up(let id, let seen): return once(setDown(id, false, seen: seen, at: next))
        case .setDraining(let id, let isDraining):
            guard let position = hosts.firstIndex(where: { $0.id == id }), hosts[position].isDraining != isDraining
            else { return (0, 1) }
            hosts[position].isDraining = isDraining
            hosts[position].epoch = next
            return (1, 0)
        case .plan(let moves): return each(moves) { map, move in map.plan(move, at: next) }
        case .advance(let changes): return each(changes) { map, change in map.advance(change, at: next) }
        case .finish(let changes, let node):
            return each(changes) { map, change in map.finish(change, by: node) }
        case .cancel(let changes): return each(changes) { map, change in map.cancel(change, at: next) }
        case .revive(let revivals): return each(revivals) { map, revival in map.revive(revival, at: next) }
        case .forgetStray(let shard, let node, let epoch):
            let number = Int(shard.rawValue)
            guard shards[number].epoch == epoch, shards[number].step == .stable, shards[number].strays.contains(node)
            else { return (0, 1) }
            shards[number].strays.removeAll { $0 == node }
            shards[number].since = next
            return (1, 0)
        case .setThrottle(let new): return once(set(\.throttle, new))
        case .setCopies(let new): return once(MapLimits.copies.contains(new) && set(\.copies, new))
        case .setManual(let new): return once(set(\.isManual, new))
        }
    }

    private func once(_ isApplied: Bool) -> (Int, Int) { isApplied ? (1, 0) : (0, 1) }

    private mutating func each<Change>(
        _ changes: [Change], _ body: (inout ShardMap, Change) -> Bool
    ) -> (Int, Int) {
        let applied = changes.count { body(&self, $0) }
        return (applied, changes.count - applied)
    }

    private mutating func set<Value: Equatable>(_ path: WritableKeyPath<ShardMap, Value>, _ value: Value) -> Bool {
        guard self[keyPath: path] != value else { return false }
        self[keyPath: path] = value
        return true
    }

    // MARK: Hosts

    private mutating func admit(_ id: NodeID, weight: UInt32, zone: String, at next: MapEpoch) -> Bool {
        if let position = hosts.firstIndex(where: { $0.id == id }) {
            guard hosts[position].weight != weight || hosts[position].zone != zone else { return false }
            hosts[position].weight = weight
            hosts[position].zone = zone
            hosts[position].epoch = next
            return true
        }
        guard hosts.count < MapLimits.hosts else { return false }
        let position = hosts.firstIndex { $0.id > id } ?? hosts.endIndex
        hosts.insert(Host(id: id, weight: weight, zone: zone, epoch: next), at: position)
        return true
    }

    private mutating func remove(_ id: NodeID, at next: MapEpoch) -> Bool {
        guard hosts.contains(where: { $0.id == id }) else { return false }
        for number in shards.indices {
            lose(id, from: number, at: next)
            loseStray(id, from: number, at: next)
        }
        hosts.removeAll { $0.id == id }
        return true
    }

    private mutating func setDown(_ id: NodeID, _ isDown: Bool, seen: MapEpoch, at next: MapEpoch) -> Bool {
        guard let position = hosts.firstIndex(where: { $0.id == id }), hosts[position].epoch == seen,
            hosts[position].isDown != isDown
        else { return false }
        hosts[position].isDown = isDown
        hosts[position].epoch = next
        if isDown { for number in shards.indices { lose(id, from: number, at: next) } }
        return true
    }

    /// Takes a dead node out of a shard's sets. The last member stays: nobody else has what it holds.
    private mutating func lose(_ node: NodeID, from number: Int, at next: MapEpoch) {
        var shard = shards[number]
        switch shard.step {
        case .stable:
            guard shard.placement.contains(node), let rest = shard.placement.removing(node) else { return }
            shard.placement = rest
        case .planned, .copy, .verify:
            guard var move = shard.move else { return }
            let wasLast = shard.placement.removing(node) == nil
            guard move.to.contains(node) || shard.placement.contains(node) && !wasLast else { return }
            if shard.placement.contains(node), let rest = shard.placement.removing(node) {
                shard.placement = rest
                move.from = rest
            }
            let isCancelled = move.to.contains(node)
            shard.move = isCancelled ? nil : move
            if isCancelled { shard.step = .stable }
        case .flip, .drain:
            guard var move = shard.move, move.members.contains(node) else { return }
            if move.from?.contains(node) ?? false { move.from = move.from?.removing(node) }
            shard.move = move
            if move.to.contains(node) {
                if let rest = move.to.removing(node) {
                    move.to = rest
                    shard.placement = rest
                    shard.move = move
                } else if shard.step == .flip, let from = move.from {
                    // Until now every new blob went to the old set too: it takes over again.
                    shard.placement = from
                    shard.move = nil
                    shard.step = .stable
                }
            }
        }
        guard shard != shards[number] else { return }
        shard.keepAsStrays([node])
        shard.epoch = shard.epoch.next
        shard.since = next
        shards[number] = shard
    }

    /// Forgets a stray that never comes back under this name: a member may have taken some of what it had, and the others not yet.
    private mutating func loseStray(_ node: NodeID, from number: Int, at next: MapEpoch) {
        var shard = shards[number]
        guard shard.strays.contains(node) else { return }
        if shard.placement.count > 1 { shard.keepAsStrays(shard.placement.members) }
        shard.strays.removeAll { $0 == node }
        // What members have said of each other was before.
        shard.epoch = shard.epoch.next
        shard.since = next
        shards[number] = shard
    }

    // MARK: Moves

    private mutating func plan(_ planned: PlannedMove, at next: MapEpoch) -> Bool {
        let number = Int(planned.shard.rawValue)
        let shard = shards[number]
        guard shard.step == .stable, shard.epoch == planned.epoch, shard.placement != planned.to,
            isPossible(planned.to), planned.to.members.allSatisfy(isUp)
        else { return false }
        shards[number].move = Move(
            id: nextMove, reason: planned.reason, estimatedBytes: planned.estimatedBytes, from: shard.placement,
            to: planned.to)
        shards[number].step = .planned
        shards[number].since = next
        nextMove = nextMove.next
        return true
    }

    /// The shard when it is as the proposer believed, and moves.
    private func current(_ change: StepChange) -> (number: Int, move: Move)? {
        let number = Int(change.shard.rawValue)
        guard let move = shards[number].move, move.id == change.move, shards[number].step == change.step,
            shards[number].epoch == change.epoch
        else { return nil }
        return (number, move)
    }

    private mutating func advance(_ change: StepChange, at next: MapEpoch) -> Bool {
        guard let (number, move) = current(change) else { return false }
        var shard = shards[number]
        switch shard.step {
        case .stable: return false
        case .planned:
            shard.step = .copy
            shard.epoch = shard.epoch.next
        case .copy: shard.step = .verify
        case .verify:
            shard.step = .flip
            shard.placement = move.to
            shard.epoch = shard.epoch.next
        case .flip: shard.step = .drain
        case .drain:
            shard.step = .stable
            shard.keepAsStrays(move.leaving)
            shard.move = nil
            shard.epoch = shard.epoch.next
        }
        shard.since = next
        shard.move?.finished = []
        shards[number] = shard
        return true
    }

    /// No new step: nobody has to confirm it.
    private mutating func finish(_ change: StepChange, by node: NodeID) -> Bool {
        guard let (number, move) = current(change), change.step == .copy || change.step == .verify,
            move.isJoining(node), !move.finished.contains(node)
        else { return false }
        shards[number].move?.finished.append(node)
        return true
    }

    private mutating func cancel(_ change: StepChange, at next: MapEpoch) -> Bool {
        guard let (number, _) = current(change), change.step < .flip else { return false }
        shards[number].step = .stable
        shards[number].move = nil
        shards[number].epoch = shards[number].epoch.next
        shards[number].since = next
        return true
    }

    private mutating func revive(_ revival: Revival, at next: MapEpoch) -> Bool {
        let number = Int(revival.shard.rawValue)
        let shard = shards[number]
        guard shard.epoch == revival.epoch, !shard.placement.contains(where: isUp), isPossible(revival.to),
            revival.to.members.allSatisfy(isUp)
        else { return false }
        // Whoever was a member before the last one died may have what that one had, the new members too: everybody is asked.
        let strays = hosts.map(\.id).filter { revival.to.members != [$0] }
        shards[number] = Shard(
            placement: revival.to, epoch: shard.epoch.next, step: .stable, move: nil, since: next, strays: strays)
        return true
    }
}

extension ShardMap.Shard {
    /// While there are strays the members may lack what others have: whoever leaves may be the only one who has something, and so may a
    /// stray that has become a member.
    fileprivate mutating func keepAsStrays(_ nodes: [NodeID]) {
        guard !strays.isEmpty else { return }
        strays = Set(strays).union(nodes).sorted()
    }
}
