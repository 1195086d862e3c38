import CacheCore
import EsperTypes
import KernelCache
import Testing

/// What a node begins for moves, and for strays after deaths.
struct MoveWorkTests {
    /// Five hosts. The first two had the even shards alone and are down: the third and fourth have them now, and everybody is a stray. The first odd
    /// shard is being copied to the third.
    private func map() throws -> ShardMap {
        let nodes = (0...5).map { NodeID($0) }
        var map: ShardMap?
        func apply(_ command: MapCommand) { #expect(ShardMap.apply(command, to: &map).applied > 0, "\(command)") }
        let (dying, living) = (
            Placement(owner: nodes[1], replicas: [nodes[2]]), Placement(owner: nodes[4], replicas: [nodes[5]])
        )
        apply(
            .found(
                hosts: (1...5).map { ShardMap.Host(id: nodes[$0]) },
                placements: (0..<ShardID.count).map { $0 % 2 == 0 ? dying : living }, copies: 2))
        for node in [nodes[1], nodes[2]] { apply(.down(node, seen: map!.host(node)!.epoch)) }
        let heirs = Placement(owner: nodes[3], replicas: [nodes[4]])
        apply(
            .revive(
                stride(from: 0, to: ShardID.count, by: 2).map { ShardID($0)! }
                    .map { Revival(shard: $0, epoch: map![$0].epoch, to: heirs) }))
        let odd = ShardID(1)!
        apply(.plan([PlannedMove(shard: odd, epoch: map![odd].epoch, to: heirs, reason: .balance)]))
        let move = try #require(map![odd].move)
        apply(.advance([StepChange(shard: odd, move: move.id, step: .planned, epoch: map![odd].epoch)]))
        return map!
    }

    @Test func `strays that are down are not waited for`() throws {
        let due = MoveWork.due(in: try map(), for: NodeID(3), but: .init())
        let strays = due.compactMap { if case .absorb(let absorption) = $0 { absorption.stray } else { nil } }
        #expect(Set(strays) == [NodeID(4), NodeID(5)])
        #expect(strays.count == ShardID.count)
        #expect(due.count == ShardID.count + 1)
    }

    @Test func `only who is to have a shard brings it, and only what has come is compared`() throws {
        var map: ShardMap? = try self.map()
        // The fourth has half of what the dead had, and is itself in the place that the odd shard goes to; the fifth has nothing to bring.
        let due = MoveWork.due(in: map!, for: NodeID(4), but: .init())
        #expect(due.count == ShardID.count)
        #expect(
            due.allSatisfy { if case .absorb(let absorption) = $0 { absorption.stray != NodeID(4) } else { false } })
        #expect(MoveWork.due(in: map!, for: NodeID(5), but: .init()).isEmpty)

        let odd = ShardID(1)!
        let move = try #require(map![odd].move).id
        let copied = StepChange(shard: odd, move: move, step: .copy, epoch: map![odd].epoch)
        #expect(ShardMap.apply(.advance([copied]), to: &map).applied > 0)
        var done = MoveWork.Done()
        done.copied = [move]
        let verify = MoveWork.verify(move, odd, map![odd].epoch)
        let moves = MoveWork.due(in: map!, for: NodeID(3), but: done)
            .filter { if case .absorb = $0 { false } else { true } }
        #expect(moves == [verify])
        done.verified = [move]
        #expect(!MoveWork.due(in: map!, for: NodeID(3), but: done).contains(verify))
    }

    @Test func `what is done is not due`() throws {
        let map = try map()
        var done = MoveWork.Done()
        done.copied = [try #require(map[ShardID(1)!].move).id]
        done.absorbed = [.init(shard: ShardID(0)!, epoch: map[ShardID(0)!].epoch, stray: NodeID(4))]
        #expect(MoveWork.due(in: map, for: NodeID(3), but: done).count == ShardID.count - 1)
    }

    @Test func `strays take no room from moves`() throws {
        let due = MoveWork.due(in: try map(), for: NodeID(3), but: .init())
        let first = MoveWork.next(of: due, beside: [])
        #expect(first.count == MoveWork.maximumAbsorptions + 1)
        let copies = first.filter { if case .copy = $0 { true } else { false } }
        #expect(copies.count == 1)
        #expect(MoveWork.next(of: due, beside: first).isEmpty)
        #expect(MoveWork.next(of: due, beside: first.subtracting(copies)) == copies)
    }
}
