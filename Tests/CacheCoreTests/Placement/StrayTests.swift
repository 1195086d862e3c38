import CacheCore
import EsperTypes
import Testing

/// A shard of the map after its last member has died for good.
@Suite struct `Strays of a shard` {
    private let shard = ShardID(6)!

    /// Four hosts, two copies; the shard's members are the first two.
    private func makeMap() -> ShardMap? {
        let hosts = (1...4).map { ShardMap.Host(id: NodeID($0)) }
        let placement = Placement(owner: NodeID(1), replicas: [NodeID(2)])
        return ShardMap(
            founding: hosts, placements: Array(repeating: placement, count: ShardID.count), copies: 2)
    }

    private func apply(_ commands: [MapCommand], to map: inout ShardMap?) {
        for command in commands { #expect(ShardMap.apply(command, to: &map).applied > 0, "\(command)") }
    }

    private func down(_ node: UInt64, _ map: ShardMap?) -> MapCommand {
        .down(NodeID(node), seen: map!.host(NodeID(node))!.epoch)
    }

    private func revive(to owner: UInt64, _ map: ShardMap?, replicas: [NodeID] = []) -> MapCommand {
        .revive([
            Revival(shard: shard, epoch: map![shard].epoch, to: Placement(owner: NodeID(owner), replicas: replicas))
        ])
    }

    @Test func `every other host may have been a member before, and keeps what it has`() throws {
        var map = makeMap()
        apply([down(1, map)], to: &map)
        // The second dies with its disk; the first still has everything.
        apply([.remove(NodeID(2))], to: &map)
        #expect(try #require(map).isFree(shard, of: NodeID(1)) == false)
        apply([revive(to: 3, map)], to: &map)
        let revived = try #require(map)
        #expect(revived[shard].strays == [NodeID(1), NodeID(4)])
        #expect(!revived.isFree(shard, of: NodeID(1)))
    }

    /// The shard at the third node, all others strays, and then moved.
    private func moved(to placement: Placement) throws -> ShardMap.Shard {
        var map = makeMap()
        apply([down(1, map)], to: &map)
        apply([.remove(NodeID(2))], to: &map)
        apply([revive(to: 3, map)], to: &map)
        let planned = PlannedMove(shard: shard, epoch: map![shard].epoch, to: placement, reason: .balance)
        apply([.plan([planned])], to: &map)
        while let move = map?[shard].move {
            let change = StepChange(shard: shard, move: move.id, step: map![shard].step, epoch: map![shard].epoch)
            apply([.advance([change])], to: &map)
        }
        let moved = try #require(map)[shard]
        #expect(moved.placement == placement)
        return moved
    }

    @Test func `a member that leaves while there are strays becomes one`() throws {
        let shard = try moved(to: Placement(owner: NodeID(4), replicas: []))
        #expect(shard.strays.contains(NodeID(1)) && shard.strays.contains(NodeID(3)))
    }

    @Test func `a stray that becomes a member stays one, for the other members lack what it has`() throws {
        let shard = try moved(to: Placement(owner: NodeID(3), replicas: [NodeID(4)]))
        #expect(shard.strays == [NodeID(1), NodeID(4)])
    }

    @Test func `of several new members each is compared with by the others, and then forgotten as a stray`() throws {
        var map = makeMap()
        apply([down(1, map)], to: &map)
        apply([.remove(NodeID(2))], to: &map)
        apply([revive(to: 3, map, replicas: [NodeID(4)])], to: &map)
        let revived = try #require(map)
        #expect(revived[shard].strays == [NodeID(1), NodeID(3), NodeID(4)])
        var driver = RebalanceDriver()
        let members = revived.hosts.map {
            RebalanceDriver.Member(id: $0.id, weight: $0.weight, zone: $0.zone, isAlive: !$0.isDown)
        }
        func absorbed(_ stray: UInt64, by node: UInt64) -> [NodeID] {
            let absorption = RebalanceDriver.Absorption(
                shard: shard, epoch: revived[shard].epoch, stray: NodeID(stray))
            driver.reported(.init(map: revived.epoch, absorbed: [absorption]), by: NodeID(node))
            return driver.step(map: revived, members: members, at: Instant(nanoseconds: 1)).compactMap {
                if case .forgetStray(shard, let stray, _) = $0 { stray } else { nil }
            }
        }
        #expect(absorbed(1, by: 3) == [])
        #expect(absorbed(3, by: 4) == [NodeID(3)])
        #expect(absorbed(4, by: 3) == [NodeID(3), NodeID(4)])
    }

    @Test func `members compare anew when a stray is removed that one of them may have taken from`() throws {
        var map = makeMap()
        apply([down(1, map)], to: &map)
        apply([.remove(NodeID(2))], to: &map)
        apply([revive(to: 3, map, replicas: [NodeID(4)])], to: &map)
        let epoch = map![shard].epoch
        apply([3, 4].map { .forgetStray(shard, NodeID($0), epoch: epoch) }, to: &map)
        #expect(map![shard].strays == [NodeID(1)])
        apply([.remove(NodeID(1))], to: &map)
        #expect(map![shard].strays == [NodeID(3), NodeID(4)])
        // What they said of each other was before.
        #expect(map![shard].epoch > epoch)
    }

    @Test func `former members keep what they have when the last member dies and nobody may get the shard`() throws {
        var map = makeMap()
        apply([down(2, map)], to: &map)
        apply([.up(NodeID(2), seen: map!.host(NodeID(2))!.epoch)], to: &map)
        apply((2...4).map { .setDraining(NodeID($0), true) }, to: &map)
        // One member is all that there should be, and it is up.
        #expect(try #require(map).isFree(shard, of: NodeID(2)))
        apply([.setDraining(NodeID(1), true)], to: &map)
        #expect(try #require(map).isFree(shard, of: NodeID(2)))
        apply([.remove(NodeID(1))], to: &map)
        #expect(try #require(map).isFree(shard, of: NodeID(2)) == false)
    }

    @Test func `nothing is freed while members are missing or down`() throws {
        var map = makeMap()
        #expect(try #require(map).isFree(shard, of: NodeID(3)))
        apply([down(2, map)], to: &map)
        #expect(try #require(map).isFree(shard, of: NodeID(3)) == false)
    }
}
