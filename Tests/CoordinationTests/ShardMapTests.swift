import CacheCore
import Coordination
import EsperTypes
import Testing

@Suite struct `The shard map in the replicated state` {
    private static func founding() throws -> MapCommand {
        let hosts = (1...3).map { ShardMap.Host(id: NodeID($0), zone: "z\($0)") }
        let placements = try #require(PlacementPlanner(copies: 2).placements(hosts: hosts))
        return .found(hosts: hosts, placements: placements, copies: 2)
    }

    @Test func `is made once, changed by commands, and comes back from a snapshot`() throws {
        var replica = Replica()
        #expect(replica.machine.cache.map == nil)
        let founded = replica.run(.cache(.map(try Self.founding())))
        #expect(founded == .cache(.map(MapReply(epoch: MapEpoch(1), applied: 1, refused: 0))))
        let again = replica.run(.cache(.map(try Self.founding())))
        #expect(again == .cache(.map(MapReply(epoch: MapEpoch(1), applied: 0, refused: 1))))
        replica.run(.cache(.map(.down(NodeID(2), seen: MapEpoch(1)))))
        let map = try #require(replica.machine.cache.map)
        #expect(!map.isUp(NodeID(2)) && map.epoch == MapEpoch(2))
        #expect(map.shards.allSatisfy { !$0.placement.contains(NodeID(2)) })
        #expect(try restored(replica.machine).cache.map == map)
    }
}
