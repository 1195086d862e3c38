import ClusterSupport
import EsperClient
import EsperProtocol
import EsperTypes
import Foundation
import GRPCTransport
import Identity
import NIOCore
import NIOPosix
import NIOSSL
import SwiftProtobuf
import TestSupport
import Testing

/// The gRPC services of real nodes, through our client and bare calls, and what their probes and metrics say meanwhile.
@Suite(.timeLimit(.minutes(3)))
struct ServiceTests {
    private func client(_ cluster: LocalCluster, timeout: Duration = .seconds(20)) throws -> EsperClient {
        var options = ClientOptions()
        options.timeout = timeout
        return try EsperClient(settingsFile: cluster.clientFile, options: options)
    }

    /// Waits until the node says that it is ready.
    private func ready(_ cluster: LocalCluster, _ name: String) async throws {
        try await until("\(name) to be ready") { await probe(cluster, name, "/ready")?.status == 200 }
    }

    private func probe(_ cluster: LocalCluster, _ name: String, _ path: String) async -> Probe? {
        let port = cluster.member(name).probePort
        return (try? await onThread { Probe.get(path, port: port) }) ?? nil
    }

    /// A connection that knows nothing of leaders and retries.
    private func connect(_ cluster: LocalCluster, to name: String) async throws -> ClientConnection {
        let credentials = try TLSCredentials(
            certificateFile: "\(cluster.root)/tester.pem", privateKeyFile: "\(cluster.root)/tester.key",
            authorityFile: "\(cluster.root)/ca.pem", now: Date())
        let context = try NIOSSLContext(
            configuration: credentials.apiClientConfiguration(applicationProtocols: ["h2"]))
        return try await ClientConnection.connect(
            host: "127.0.0.1", port: cluster.member(name).apiPort, tls: context,
            on: MultiThreadedEventLoopGroup.singleton.any()
        ).get()
    }

    @Test func `an election is observed whatever its name, from its leader on, also when its past is compacted`()
        async throws
    {
        try await LocalCluster.run(1) { cluster in
            let client = try client(cluster)
            defer { client.close() }
            let session = try await client.openSession(ttl: .seconds(60))
            for (number, name) in ["plain", "a/b", "a%2Fb", "100%", "/"].enumerated() {
                if number == 2 {
                    let commit = try await client.put([1], [1])
                    _ = try await client.compact(commit.revision)
                }
                var changes = client.observe(name).makeAsyncIterator()
                let before = try await changes.next()
                #expect(before != nil && before?.leadership == nil, "\(name)")
                let answer = try await client.campaign(name, value: [7], session: session.id, wait: .seconds(5))
                #expect(answer.elected)
                #expect(try await changes.next()?.leadership?.value == [7], "\(name)")
                try await client.resign(name, session: session.id)
                let after = try await changes.next()
                #expect(after != nil && after?.leadership == nil, "\(name)")
            }
            try await session.close()
        }
    }

    @Test func `a silent watch says how far it has come, and goes on there after a compaction`() async throws {
        try await LocalCluster.run(1) { cluster in
            let client = try client(cluster)
            defer { client.close() }
            var watch = client.watch(
                .prefix([9]), progress: true, progressInterval: .milliseconds(200)
            ).makeAsyncIterator()
            let begin = try #require(try await watch.next())
            #expect(begin.events.isEmpty)
            // Nothing of this is watched.
            var last = begin.revision
            for number in UInt8(0)..<20 { last = try await client.put([1, number], [1]).revision }
            var seen = begin
            while seen.revision < last { seen = try #require(try await watch.next()) }
            #expect(seen.events.isEmpty)
            _ = try await client.compact(last)
            await cluster.kill("n1")
            try cluster.start("n1")
            let next = try await client.put([9, 1], [2]).revision
            while seen.events.isEmpty { seen = try #require(try await watch.next()) }
            #expect(seen.events.map(\.pair.modRevision) == [next])
        }
    }

    @Test func `a short wait for a lock ends in a clean answer with its holder, over gRPC and HTTP alike`() async throws
    {
        try await LocalCluster.run(3) { cluster in
            let client = try client(cluster)
            defer { client.close() }
            let first = try await client.openSession(ttl: .seconds(60))
            let second = try await client.openSession(ttl: .seconds(60))
            let held = try await client.acquire("train", session: first.id, wait: .zero)
            #expect(held.token != nil)
            for wait in [Duration.zero, .milliseconds(1), .milliseconds(20)] {
                let grant = try await client.acquire("train", session: second.id, wait: wait)
                #expect(grant.token == nil && grant.holder == first.id, "waiting \(wait)")
                #expect(try await client.locks().map(\.waiting) == [[]])
            }
            let won = try await client.campaign("e", value: [3], session: first.id, wait: .zero)
            #expect(won.elected && won.leadership?.session == first.id && won.leadership?.value == [3])
            let lost = try await client.campaign("e", value: [4], session: second.id, wait: .milliseconds(1))
            #expect(!lost.elected && lost.leadership?.session == first.id && lost.leadership?.value == [3])
            try await client.release("train", session: first.id)
            #expect(try await client.acquire("train", session: second.id, wait: .zero).token != nil)
            try await first.close()
            try await second.close()
        }
    }

    @Test func `work under a lock is cancelled when the lock is released, and a cancelled task frees its lock at once`()
        async throws
    {
        try await LocalCluster.run(3) { cluster in
            let client = try client(cluster)
            defer { client.close() }
            /// Takes the lock and holds it until it is cancelled, long before its time to live is over.
            func hold() async throws -> (Task<Void, any Error>, LockGrant) {
                let (grants, begun) = AsyncStream.makeStream(of: LockGrant.self, bufferingPolicy: .bufferingNewest(1))
                let task = Task {
                    try await client.withLock("a/b", ttl: .seconds(600), wait: .seconds(20)) { grant in
                        begun.yield(grant)
                        try await until("the cancellation", within: .seconds(120)) { false }
                    }
                }
                var iterator = grants.makeAsyncIterator()
                return (task, try #require(await iterator.next()))
            }
            let (first, grant) = try await hold()
            try await client.release("a/b", session: grant.session)
            let loss = await #expect(throws: EsperError.self) { try await first.value }
            #expect(loss?.code == EsperError.Code.lockLost)
            let (second, next) = try await hold()
            #expect(try #require(next.token) > #require(grant.token))
            second.cancel()
            await #expect(throws: CancellationError.self) { try await second.value }
            let session = try await client.openSession(ttl: .seconds(60))
            #expect(try await client.acquire("a/b", session: session.id, wait: .zero).token != nil)
            #expect(try await client.sessions().map(\.id) == [session.id])
            try await session.close()
        }
    }

    @Test func `a refused call names the leader and where its API answers`() async throws {
        try await LocalCluster.run(3) { cluster in
            for member in cluster.members { try await ready(cluster, member.name) }
            let client = try client(cluster)
            defer { client.close() }
            let status = try await client.status()
            let leader = try #require(status.members.first { $0.name == status.leader })
            let follower = try #require(cluster.members.first { $0.name != leader.name })
            let connection = try await connect(cluster, to: follower.name)
            let request = ProtoTransferLeadershipRequest.with { $0.target = "nobody" }
            let result = await connection.unary(
                ClientCall(
                    path: ProtoMethod.transferLeadership.path, message: try request.serializedBytes(),
                    timeout: .seconds(10)))
            connection.close()
            guard case .failure(let failure) = result else {
                Issue.record("handed leadership to nobody")
                return
            }
            let bytes = try #require(failure.metadata.bytes("esper-error-bin"))
            let detail = try ProtoErrorDetail(serializedBytes: bytes)
            #expect(detail.leaderName == leader.name)
            #expect(detail.leaderEndpoint == "127.0.0.1:\(cluster.member(leader.name).apiPort)")
        }
    }

    @Test func `probes of both kinds follow a node from start to quorum to the loss of it`() async throws {
        try await LocalCluster.run(3, started: false) { cluster in
            try cluster.start("n1")
            try await until("the listener") { await probe(cluster, "n1", "/health")?.status == 200 }
            let alone = try #require(await probe(cluster, "n1", "/ready"))
            #expect(alone.status == 503)
            #expect(alone.body.contains("raft: no leader is known"))
            let connection = try await connect(cluster, to: "n1")
            defer { connection.close() }
            func health() async -> [UInt8]? {
                let call = ClientCall(path: "/grpc.health.v1.Health/Check", message: [], timeout: .seconds(5))
                return try? await connection.unary(call).get().message
            }
            let (serving, notServing): ([UInt8], [UInt8]) = ([8, 1], [8, 2])
            #expect(await health() == notServing)
            try cluster.start("n2")
            try cluster.start("n3")
            try await ready(cluster, "n1")
            #expect(await health() == serving)
            // There is no catalog: ready all the same, and said.
            let ready = try #require(await probe(cluster, "n1", "/ready"))
            #expect(ready.body.contains("catalog: no catalog is configured"))
            await cluster.kill(["n2", "n3"])
            // One of the two may have led for a moment after the other was gone: both words change more than once.
            try await until("the loss of the quorum") {
                guard await probe(cluster, "n1", "/ready")?.status == 503 else { return false }
                return await health() == notServing
            }
            #expect(await probe(cluster, "n1", "/health")?.status == 200)
        }
    }

    @Test func `calls are counted by method and status, connections while they are open`() async throws {
        try await LocalCluster.run(1) { cluster in
            try await ready(cluster, "n1")
            let connection = try await connect(cluster, to: "n1")
            func call(_ path: String, _ message: [UInt8] = []) async {
                _ = await connection.unary(ClientCall(path: path, message: message, timeout: .seconds(5)))
            }
            await call(ProtoMethod.status.path)
            await call(ProtoMethod.put.path, [0xff])
            await call("/made.up/Name")
            func metric(_ text: String) async throws {
                try await until(text) { await probe(cluster, "n1", "/metrics")?.body.contains(text) ?? false }
            }
            try await metric(#"esper_grpc_server_calls_total{method="esper.v1.Cluster/Status",status="ok"} 1"#)
            try await metric(#"esper_grpc_server_calls_total{method="esper.v1.KV/Put",status="invalid_argument"} 1"#)
            try await metric(#"esper_grpc_server_calls_total{method="unknown",status="unimplemented"} 1"#)
            try await metric("esper_grpc_server_connections 1")
            connection.close()
            try await metric("esper_grpc_server_connections 0")
            try await metric("esper_grpc_server_streams 0")
        }
    }
}
