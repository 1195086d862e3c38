import ClusterSupport
import EsperClient
import EsperProtocol
import EsperTypes
import Synchronization
import TestSupport
import Testing

/// Some nodes, sixteen clients at work on them, and what the clients were told.
struct LoadedCluster {
    let cluster: LocalCluster
    let observatory: Observatory
    let recorder = Recorder()

    private let store = GuardedStore()
    private let end: ContinuousClock.Instant
    private let faults = Faults()

    /// Whether more harm is to come.
    private final class Faults: Sendable {
        private let over = Mutex(false)

        var areOver: Bool { over.withLock { $0 } }

        func ended() { over.withLock { $0 = true } }
    }

    private static let clients = 16
    /// More than this and judging takes longer than recording; a longer run goes slower instead.
    private static let maximumOperations = 1_000_000
    /// Snapshots and compaction every few seconds, so that nodes that come back meet them too.
    private static let settings = "snapshot_after: 1MiB, segment_size: 1MiB"

    private typealias Acknowledged = [String: (value: String, revision: UInt64)]

    /// Has the clients work while `faults` does its harm, and judges what they were told. The load lasts as long as the
    /// environment says, and longer when `faults` does.
    ///
    /// - Parameters:
    ///   - raft: more settings of the nodes, as a YAML flow mapping has them.
    ///   - faults: is given the moment at which the load ends if nothing holds it up, and leaves every node running.
    static func endure(
        nodes: Int = 3, raft: String = "",
        _ faults: @Sendable (LoadedCluster, _ end: ContinuousClock.Instant) async throws -> String
    ) async throws {
        try await LocalCluster.run(nodes, settings: "raft: {\(settings)\(raft)}") { cluster in
            let observatory = Observatory(cluster)
            _ = try await observatory.leader()
            let loaded = LoadedCluster(
                cluster: cluster, observatory: observatory, end: .now + .seconds(ChaosDuration.load))
            async let told = {
                defer { loaded.faults.ended() }
                return try await faults(loaded, loaded.end)
            }()
            let acknowledged = try await loaded.work()
            let what = try await told
            for member in cluster.members { try await observatory.waitUntilCaughtUp(member.name) }
            try await loaded.judge(acknowledged)
            loaded.expectWork(acknowledged.count, what)
        }
    }

    private init(cluster: LocalCluster, observatory: Observatory, end: ContinuousClock.Instant) {
        self.cluster = cluster
        self.observatory = observatory
        self.end = end
    }

    private func work() async throws -> Acknowledged {
        let rhythm = max(.milliseconds(1), .seconds(ChaosDuration.load) * Self.clients / Self.maximumOperations)
        return try await withThrowingTaskGroup(of: Acknowledged.self) { group in
            for number in 1...Self.clients {
                let client = try cluster.client()
                group.addTask {
                    var worker = MixedWorker(number, client, recorder, store)
                    await worker.work(rhythm: rhythm) { .now >= end && faults.areOver }
                    client.close()
                    return worker.acknowledged
                }
            }
            return try await group.reduce(into: [:]) { $0.merge($1) { old, _ in old } }
        }
    }

    private func judge(_ acknowledged: Acknowledged) async throws {
        let client = try cluster.client()
        var reader = MixedWorker(0, client, recorder, store)
        await reader.readAll()
        client.close()
        for member in cluster.members {
            let found = try await observatory.door(member.name).pairs(under: MixedWorker.ownPrefix)
            let lost = acknowledged.filter { key, put in
                guard let pair = found[key] else { return true }
                return pair.modRevision != put.revision || pair.version != 1 || Array(pair.value).text != put.value
            }
            #expect(lost.isEmpty, "\(member.name) lost acknowledged puts, or holds others")
        }
        try await recorder.judge()
        #expect(store.report.problems == [])
    }

    /// A run in which little happened proves little.
    private func expectWork(_ ownPuts: Int, _ faults: String) {
        let seconds = ChaosDuration.load
        let counts = [
            ("puts", recorder.count("register", "write"), 20), ("gets", recorder.count("register", "read"), 20),
            ("compare-and-sets", recorder.count("register", "cas"), 3), ("puts of own keys", ownPuts, 15),
            ("grants", recorder.count("lock", "acquire"), 2), ("releases", recorder.count("lock", "release"), 2),
            ("guarded writes", store.report.writes, 4),
        ]
        for (what, count, perSecond) in counts {
            #expect(count >= perSecond * seconds, "only \(count) \(what) in \(seconds) s")
        }
        let figures = counts.map { "\($0.1) \($0.0)" }.joined(separator: ", ")
        print(
            "\(faults) in \(seconds) s: \(figures), \(store.report.refused) refused; \(recorder.unknown) outcomes",
            "unknown; at most \(recorder.longestSilence) without any answer")
    }
}
