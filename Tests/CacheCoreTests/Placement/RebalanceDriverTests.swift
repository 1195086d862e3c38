import CacheCore
import EsperTypes
import Testing

/// When the leader plans which moves.
@Suite struct RebalanceDriverTests {
    private var driver = RebalanceDriver()
    private var map: ShardMap?
    private var joined: Set<NodeID> = []

    /// Three hosts with two copies of all shards, and a leader that has watched them for a while.
    init() {
        _ = step(at: 0)
        for command in step(at: 0) { apply(command) }
        _ = step(at: 0)
    }

    private mutating func apply(_ command: MapCommand) {
        let result = ShardMap.apply(command, to: &map)
        #expect(result.applied > 0, "\(command)")
    }

    private mutating func step(at milliseconds: UInt64) -> [MapCommand] {
        let members = (1...3).map { NodeID($0) } + joined.sorted()
        return driver.step(
            map: map, members: members.map { .init(id: $0, isAlive: true) },
            at: Instant(nanoseconds: 1_000_000_000 + milliseconds * 1_000_000))
    }

    /// What is planned now, by the reason.
    private mutating func planned(at milliseconds: UInt64) -> [ShardMap.Move.Reason: Int] {
        var reasons: [ShardMap.Move.Reason: Int] = [:]
        for case .plan(let moves) in step(at: milliseconds) {
            for move in moves { reasons[move.reason, default: 0] += 1 }
        }
        return reasons
    }

    @Test mutating func `what a draining host holds moves at once, all of it`() throws {
        #expect(planned(at: 10_000) == [:])
        apply(.setDraining(NodeID(2), true))
        let held = try #require(map).shards.count { $0.placement.contains(NodeID(2)) }
        #expect(held > 0)
        #expect(planned(at: 10_001) == [.drain: held])
    }

    @Test mutating func `a host drains at once though another was lost a moment ago`() throws {
        apply(.down(NodeID(3), seen: try #require(map?.host(NodeID(3))).epoch))
        _ = step(at: 10_000)
        apply(.up(NodeID(3), seen: try #require(map?.host(NodeID(3))).epoch))
        #expect(planned(at: 11_000)[.drain] == nil)
        apply(.setDraining(NodeID(2), true))
        #expect(planned(at: 11_001)[.drain, default: 0] > 0)
    }

    @Test mutating func `a host that joins waits until others have, and holds up none that drains`() throws {
        joined = [NodeID(4)]
        for command in step(at: 10_000) { apply(command) }
        #expect(try #require(map).hosts.count == 4)
        #expect(planned(at: 10_001) == [:])
        #expect(planned(at: 11_900) == [:])
        apply(.setDraining(NodeID(2), true))
        let drained = planned(at: 11_901)
        #expect(Set(drained.keys) == [.drain])
        #expect(planned(at: 13_901)[.balance, default: 0] > 0)
    }
}
