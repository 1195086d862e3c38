import CacheCore
import EsperTypes

extension MoveSimulator {
    func checkCoordinators() throws(MoveFailure) {
        var coordinators: [Int: NodeID] = [:]
        for node in nodes.indices where isRunning(node) {
            guard holdsLease(node) || mutant == .coordinatesWithoutLease else { continue }
            let map = map(of: node)
            for (number, shard) in map.shards.enumerated() where shard.coordinator == nodes[node].id {
                if let other = coordinators[number] {
                    throw MoveFailure(
                        rule: .coordinators,
                        story: "at \(now) ms \(other) and \(nodes[node].id) both coordinate shard \(number)")
                }
                coordinators[number] = nodes[node].id
            }
        }
    }

    func checkKept() throws(MoveFailure) {
        let map = maps.last!
        for (number, shard) in map.shards.enumerated() {
            // Who died with its disk is out of the map as soon as its lease is over, and when nobody is left all others are asked.
            let members = shard.placement.members.map(index).filter { nodes[$0].isMember }
            if members.isEmpty { continue }
            // What came since the shard was given to others, every member has; what is older may be with strays alone, while there are any.
            let expected =
                shard.strays.isEmpty
                ? acknowledged[number] : acknowledged[number].filter { $0 > lastBeforeRevival[number] }
            for member in members {
                let missing = expected.subtracting(nodes[member].disk[number])
                guard missing.isEmpty else {
                    throw MoveFailure(
                        rule: .kept,
                        story:
                            "at \(now) ms \(nodes[member].id) lacks \(missing.count) blobs of shard \(number), \(shard)"
                    )
                }
            }
            if shard.strays.isEmpty { continue }
            var held: Set<Int> = []
            for holder in members + shard.strays.map(index) { held.formUnion(nodes[holder].disk[number]) }
            guard acknowledged[number].isSubset(of: held) else {
                throw MoveFailure(rule: .kept, story: "at \(now) ms shard \(number) and its strays lack blobs")
            }
        }
    }

    func checkEpochs() throws(MoveFailure) {
        let (old, new) = (maps[maps.count - 2], maps[maps.count - 1])
        for (number, pair) in zip(old.shards, new.shards).enumerated() where pair.0 != pair.1 {
            let (before, after) = pair
            let isForward =
                after.epoch > before.epoch
                || after.epoch == before.epoch
                    && (after.step > before.step
                        || after.step == before.step
                            && (after.move?.finished.count ?? 0) > (before.move?.finished.count ?? 0)
                        || after.strays.count < before.strays.count)
            guard isForward else {
                throw MoveFailure(rule: .epochs, story: "shard \(number) went from \(before) to \(after)")
            }
        }
    }

    /// What is not as it should be once nothing goes wrong any more.
    func unsettled() -> String? {
        let map = maps.last!
        let eligible = map.hosts.filter(\.isEligible)
        for (number, shard) in map.shards.enumerated() {
            if shard.step != .stable { return "shard \(number) is in \(shard.step.name)" }
            if !shard.strays.isEmpty { return "shard \(number) has strays" }
            if shard.placement.members.count < min(map.copies, eligible.count) { return "shard \(number) lacks copies" }
            // Nobody may be given it: whoever has something of it keeps that.
            if eligible.isEmpty, !shard.placement.contains(where: map.isUp) { continue }
            for member in shard.placement.members {
                guard let host = map.host(member), !host.isDown else { return "shard \(number) is with a dead host" }
                // Nobody else may be there to take it.
                if host.isDraining, !eligible.isEmpty { return "shard \(number) is on a draining host" }
            }
            for node in nodes.indices where nodes[node].isUp && nodes[node].isMember {
                let isMember = shard.placement.contains(nodes[node].id)
                if !isMember, !nodes[node].disk[number].isEmpty { return "\(nodes[node].id) keeps shard \(number)" }
            }
        }
        return nil
    }
}
