import CacheCore
import ClusterSupport
import EsperClient
import EsperTypes
import Foundation
import Glibc
import TestSupport
import Testing

/// Shards move between real nodes while clients read what they hold.
@Suite(.serialized, .timeLimit(.minutes(4))) struct CacheMoveTests {
    /// As fast as they can: what is judged is what readers see, not how long moves may take.
    private func unleash(_ cluster: LocalCluster) async throws {
        let client = try cluster.cacheClient()
        defer { client.close() }
        _ = try await client.cache.rebalance(
            .throttle(bytesPerSecond: 1 << 30, maximumIncoming: 255, maximumOutgoing: 255))
    }

    @Test(arguments: [StoreMode.durable])
    func `a rolling restart by drain fails no read and loses nothing`(_ mode: StoreMode) async throws {
        let settings = LocalCluster.calmElections + "\nshutdown_timeout: 40s\ncache: {drain_time: 10s}"
        try await LocalCluster.run(3, settings: settings) { cluster in
            _ = try await cluster.waitUntilSettled(hosts: 3)
            try await unleash(cluster)
            let readers = CacheReaders(cluster, kernels: 300)
            try await readers.fill(mode: mode)
            try await readers.during {
                // Until the nodes have in memory what is read.
                try await readers.more(3000)
                var parts = [readers.part()]
                try await readers.more(500)
                let before = readers.part()
                var restarts: [CacheReaders.Tally] = []
                for member in cluster.members {
                    let process = cluster.process(member.name)
                    process.signal(SIGTERM)
                    #expect(await process.wait(atMost: .seconds(60)) == 0, "\(member.name) does not stop well")
                    try cluster.start(member.name)
                    try await until("\(member.name) to be ready", within: .seconds(60)) {
                        try await onThread { Probe.get("/ready", port: member.probePort)?.status } == 200
                    }
                    _ = try await cluster.waitUntilSettled(hosts: 3)
                    try await readers.more(200)
                    restarts.append(readers.part())
                }
                parts += [before] + restarts
                for part in parts {
                    #expect(part.problems.isEmpty, "\(part.problems.count): \(part.problems.prefix(5))")
                    #expect(part.absent.isEmpty, "\(part.absent.count): \(part.absent.prefix(5))")
                }
                // What the node that comes back has forgotten costs no more than the design allows.
                for restart in restarts { #expect(before.memoryRatio - restart.memoryRatio <= 3, "\(restart)") }
                print("rolling restart, \(mode.name): before: \(before); during: \(restarts)")
            }
        }
    }

    @Test func `a node that joins under reads gets its share and no more, and nobody notices`() async throws {
        try await LocalCluster.run(3, settings: LocalCluster.calmElections) { cluster in
            let old = try await cluster.waitUntilSettled(hosts: 3)
            try await unleash(cluster)
            let readers = CacheReaders(cluster, kernels: 300)
            try await readers.fill(mode: .durable)
            try await readers.during {
                try await readers.more(200)
                try await cluster.grow(by: "n4")
                let places = try await cluster.waitUntilSettled(hosts: 4)
                try await readers.more(200)
                let moved = places.moved(since: old)
                #expect(moved <= 0.25 + 0.02, "\(moved) of the copies moved")
                let held = try #require(places.hosts.first { $0.name == "n4" }).held
                #expect(held >= (places.shards.count * places.copies / 4) * 9 / 10)
                let status = try await EsperProgram(
                    ["cache", "rebalance", "status", "--config", cluster.clientFile, "--output", "json"],
                    in: cluster.root
                ).result()
                #expect(status.code == 0, "\(status)")
                #expect((status.document?["moves"] as? [Any])?.isEmpty == true, "\(status.output)")
                #expect((status.document?["left_bytes"] as? NSNumber)?.uint64Value == 0, "\(status.output)")
                #expect((status.document?["epoch"] as? NSNumber)?.uint64Value == places.epoch, "\(status.output)")
                let part = readers.part()
                #expect(part.problems.isEmpty, "\(part.problems.count): \(part.problems.prefix(5))")
                #expect(part.absent.isEmpty, "\(part.absent.count): \(part.absent.prefix(5))")
                print("join: \(100 * moved) % of the copies moved; \(part)")
            }
        }
    }

    @Test func `once the wait after a drain ends, the node that was drained holds nothing`() async throws {
        try await LocalCluster.run(3, settings: LocalCluster.calmElections) { cluster in
            _ = try await cluster.waitUntilSettled(hosts: 3)
            try await unleash(cluster)
            func esper(_ words: String) async throws -> EsperProgram.Result {
                try await EsperProgram(
                    words.split(separator: " ").map(String.init) + ["--config", cluster.clientFile], in: cluster.root
                ).result(within: .seconds(120))
            }
            let drain = try await esper("cluster drain n3")
            #expect(drain.code == 0, "\(drain)")
            let wait = try await esper("cache rebalance status --wait")
            #expect(wait.code == 0, "\(wait)")
            let client = try cluster.cacheClient()
            defer { client.close() }
            let places = try await client.cache.shardPlaces()
            #expect(places.hosts.first { $0.name == "n3" }?.held == 0, "\(places.summary)")
        }
    }
}
