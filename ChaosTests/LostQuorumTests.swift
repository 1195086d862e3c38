import ClusterSupport
import EsperClient
import EsperProtocol
import EsperTypes
import Synchronization
import TestSupport
import Testing

/// Too many nodes are gone: nothing is promised, and nothing promised is broken.
@Suite(.timeLimit(.minutes(4)))
struct LostQuorumTests {
    /// Who is left.
    enum Survivor: CaseIterable { case leader, follower }

    @Test(arguments: Survivor.allCases)
    func `without a majority nothing is committed or read, and with one service returns by itself`(
        _ survivor: Survivor
    ) async throws {
        try await LocalCluster.run(3) { cluster in
            let observatory = Observatory(cluster)
            let leader = try await observatory.leader()
            let left = cluster.members.first { ($0.name == leader) == (survivor == .leader) }!.name
            let killed = cluster.members.map(\.name).filter { $0 != left }
            let client = try cluster.client(timeout: .seconds(2))
            try await client.put(.init("before"), .init("here"))
            try await observatory.waitUntilCaughtUp(left)
            await cluster.kill(killed)

            let door = try await observatory.door(left)
            async let outcomes = attempts(client)
            // Asked at once, while the survivor may still believe that it leads, and later.
            for _ in 0..<10 {
                await #expect(throws: NodeDoor.Refusal.self) {
                    try await door.get("before", within: .milliseconds(150))
                }
            }
            #expect(try await door.value(of: "before", local: true) == "here")
            let tried = await outcomes
            #expect(tried.count == 32)
            for (key, outcome) in tried { #expect(outcome != .committed, "\(key) without a majority") }
            await #expect(throws: EsperError.self) { try await client.get(.init("before")) }

            try cluster.start(killed[0])
            try await until("service to return") {
                (try? await client.put(.init("after"), .init("back"))) != nil
            }
            #expect(try await client.get(.init("before")).0?.value.text == "here")
            for (key, outcome) in tried where outcome == .notCommitted {
                #expect(try await client.get(.init(key)).0 == nil, "\(key) was said not to be committed")
            }
            client.close()
        }
    }

    /// Puts under way together, and what became of each.
    private func attempts(_ client: EsperClient) async -> [(key: String, outcome: Outcome)] {
        await withTaskGroup(of: (key: String, outcome: Outcome).self) { group in
            for number in 0..<32 {
                group.addTask {
                    let key = "during/\(number)"
                    do throws(EsperError) {
                        return (key, try await client.put(.init(key), .init("lost?")).outcome)
                    } catch {
                        return (key, error.outcome)
                    }
                }
            }
            return await group.reduce(into: []) { $0.append($1) }
        }
    }

    @Test func `all three killed in the midst of writes lose nothing that was acknowledged`() async throws {
        try await LocalCluster.run(3) { cluster in
            let observatory = Observatory(cluster)
            _ = try await observatory.leader()
            let writers = try Writers(cluster)
            async let work: Void = writers.work()
            for round in 1...3 {
                let goal = writers.acknowledged.count + 300
                try await until("writes in round \(round)") { writers.acknowledged.count >= goal }
                await cluster.kill(cluster.members.map(\.name))
                for member in cluster.members { try cluster.start(member.name) }
                _ = try await observatory.leader()
            }
            let goal = writers.acknowledged.count + 300
            try await until("writes at the end") { writers.acknowledged.count >= goal }
            writers.stop()
            await work
            for member in cluster.members {
                try await observatory.waitUntilCaughtUp(member.name)
                let found = try await observatory.door(member.name).pairs(under: Writers.prefix)
                let lost = writers.acknowledged.filter { found[$0.key]?.modRevision != $0.value }
                #expect(lost.isEmpty, "\(member.name) lost \(lost.count) of \(writers.acknowledged.count)")
            }
        }
    }
}

/// Clients that put a new key each time until they are stopped.
final class Writers: Sendable {
    static let prefix = "written/"

    private let clients: [EsperClient]
    private let state = Mutex<(acknowledged: [String: UInt64], isStopped: Bool)>(([:], false))

    init(_ cluster: LocalCluster, count: Int = 8) throws {
        clients = try (0..<count).map { _ in try cluster.client() }
    }

    /// Keys and the revisions that were promised.
    var acknowledged: [String: UInt64] { state.withLock { $0.acknowledged } }

    func work() async {
        await withTaskGroup(of: Void.self) { group in
            for (number, client) in clients.enumerated() { group.addTask { await self.work(number, client) } }
        }
    }

    func stop() { state.withLock { $0.isStopped = true } }

    private func work(_ number: Int, _ client: EsperClient) async {
        var count = 0
        while !state.withLock({ $0.isStopped }), !Task.isCancelled {
            count += 1
            let key = "\(Self.prefix)\(number)/\(count)"
            if let commit = try? await client.put(.init(key), .init("\(count)")) {
                state.withLock { $0.acknowledged[key] = commit.revision }
            }
        }
        client.close()
    }
}
