import ClusterSupport
import EsperClient
import EsperProtocol
import EsperTypes
import Simulation
import TestSupport
import Testing

/// Sixteen clients at work while the leader dies again and again.
@Suite(.timeLimit(.minutes(ChaosDuration.kills / 30 + 4)))
struct LeaderKillTests {
    private static let clients = 16
    private static let period = Duration.seconds(5)
    /// Snapshots and compaction every few seconds, so that nodes that come back meet them too.
    private static let settings = "raft: {snapshot_after: 1MiB, segment_size: 1MiB}"
    /// More than this and judging takes longer than recording; a longer run goes slower instead.
    private static let maximumOperations = 1_000_000

    @Test func `leaders killed under load lose nothing, and the history is linearizable`() async throws {
        try await LocalCluster.run(3, settings: Self.settings) { cluster in
            let observatory = Observatory(cluster)
            _ = try await observatory.leader()
            let (recorder, store) = (Recorder(), GuardedStore())
            let seconds = ChaosDuration.kills
            let end = ContinuousClock.now + .seconds(seconds)
            let rhythm = max(.milliseconds(1), .seconds(seconds) * Self.clients / Self.maximumOperations)

            async let kills = killLeaders(of: cluster, observatory, recorder, until: end)
            let acknowledged = try await work(cluster, recorder, store, until: end, rhythm: rhythm)
            let killed = try await kills
            for member in cluster.members { try await observatory.waitUntilCaughtUp(member.name) }
            try await readEverything(cluster, recorder)

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
            expectWork(recorder, store, killed, acknowledged.count, seconds)
        }
    }

    /// - Returns: what was acknowledged, of all clients.
    private func work(
        _ cluster: LocalCluster, _ recorder: Recorder, _ store: GuardedStore, until end: ContinuousClock.Instant,
        rhythm: Duration
    ) async throws -> [String: (value: String, revision: UInt64)] {
        try await withThrowingTaskGroup(of: [String: (value: String, revision: UInt64)].self) { group in
            for number in 1...Self.clients {
                let client = try cluster.client()
                group.addTask {
                    var worker = MixedWorker(number, client, recorder, store)
                    await worker.work(until: end, rhythm: rhythm)
                    client.close()
                    return worker.acknowledged
                }
            }
            return try await group.reduce(into: [:]) { $0.merge($1) { old, _ in old } }
        }
    }

    private func readEverything(_ cluster: LocalCluster, _ recorder: Recorder) async throws {
        let client = try cluster.client()
        var reader = MixedWorker(0, client, recorder, GuardedStore())
        await reader.readAll()
        client.close()
    }

    /// Every five seconds: SIGKILL for whoever leads, and a new start a second later.
    private func killLeaders(
        of cluster: LocalCluster, _ observatory: Observatory, _ recorder: Recorder, until end: ContinuousClock.Instant
    ) async throws -> Int {
        var next = ContinuousClock.now + .seconds(2)
        var kills = 0
        while next + .seconds(1) < end {
            await pause(max(.zero, next - .now))
            next += Self.period
            let start = recorder.now()
            let leader = try await observatory.leader()
            await cluster.kill(leader)
            await pause(.seconds(1))
            try cluster.start(leader)
            recorder.recordFault("kill", leader, since: start)
            kills += 1
            // Another kill before that would leave two of three down.
            try await observatory.waitUntilCaughtUp(leader)
        }
        return kills
    }

    /// A run in which little happened proves little.
    private func expectWork(
        _ recorder: Recorder, _ store: GuardedStore, _ kills: Int, _ ownPuts: Int, _ seconds: Int
    ) {
        let counts = [
            ("puts", recorder.count("register", "write"), 20), ("gets", recorder.count("register", "read"), 20),
            ("compare-and-sets", recorder.count("register", "cas"), 3), ("puts of own keys", ownPuts, 15),
            ("grants", recorder.count("lock", "acquire"), 2), ("releases", recorder.count("lock", "release"), 2),
            ("guarded writes", store.report.writes, 4),
        ]
        for (what, count, perSecond) in counts {
            #expect(count >= perSecond * seconds, "only \(count) \(what) in \(seconds) s")
        }
        #expect(kills >= max(1, (seconds - 3) / 5))
        let figures = counts.map { "\($0.1) \($0.0)" }.joined(separator: ", ")
        print("\(kills) leaders killed in \(seconds) s; \(figures), \(store.report.refused) refused;")
        print("at most \(recorder.longestSilence) without any answer")
    }
}
