import CacheCore
import EsperTypes
import Testing

@Suite("Placement planner")
struct PlacementPlannerTests {
    private static func hosts(_ count: Int, weight: UInt32 = 100) -> [ShardMap.Host] {
        (1...count).map { ShardMap.Host(id: NodeID(UInt64($0)), weight: weight) }
    }

    /// The part of all copies that are where they were not.
    private static func moved(_ old: [Placement], _ new: [Placement]) -> Double {
        let copies = new.reduce(0) { $0 + $1.members.count }
        let arrived = zip(old, new).reduce(0) { sum, pair in
            sum + pair.1.members.count { !pair.0.contains($0) }
        }
        return Double(arrived) / Double(copies)
    }

    private static func ownerRatio(_ placements: [Placement], hosts: Int) -> Double {
        var owners: [NodeID: Int] = [:]
        for placement in placements { owners[placement.owner, default: 0] += 1 }
        return Double(owners.values.max()!) * Double(hosts) / Double(placements.count)
    }

    /// The study's table, measured from plan to plan without a memory of the one before: 10.9 % and 6.9 % there.
    @Test(arguments: [(9, 0.115, 1.06), (16, 0.075, 1.06)])
    func `hashing anew under the cap moves little more than hashing without`(
        hosts: Int, movedLimit: Double, ratioLimit: Double
    ) throws {
        let planner = PlacementPlanner(copies: 3)
        let before = try #require(planner.placements(hosts: Self.hosts(hosts)))
        let after = try #require(planner.placements(hosts: Self.hosts(hosts + 1)))
        let moved = Self.moved(before, after)
        #expect(moved <= movedLimit, "\(moved)")
        #expect(Self.ownerRatio(after, hosts: hosts + 1) <= ratioLimit)
        #expect(Self.ownerRatio(before, hosts: hosts) <= ratioLimit)
    }

    @Test(arguments: [(9, 3, 0.109), (16, 3, 0.069), (3, 2, 0.27), (3, 3, 0.27), (2, 2, 0.3534), (32, 3, 0.035)])
    func `a host that joins gets its share, and nothing else moves`(hosts: Int, copies: Int, limit: Double) throws {
        let planner = PlacementPlanner(copies: copies)
        let before = try #require(planner.placements(hosts: Self.hosts(hosts)))
        let after = try #require(planner.placements(hosts: Self.hosts(hosts + 1), previous: before))
        let moved = Self.moved(before, after)
        #expect(moved <= limit, "\(moved)")
        #expect(moved >= 0.9 / Double(hosts + 1), "\(moved)")
        #expect(Self.ownerRatio(after, hosts: hosts + 1) <= 1.06)
        let newcomer = NodeID(UInt64(hosts + 1))
        for (old, new) in zip(before, after) {
            #expect(new.members.allSatisfy { old.contains($0) || $0 == newcomer })
        }
    }

    @Test func `the same question has the same answer, and a plan that stands asks for nothing`() throws {
        var random = TestRandom(seed: 7)
        for _ in 0..<20 {
            let (hosts, copies) = Self.randomHosts(&random)
            let planner = PlacementPlanner(copies: copies)
            let first = try #require(planner.placements(hosts: hosts))
            #expect(planner.placements(hosts: hosts.shuffled(using: &random)) == first)
            #expect(planner.placements(hosts: hosts, previous: first) == first)
        }
    }

    @Test func `any hosts get what their weights say, spread over zones`() throws {
        var random = TestRandom(seed: 11)
        for round in 0..<40 {
            let (hosts, copies) = Self.randomHosts(&random)
            let planner = PlacementPlanner(copies: copies)
            let placements = try #require(planner.placements(hosts: hosts))
            Self.check(placements, hosts, copies, "round \(round)")
        }
    }

    @Test func `whatever changes, no more moves than it asks for`() throws {
        var random = TestRandom(seed: 13)
        for round in 0..<40 {
            var (hosts, copies) = Self.randomHosts(&random)
            for index in hosts.indices { hosts[index].weight = 100 }
            let planner = PlacementPlanner(copies: copies)
            let before = try #require(planner.placements(hosts: hosts))
            let held = Double(before.reduce(0) { $0 + $1.members.count })
            let ideal: Double
            switch random.next() % 3 {
            case 0:
                hosts.append(ShardMap.Host(id: NodeID(1000), zone: hosts[0].zone))
                let share = min(held / Double(hosts.count), Double(ShardID.count))
                ideal = share / held
            case 1 where hosts.count > copies:
                hosts[0].isDraining = true
                ideal = Double(before.count { $0.contains(hosts[0].id) }) / held
            default:
                hosts[0].weight = 200
                ideal = 1 / Double(hosts.count)
            }
            let after = try #require(planner.placements(hosts: hosts, previous: before))
            let moved = Self.moved(before, after)
            if after[0].members.count == before[0].members.count {
                #expect(moved <= ideal + 0.02, "round \(round): \(moved), ideal \(ideal)")
            }
            Self.check(after, hosts, copies, "round \(round)", zones: false)
            #expect(planner.placements(hosts: hosts, previous: after) == after, "round \(round)")
        }
    }

    @Test func `nobody eligible is no plan, and one is everybody's`() throws {
        let planner = PlacementPlanner(copies: 2)
        #expect(planner.placements(hosts: []) == nil)
        var host = ShardMap.Host(id: NodeID(1))
        host.isDraining = true
        #expect(planner.placements(hosts: [host]) == nil)
        let only = try #require(planner.placements(hosts: Self.hosts(1)))
        #expect(only.allSatisfy { $0 == Placement(owner: NodeID(1)) })
    }

    private static func randomHosts(_ random: inout TestRandom) -> ([ShardMap.Host], Int) {
        let count = Int(random.next() % 19) + 1
        let zones = Int(random.next() % 4) + 1
        let hosts = (1...count).map { number in
            ShardMap.Host(
                id: NodeID(UInt64(number)), weight: [50, 100, 100, 200][Int(random.next() % 4)],
                zone: "z\(number % zones)")
        }
        return (hosts, Int(random.next() % 3) + 1)
    }

    private static func check(
        _ placements: [Placement], _ hosts: [ShardMap.Host], _ copies: Int, _ context: String, zones: Bool = true
    ) {
        let eligible = hosts.filter(\.isEligible)
        let size = min(copies, eligible.count)
        var (load, owners): ([NodeID: Int], [NodeID: Int]) = ([:], [:])
        for placement in placements {
            #expect(placement.members.count == size && Set(placement.members).count == size, "\(context)")
            owners[placement.owner, default: 0] += 1
            for member in placement.members { load[member, default: 0] += 1 }
        }
        let total = Double(eligible.reduce(0) { $0 + Int($1.weight) })
        var isLimited = false
        for host in eligible {
            let share = Double(ShardID.count * size) * Double(host.weight) / total
            if share > Double(ShardID.count) { isLimited = true }
        }
        for host in eligible where !isLimited {
            let share = Double(ShardID.count * size) * Double(host.weight) / total
            let owned = Double(ShardID.count) * Double(host.weight) / total
            #expect(Double(load[host.id] ?? 0) <= max(share * 1.05, share + 1), "\(context) \(host) copies")
            #expect(Double(owners[host.id] ?? 0) <= max(owned * 1.05, owned + 1), "\(context) \(host) owned")
        }
        // As many zones as hosts of equal weight: the cap never stands in the way.
        if zones, size > 1, Set(eligible.map(\.zone)).count == eligible.count {
            for placement in placements {
                let used = Set(placement.members.map { member in eligible.first { $0.id == member }!.zone })
                #expect(used.count == size, "\(context)")
            }
        }
    }

    @Test func `three equal zones hold a copy each`() throws {
        let hosts = (1...9).map { ShardMap.Host(id: NodeID(UInt64($0)), zone: "z\($0 % 3)") }
        let planner = PlacementPlanner(copies: 3)
        let placements = try #require(planner.placements(hosts: hosts))
        let crowded = placements.count { placement in Set(placement.members.map { $0.rawValue % 3 }).count < 3 }
        #expect(crowded <= 20, "\(crowded)")
    }
}
