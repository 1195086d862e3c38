import ClusterSupport
import EsperClient
import EsperProtocol
import Glibc
import Synchronization
import TestSupport
import Testing

/// PostgreSQL goes away under load, and the leader dies meanwhile: coordination goes on, and the audit trail is whole.
@Suite(
    .enabled(if: PrivatePostgreSQL.isInstalled, "PostgreSQL is not installed"),
    .timeLimit(.minutes(ChaosDuration.outage / 20 + 5)))
struct CatalogOutageTests {
    enum Outage: CaseIterable {
        /// Nobody answers, connections stay open.
        case hangs
        /// Connections break and nobody listens.
        case stopped
        /// Nobody answers, and the leader sleeps (SIGSTOP) until another has written: its transaction is in PostgreSQL's
        /// socket when that wakes.
        case hangsAndLeaderSleeps
    }

    private static let workers = 8

    /// What the workers have begun, and when they shall stop.
    private final class Progress: Sendable {
        private let begun = Atomic(0)
        private let isOver = Atomic(false)

        var commands: Int { begun.load(ordering: .relaxed) }
        func end() { isOver.store(true, ordering: .relaxed) }

        func countsAndIsOver() -> Bool {
            begun.add(1, ordering: .relaxed)
            return isOver.load(ordering: .relaxed)
        }
    }

    @Test(arguments: Outage.allCases)
    func `every event of an outage is in the catalog once and in order`(_ outage: Outage) async throws {
        try await withPrivatePostgreSQL { server in
            let settings = """
                catalog: {url: "host=\(server.socketDirectory) port=\(server.port) user=esper dbname=esper"}
                audit_prefixes: ["\(AuditedWorker.prefix)"]
                """
            try await LocalCluster.run(3, settings: settings) { cluster in
                let observatory = Observatory(cluster)
                try await until("the catalog to be reached") {
                    await observatory.status(of: try await observatory.leader())?.catalog == "ok"
                }
                let progress = Progress()
                async let work = work(cluster, progress)
                try await until("events before the outage") { progress.commands >= 200 }

                let begun = (at: ContinuousClock.now, commands: progress.commands)
                try await begin(outage, server)
                try await until("the cluster to say that the catalog is away", within: .seconds(20)) {
                    await observatory.status(of: try await observatory.leader())?.catalog == "degraded"
                }
                await pause(max(.zero, begun.at + .seconds(ChaosDuration.outage) / 2 - .now))
                let lost = try await observatory.leader()
                try await lose(lost, cluster, observatory, outage)
                await pause(max(.zero, begun.at + .seconds(ChaosDuration.outage) - .now))
                let during = progress.commands - begun.commands
                try await end(outage, server)
                try await wake(lost, cluster, observatory, outage)

                let afterwards = progress.commands + 200
                try await until("events after the outage") { progress.commands >= afterwards }
                progress.end()
                let known = try await work
                let back = ContinuousClock.now
                try await waitUntilWritten(known, observatory, server)

                let trail = try await AuditTrail(server)
                let problems = trail.problems(knowing: known)
                #expect(problems.isEmpty, "\(problems.count) problems: \(problems.prefix(5))")
                expectWork(known, during, trail)
                print(
                    "catalog \(outage) for \(ChaosDuration.outage) s: \(during) commands during it, \(trail.rows.count)",
                    "events for \(known.acknowledged.count) acknowledgements, \(known.unknown) outcomes unknown,",
                    "refused: \(known.refused); all written \(ContinuousClock.now - back) after the load")
            }
        }
    }

    private func begin(_ outage: Outage, _ server: PrivatePostgreSQL) async throws {
        switch outage {
        case .hangs, .hangsAndLeaderSleeps: try server.pause()
        case .stopped: try await server.stopServer()
        }
    }

    /// In the middle of the outage.
    private func lose(
        _ leader: String, _ cluster: LocalCluster, _ observatory: Observatory, _ outage: Outage
    ) async throws {
        switch outage {
        case .hangs, .stopped:
            await cluster.kill(leader)
            _ = try await observatory.leader(except: [leader])
            try cluster.start(leader)
            try await observatory.waitUntilCaughtUp(leader)
        case .hangsAndLeaderSleeps:
            cluster.process(leader).signal(SIGSTOP)
            _ = try await observatory.leader(except: [leader])
        }
    }

    private func end(_ outage: Outage, _ server: PrivatePostgreSQL) async throws {
        switch outage {
        case .hangs, .hangsAndLeaderSleeps: try server.resume()
        case .stopped: try await server.startServer()
        }
    }

    private func wake(
        _ sleeper: String, _ cluster: LocalCluster, _ observatory: Observatory, _ outage: Outage
    ) async throws {
        guard outage == .hangsAndLeaderSleeps else { return }
        try await until("the new leader to write the catalog") {
            let leader = try await observatory.leader(except: [sleeper])
            return await observatory.status(of: leader)?.catalog == "ok"
        }
        cluster.process(sleeper).signal(SIGCONT)
        try await observatory.waitUntilCaughtUp(sleeper)
    }

    private func work(_ cluster: LocalCluster, _ progress: Progress) async throws -> AuditedWork {
        // A short outage is a dense one; a long one need not fill the disk.
        let rhythm = Duration.milliseconds(min(100, max(5, ChaosDuration.outage / 6)))
        return try await withThrowingTaskGroup(of: AuditedWork.self) { group in
            for number in 1...Self.workers {
                let client = try cluster.client()
                group.addTask {
                    var worker = AuditedWorker(number, client)
                    await worker.work(until: { progress.countsAndIsOver() }, rhythm: rhythm)
                    client.close()
                    return worker.work
                }
            }
            return try await group.reduce(into: AuditedWork()) { $0.merge($1) }
        }
    }

    /// Until nothing waits in the outbox, and the last event that we know of is there.
    private func waitUntilWritten(
        _ work: AuditedWork, _ observatory: Observatory, _ server: PrivatePostgreSQL
    ) async throws {
        let last = work.acknowledged.values.max() ?? 0
        try await until("the outbox to drain", within: .seconds(60)) {
            guard let status = await observatory.status(of: try await observatory.leader()) else { return false }
            return status.outboxPending == 0 && status.catalog == "ok"
        }
        try await until("event \(last) to be written") {
            let written = try await server.sql("SELECT log_index FROM esper.outbox_progress")
            return UInt64(written) ?? 0 >= last
        }
    }

    /// A run in which little happened proves little.
    private func expectWork(_ work: AuditedWork, _ during: Int, _ trail: AuditTrail) {
        #expect(during >= 20 * ChaosDuration.outage / (1 + ChaosDuration.outage / 60))
        let kinds = Set(work.acknowledged.keys.map(\.kind))
        #expect(
            kinds == [
                "key.put", "lock.acquired", "lock.released", "election.won", "election.resigned", "session.granted",
            ])
        #expect(trail.rows.count { $0.kind == "leadership.started" } >= 2)
        #expect(work.refused["outbox_full"] == nil)
    }
}
