import CacheCore
import Coordination
import EsperTypes
import Foundation
import RaftCore
import RaftRuntime
import Synchronization
import TestSupport
import Testing

/// Lookups of names from a node's own state, by its lease.
@Suite(.timeLimit(.minutes(2)))
struct NameLookupTests {
    private let name = Array("default/kernel".utf8)

    private var options: RuntimeOptions {
        var options = RuntimeOptions()
        options.raft.holderLease = .seconds(1)
        return options
    }

    private func bind(_ number: UInt64, _ name: [UInt8]? = nil) -> Command {
        .cache(
            .bind([
                CacheBind(
                    name: name ?? self.name, kind: .alias, manifest: Digest(words: number, 0, 0, 0), size: 1,
                    mode: .memory, tiers: TierSet(.memory))
            ]))
    }

    private func untilAllAnswer(_ cluster: TestCluster) async throws {
        try await until("a lease of every node") { cluster.names.allSatisfy { cluster[$0].binding(name) != nil } }
    }

    @Test func `every node answers for what is there, and for what is not, as of the last change`() async throws {
        try await TestCluster.run(3, options: options) { cluster in
            try await untilAllAnswer(cluster)
            #expect(cluster.names.allSatisfy { cluster[$0].binding(name) == .absent })
            for round in 1...20 {
                try await cluster.command(bind(UInt64(round)), on: cluster.names[round % 3])
                for node in cluster.names {
                    // By itself, or not at all: never what was there before.
                    guard let found = cluster[node].binding(name) else { continue }
                    guard case .found(let binding) = found, binding.manifest.prefix == UInt64(round) else {
                        Issue.record("\(node) says \(found) after \(round) was bound")
                        continue
                    }
                }
            }
            try await untilAllAnswer(cluster)
            try await cluster.command(.cache(.evict(name)), on: cluster.names[0])
            try await untilAllAnswer(cluster)
            #expect(cluster.names.allSatisfy { cluster[$0].binding(name) == .absent })
            #expect(cluster.names.allSatisfy { cluster[$0].leaseState.remaining != nil })
        }
    }

    @Test func `who observes the map of shards is called for every other map, on every node, and for nothing else`()
        async throws
    {
        try await TestCluster.run(3) { cluster in
            let calls = Mutex<[String: Int]>([:])
            func agree() async throws {
                let index = try await cluster.status(of: try await cluster.leader()).appliedIndex
                for node in cluster.names {
                    try await until("\(node) to have applied it") {
                        try await cluster.status(of: node).appliedIndex >= index
                    }
                }
            }
            for node in cluster.names {
                cluster[node].observeShardMap { calls.withLock { $0[node, default: 0] += 1 } }
            }
            try await cluster.command(bind(1), on: cluster.names[0])
            try await agree()
            #expect(calls.withLock { $0 } == [:])
            let placement = Placement(owner: NodeID(1))
            let found = MapCommand.found(
                hosts: [ShardMap.Host(id: NodeID(1))], placements: Array(repeating: placement, count: ShardID.count),
                copies: 1)
            try await cluster.command(.cache(.map(found)), on: cluster.names[1])
            try await agree()
            let first = calls.withLock { $0 }
            #expect(Set(first.keys) == Set(cluster.names))
            try await cluster.command(bind(2), on: cluster.names[2])
            try await agree()
            #expect(calls.withLock { $0 } == first)
            try await cluster.command(.cache(.map(.setManual(true))), on: cluster.names[0])
            try await agree()
            #expect(calls.withLock { $0 } == first.mapValues { $0 + 1 })
        }
    }

    @Test func `a node that is cut off stops answering, and holds a change up no longer than its lease`() async throws {
        try await TestCluster.run(3, options: options) { cluster in
            try await cluster.command(bind(1), on: try await cluster.leader())
            try await untilAllAnswer(cluster)
            let node = try await cluster.follower()
            guard case .done = await cluster[node].call(.isolate(fromPeers: []), principal: "t", timeout: .seconds(5))
            else { throw TestCluster.Unexpected(body: "not isolated") }
            let clock = ContinuousClock()
            let begin = clock.now
            try await cluster.command(bind(2), on: try await cluster.leader(otherThan: node))
            #expect(clock.now - begin < .seconds(5))
            #expect(cluster[node].binding(name) == nil, "another value is known elsewhere")
            #expect(cluster[node].namePicture() == nil)
            guard case .found(let old) = cluster[node].staleBinding(name) else {
                Issue.record("nothing is known")
                return
            }
            #expect(old.manifest.prefix == 1)
            #expect(cluster[node].leaseState.remaining == nil && cluster[node].leaseState.refusals > 0)
            guard case .done = await cluster[node].call(.heal, principal: "t", timeout: .seconds(5)) else {
                throw TestCluster.Unexpected(body: "not healed")
            }
            try await untilAllAnswer(cluster)
            // A lease may run out between one answer and the next.
            let (new, picture) = try await eventually("an answer and a picture") {
                guard case .found(let new)? = cluster[node].binding(name), let picture = cluster[node].namePicture()
                else { return nil as (Binding, NamePicture)? }
                return (new, picture)
            }
            #expect(new.manifest.prefix == 2)
            #expect(picture.binding(name) == .found(new) && picture.binding([1]) == .absent)
        }
    }

    @Test func `who holds a lease and is cut off holds up changes of names, and nothing else`() async throws {
        var options = options
        options.raft.holderLease = .seconds(6)
        try await TestCluster.run(3, options: options) { cluster in
            try await cluster.command(bind(1), on: try await cluster.leader())
            try await untilAllAnswer(cluster)
            let node = try await cluster.follower()
            guard case .done = await cluster[node].call(.isolate(fromPeers: []), principal: "t", timeout: .seconds(5))
            else { throw TestCluster.Unexpected(body: "not isolated") }
            let leader = try await cluster.leader(otherThan: node)
            for round in 0..<10 as Range<UInt8> {
                try await cluster.command(.put(.init(key: [round], value: [round])), on: leader)
            }
            #expect(cluster[node].leaseState.remaining != nil, "its lease went on meanwhile")
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask { try await cluster.command(bind(2), on: leader) }
                // What it says is true as long as it says it.
                while case .found(let binding) = cluster[node].binding(name) {
                    #expect(binding.manifest.prefix == 1)
                    guard case .found(let newest) = cluster[leader].staleBinding(name) else { break }
                    #expect(newest.manifest.prefix == 1 || cluster[node].binding(name) == nil)
                    try await Task.sleep(for: .milliseconds(20))
                }
                try await group.waitForAll()
            }
            #expect(cluster[node].binding(name) == nil)
        }
    }

    @Test func `without leases a node never answers by itself`() async throws {
        try await TestCluster.run(1) { cluster in
            try await cluster.command(bind(1), on: "n1")
            #expect(cluster["n1"].binding(name) == nil && cluster["n1"].namePicture() == nil)
            guard case .found = cluster["n1"].staleBinding(name) else {
                Issue.record("nothing is known")
                return
            }
        }
    }

    @Test func `a node that has a long way to go shows the names in steps, and in the end all of them`() async throws {
        try await TestCluster.run(1, options: options) { cluster in
            let count: UInt64 = 30_000
            try await withThrowingTaskGroup(of: Void.self) { group in
                for worker in 0..<60 as Range<UInt64> {
                    group.addTask {
                        for number in stride(from: worker, to: count, by: 60) {
                            try await cluster.command(bind(number, Array("n/\(number)".utf8)), on: "n1")
                        }
                    }
                }
                try await group.waitForAll()
            }
            await cluster.stop("n1")
            try await cluster.start("n1", replays: false)
            try await until("a lease") { cluster["n1"].binding(name) == .absent }
            for number in 0..<count {
                guard case .found(let binding) = cluster["n1"].staleBinding(Array("n/\(number)".utf8)) else {
                    Issue.record("\(number) is not there")
                    continue
                }
                #expect(binding.manifest.prefix == number)
            }
            let told = cluster.observer(of: "n1").changedNames.withLock { $0 }
            #expect(told.contains { $0 == nil }, "whoever keeps copies of names knows that any may have changed")
            #expect(told.reduce(0) { $0 + ($1?.count ?? 0) } < Int(count), "nobody is told of each when there are many")
        }
    }

    /// With `ESPER_NAMES` in the environment as many names are bound; the figure is printed.
    @Test func `a lookup costs little`() async throws {
        let count = Int(ProcessInfo.processInfo.environment["ESPER_NAMES"] ?? "") ?? 2000
        try await TestCluster.run(1, options: options) { cluster in
            func full(_ number: Int) -> [UInt8] {
                Array("default/\(number &* 2_654_435_761 % 1_000_000_007)/kernel".utf8)
            }
            for start in stride(from: 0, to: count, by: 100) {
                let binds = (start..<min(start + 100, count)).map { number in
                    CacheBind(
                        name: full(number), kind: .alias, manifest: Digest(words: UInt64(number), 0, 0, 0), size: 1,
                        mode: .memory, tiers: TierSet(.memory))
                }
                try await cluster.command(.cache(.bind(binds)), on: "n1")
            }
            let handle = cluster["n1"]
            try await until("a lease") { handle.binding(full(0)) != nil }
            let names = (0..<1024).map { full($0 * 7919 % count) }
            let clock = ContinuousClock()
            var (found, best) = (0, Duration.seconds(1))
            for _ in 0..<50 {
                let begin = clock.now
                for name in names { if case .found? = handle.binding(name) { found += 1 } }
                best = min(best, (clock.now - begin) / names.count)
            }
            print("a lookup among \(count) names: \(best)")
            #expect(found > names.count * 25 && best < .microseconds(20))
        }
    }
}
