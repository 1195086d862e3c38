import CacheCore
import EsperTypes
import Foundation
import KernelCache
import RaftRuntime
import Synchronization
import TestSupport
import Testing

/// One after the other: each has whole nodes that must answer in time.
@Suite(.serialized, .timeLimit(.minutes(2))) struct RebalanceTests {
    /// Stores values of a blob each. - Returns: them, by name.
    private func fill(_ node: CacheCluster.Node, _ count: Int, prefix: String = "v") async throws -> [String: [UInt8]] {
        try await withThrowingTaskGroup(of: (String, [UInt8]).self) { group in
            for number in 0..<count {
                group.addTask {
                    let value = noise(CacheLimits.inlineBytes + 1 + number)
                    let reply = try await node.store("\(prefix)\(number)", value)
                    #expect(reply.isStored)
                    return ("\(prefix)\(number)", value)
                }
            }
            return try await group.reduce(into: [:]) { $0[$1.0] = $1.1 }
        }
    }

    /// Every member of every blob's shard has it on its disk, as the map says.
    private func expectHeld(
        _ values: [String: [UInt8]], in cluster: CacheCluster, sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let map = try #require(cluster.agreement.map)
        for value in values.values {
            let digest = Digest(hashing: value)
            for member in map[digest].placement.members {
                #expect(
                    cluster[Int(member.rawValue) - 1].disk.has(digest),
                    "\(member) lacks a blob of \(ShardID(of: digest))",
                    sourceLocation: sourceLocation)
            }
        }
    }

    /// Nobody has to go to another node for what a node reads by itself.
    private func expectRead(_ values: [String: [UInt8]], by node: CacheCluster.Node) async throws {
        for (name, value) in values { #expect(try await node.value(name) == value, "\(name)") }
    }

    @Test func `the map is founded with every node, and every node gets a lease`() async throws {
        try await CacheCluster.run(3) { cluster in
            let map = try await cluster.founded()
            #expect(map.hosts.map(\.id) == [NodeID(1), NodeID(2), NodeID(3)])
            #expect(map.copies == 2)
            for node in 1...3 { #expect((310...360).contains(map.owned(by: NodeID(UInt64(node))))) }
            #expect(try await fill(cluster[2], 4).count == 4)
        }
    }

    @Test func `a node that joins gets its share and no more; nothing is lost and what moved away is freed`()
        async throws
    {
        try await CacheCluster.run(3) { cluster in
            let old = try await cluster.founded()
            let values = try await fill(cluster[0], 60)
            try await cluster.join()
            let map = try await cluster.map("moved") { $0.isSettled && $0.held(by: NodeID(4)) > 400 }
            let moved = Double(map.copiesMoved(since: old)) / Double(2 * ShardID.count)
            #expect(moved <= 0.25 + 0.02, "\(moved) of the copies moved")
            for node in 1...4 {
                #expect((240...272).contains(map.owned(by: NodeID(UInt64(node)))))
                #expect((480...544).contains(map.held(by: NodeID(UInt64(node)))))
            }
            try expectHeld(values, in: cluster)
            try await expectRead(values, by: cluster[3])
            let strangers = {
                (0..<4).reduce(0) { count, node in
                    count
                        + cluster[node].disk.entries().count {
                            !map[$0.digest].placement.contains(NodeID(UInt64(node + 1)))
                        }
                }
            }
            try await until("what moved away to be freed", within: .seconds(10)) { strangers() == 0 }
        }
    }

    @Test func `what is written while shards move is held by those who have them afterwards`() async throws {
        try await CacheCluster.run(3) { cluster in
            _ = try await cluster.founded()
            try await cluster.join()
            var values: [String: [UInt8]] = [:]
            var rounds = 0
            // Until the moves have ended, and at least once while they went on.
            while cluster.agreement.map.map({ !$0.isSettled || $0.held(by: NodeID(4)) < 400 }) ?? true {
                values.merge(try await fill(cluster[rounds % 4], 8, prefix: "r\(rounds)-")) { $1 }
                rounds += 1
                #expect(rounds < 2000)
            }
            #expect(rounds > 1)
            try expectHeld(values, in: cluster)
            try await expectRead(values, by: cluster[3])
        }
    }

    @Test func `what a dead node held is copied again, and it may come back`() async throws {
        try await CacheCluster.run(3) { cluster in
            _ = try await cluster.founded()
            let values = try await fill(cluster[0], 40)
            try await cluster.kill(2)
            let map = try await cluster.map("repaired") { map in
                map.isSettled && map.host(NodeID(3))?.isDown == true
                    && map.shards.allSatisfy { $0.placement.members.count == 2 && !$0.placement.contains(NodeID(3)) }
            }
            #expect(map.held(by: NodeID(1)) == ShardID.count)
            try expectHeld(values, in: cluster)
            try await expectRead(values, by: cluster[1])
            #expect(try await cluster[1].store("after", noise(40_000)).isStored)
        }
    }

    @Test func `who gets blobs goes slower while one that gives them is used and waits for a processor`() async throws {
        var options = CacheOptions.quick
        options.longestProcessorWait = .zero
        try await CacheCluster.run(2, options: options) { cluster in
            _ = try await cluster.founded()
            let values = try await fill(cluster[0], 60)
            let digest = try #require(values.values.first.map { Digest(hashing: $0) })
            func isStrained() async throws -> Bool {
                try await cluster[0].peers.fetch(
                    [digest], from: NodeID(2), isUse: false, deadline: NodeClock.now() + .seconds(5)
                ).isStrained
            }
            // However long its threads wait, nobody minds.
            try await until("nobody to use the node") { try await !isStrained() }
            let use = Task {
                while !Task.isCancelled {
                    for _ in 0..<20 { _ = cluster[1].memory.get(digest) }
                    await pause(.milliseconds(5))
                }
            }
            defer { use.cancel() }
            try await until("the node to say that it is strained") { try await isStrained() }
            let throttle = Throttle(maximumIncoming: 255, maximumOutgoing: 255, bytesPerSecond: 1 << 20)
            _ = cluster.agreement.apply(.map(.setThrottle(throttle)), "node/test")
            try await cluster.join()
            try await until("the node that joins to go slower") {
                cluster[2].service.progress().allowedBytesPerSecond < throttle.bytesPerSecond
            }
        }
    }

    @Test func `a node that leaves hands its shards over first`() async throws {
        try await CacheCluster.run(3) { cluster in
            _ = try await cluster.founded()
            let values = try await fill(cluster[1], 40)
            await cluster[2].service.handOver(by: NodeClock.now() + .seconds(30))
            let map = try #require(cluster.agreement.map)
            #expect(map.held(by: NodeID(3)) == 0)
            #expect(map.host(NodeID(3))?.isDraining == true)
            try expectHeld(values, in: cluster)
        }
    }

    @Test func `moves that are cancelled leave the old sets, and none begins until somebody starts them`() async throws
    {
        try await CacheCluster.run(3) { cluster in
            let old = try await cluster.founded()
            let values = try await fill(cluster[0], 20)
            _ = cluster.agreement.apply(
                .map(.setThrottle(Throttle(maximumIncoming: 1, maximumOutgoing: 1))), "node/test")
            try await cluster.join()
            _ = try await cluster.map("moving") { $0.shards.contains { $0.step == .planned } }
            let reply = try await cluster[1].rebalance(.cancel)
            #expect(reply.isManual)
            let map = try await cluster.map("calm") { $0.isSettled }
            #expect(map.copiesMoved(since: old) < 256)
            let plan = try await cluster[2].rebalance(.plan)
            #expect(plan.moves.count > 256)
            #expect(plan.moves.allSatisfy { $0.id == nil && $0.to.contains("n4") })
            #expect(try await cluster[2].rebalance(.status).moves.isEmpty)
            let faster = ThrottleChange(maximumIncoming: 255, maximumOutgoing: 255)
            #expect(try await cluster[3].rebalance(.throttle(faster)).throttle.maximumIncoming == 255)
            #expect(try await cluster[3].rebalance(.start).changed == UInt32(plan.moves.count))
            _ = try await cluster.map("moved") { $0.isSettled && $0.held(by: NodeID(4)) > 480 }
            try expectHeld(values, in: cluster)
        }
    }

    @Test func `a node whose map is old takes nothing as a member, and nothing is acknowledged without it`()
        async throws
    {
        var options = CacheOptions.quick
        options.copyLimit = .milliseconds(300)
        try await CacheCluster.run(2, options: options) { cluster in
            let map = try await cluster.founded()
            let value = noise(30_000)
            let shard = ShardID(of: Digest(hashing: value))
            #expect(try await cluster[0].store("before", noise(30_000)).isStored)
            // The shard goes through a cancelled move, of which the second node does not hear.
            cluster[1].names.isBehind.withLock { $0 = map }
            let plan = PlannedMove(
                shard: shard, epoch: map[shard].epoch,
                to: Placement(owner: map[shard].placement.replicas[0], replicas: [map[shard].placement.owner]),
                reason: .balance)
            _ = cluster.agreement.apply(.map(.plan([plan])), "node/test")
            let move = try #require(cluster.agreement.map?[shard].move)
            let change = StepChange(shard: shard, move: move.id, step: .planned, epoch: map[shard].epoch)
            _ = cluster.agreement.apply(.map(.cancel([change])), "node/test")
            let now = try #require(cluster.agreement.map)
            #expect(now[shard].epoch > map[shard].epoch)
            try await cluster[0].applied(now.epoch)
            let failure = await #expect(throws: CacheFailure.self) {
                try await cluster[0].store("during", value)
            }
            #expect(failure?.code == .tierUnavailable)
            cluster[1].names.isBehind.withLock { $0 = nil }
            #expect(try await cluster[0].store("during", value).isStored)
        }
    }
}
