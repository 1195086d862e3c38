import CacheCore
import ClusterSupport
import struct Crypto.SHA256
import EsperClient
import EsperTypes
import Foundation
import Synchronization
import TestSupport
import Testing

/// The tiers of real nodes go away, come back, lie and rot.
@Suite(
    .serialized, .timeLimit(.minutes(4)),
    .enabled(if: PrivatePostgreSQL.isInstalled, "PostgreSQL is not installed"))
struct CacheTierTests {
    /// Runs `body` with three nodes that have a catalog, and what else `settings` tell.
    private func run(
        cache: String,
        _ body: (LocalCluster, CacheNodes, PrivatePostgreSQL) async throws -> Void
    ) async throws {
        try await withPrivatePostgreSQL { server in
            let settings = """
                catalog: {url: "host=\(server.socketDirectory) port=\(server.port) user=esper dbname=esper"}
                \(LocalCluster.calmElections)
                cache: {drain_time: 1s\(cache)}
                """
            try await LocalCluster.run(3, settings: settings) { cluster in
                _ = try await cluster.waitUntilSettled(hosts: 3)
                let nodes = try CacheNodes(cluster)
                defer { nodes.close() }
                try await nodes.until(.catalog, isUsed: true)
                try await body(cluster, nodes, server)
            }
        }
    }

    private func expectEverywhere(
        _ name: String, is other: String? = nil, _ nodes: CacheNodes, _ words: String,
        sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        for node in nodes.names {
            let value = try await nodes.value(of: name, at: node)
            #expect(
                value == Kernel.bytes(of: other ?? name), "\(name) at \(node) \(words)", sourceLocation: sourceLocation)
        }
    }

    @Test func `Redis that is absent at the start, killed, flapping and out of date costs nobody anything`()
        async throws
    {
        try await withPrivateRedis { redis in
            // What every start of the server brings back: copies that were damaged another day.
            let old = ["old-0", "old-1", "old-2", "old-3"].filter {
                Kernel.bytes(of: $0).count > CacheLimits.inlineBytes
            }
            try #require(!old.isEmpty)
            for name in old {
                let digest = try #require(Digest(bytes: Array(SHA256.hash(data: Kernel.bytes(of: name)))))
                try await redis.cli("SET", "esper:blob:\(digest)", "of another day")
            }
            #expect(try await redis.cli("SAVE") == "OK")
            await redis.kill()
            try await run(cache: ", redis: \"redis://127.0.0.1:\(redis.port)\"") { _, nodes, _ in
                let worker = CacheWorker(nodes)
                try await worker.during {
                    for name in old { #expect(try await nodes.store(name, at: "n1").isStored) }
                    _ = try await nodes.store("best", at: "n1", kind: .alias, like: "first")
                    try await nodes.until(.redis, isUsed: false)
                    try await redis.startServer()
                    try await nodes.until(.redis, isUsed: true)
                    for name in old {
                        try await nodes.forget(name)
                        #expect(try await nodes.value(of: name, at: "n2") == Kernel.bytes(of: name))
                    }
                    #expect(try #require(await nodes.tier(.redis, at: "n2")).corrupt == UInt64(old.count))
                    _ = try await nodes.store("best", at: "n3", kind: .alias, like: "second")
                    try await expectEverywhere("best", is: "second", nodes, "with Redis back")
                    for _ in 0..<4 {
                        await redis.kill()
                        await pause(.milliseconds(300))
                        try await redis.startServer()
                        await pause(.milliseconds(300))
                    }
                    _ = try await nodes.store("best", at: "n2", kind: .alias, like: "third")
                    try await expectEverywhere("best", is: "third", nodes, "after the flapping")
                    try await nodes.until(.redis, isUsed: true)
                    // Used again, not only reached.
                    _ = try await nodes.store("new", at: "n1")
                    let manifest = try await nodes.digests(of: "new")[0]
                    try await until("Redis to be filled") {
                        try await redis.cli("EXISTS", "esper:blob:\(manifest)") == "1"
                    }
                }
                worker.expectNoProblem(atLeast: 50)
            }
        }
    }
}

/// Stores kernels at every node and reads them back at others, all the time: every call ends by its time, and what was acknowledged
/// is there.
private final class CacheWorker: Sendable {
    private let nodes: CacheNodes
    private let isOver = Atomic(false)
    private let state = Mutex((calls: 0, problems: [String]()))

    private static let limit = Duration.seconds(20)

    init(_ nodes: CacheNodes) { self.nodes = nodes }

    func during(_ body: () async throws -> Void) async throws {
        let work = Task {
            await withDiscardingTaskGroup { group in
                for number in nodes.names.indices { group.addTask { await self.run(number) } }
            }
        }
        let result: Result<Void, any Error>
        do { result = .success(try await body()) } catch { result = .failure(error) }
        isOver.store(true, ordering: .relaxed)
        await work.value
        try result.get()
    }

    func expectNoProblem(atLeast calls: Int, sourceLocation: SourceLocation = #_sourceLocation) {
        let (made, problems) = state.withLock { $0 }
        #expect(problems.isEmpty, "\(problems.count): \(problems.prefix(5))", sourceLocation: sourceLocation)
        #expect(made >= calls, sourceLocation: sourceLocation)
    }

    private func run(_ worker: Int) async {
        var round = 0
        while !isOver.load(ordering: .relaxed) {
            let name = "worker-\(worker)-\(round)"
            let start = ContinuousClock.now
            var problem: String?
            do throws(EsperError) {
                _ = try await nodes.store(name, at: nodes.names[worker])
                let reader = nodes.names[(worker + 1) % nodes.names.count]
                if try await nodes.value(of: name, at: reader) != Kernel.bytes(of: name) {
                    problem = "\(name) was acknowledged and is not there"
                }
            } catch { problem = "\(name): \(error)" }
            let time = ContinuousClock.now - start
            if time > Self.limit { problem = "\(name) took \(time)" }
            state.withLock { state in
                state.calls += 2
                if let problem { state.problems.append(problem) }
            }
            round += 1
            await pause(.milliseconds(20))
        }
    }
}
