import ClusterSupport
import Dispatch
import EsperClient
import Foundation
import Identity
import PeerTransport
import Synchronization
import TestSupport
import Testing

/// What no program of ours sends, on every port of every node of a cluster that serves meanwhile.
@Suite(.timeLimit(.minutes(3)))
struct GarbageTests {
    /// What every node may grow by: buffers, threads' stacks and allocator slack, not what a leak would bring.
    private static let growth = 48 << 20
    /// Far longer than a busy machine lets a process wait: an election is the strangers' doing.
    private static let settings = "raft: {heartbeat: 500ms, election_timeout: 5s}"

    @Test func `strangers' bytes on every port are closed and counted, and the cluster serves on`() async throws {
        try await undisturbed { cluster in
            var generator = SplitMix(state: 7)
            var visits: [(port: Int, bytes: [UInt8])] = []
            for port in cluster.members.flatMap({ [$0.peerPort, $0.apiPort, $0.probePort] }) {
                visits += Garbage.samples.map { (port, $0) }
                visits += (0..<60).map { _ in (port, Garbage.random(&generator)) }
            }
            let all = visits.shuffled(using: &generator)
            await onThread {
                DispatchQueue.concurrentPerform(iterations: all.count) { visit in
                    let (port, bytes) = all[visit]
                    #expect(Garbage.send(bytes, to: port), "port \(port) kept a connection open")
                }
            }
            for member in cluster.members {
                let text = try await metrics(of: member)
                let expected = Garbage.samples.count + 60
                #expect(sum("esper_peer_connections_refused_total", in: text) == expected)
                #expect(sum("esper_api_connections_refused_total", in: text) == expected)
            }
        }
    }

    @Test func `nonsense under a node's certificate never becomes a link`() async throws {
        try await undisturbed { cluster in
            let rounds = 20
            for member in cluster.members {
                // As one of its peers, and as a node that the authority knows and the cluster does not.
                let peer = try #require(cluster.members.first { $0.name != member.name })
                try cluster.issue(.node, name: "stranger", hosts: ["127.0.0.1"])
                for name in [peer.name, "stranger"] {
                    let tls = try credentials(name, cluster).peerClientConfiguration()
                    for bytes in Garbage.peerFrames(from: peer, to: member) {
                        for _ in 0..<rounds / 2 {
                            let raw = try await RawConnection.open(port: member.peerPort, tls: tls)
                            raw.send(bytes)
                            await raw.closed(goodbye: bytes.count < 16)
                        }
                    }
                }
                let expected = Garbage.peerFrames(from: peer, to: member).count * rounds
                try await until("\(expected) refusals") {
                    sum("esper_peer_connections_refused_total", in: try await metrics(of: member)) == expected
                }
            }
        }
    }

    @Test func `nonsense under a client's certificate is answered with an error or closed`() async throws {
        try await undisturbed { cluster in
            var tls = try credentials("tester", cluster).apiClientConfiguration(applicationProtocols: ["h2"])
            let rounds = 20
            for member in cluster.members {
                for bytes in Garbage.http2 {
                    for _ in 0..<rounds {
                        let raw = try await RawConnection.open(port: member.apiPort, tls: tls)
                        raw.send(bytes)
                        await raw.closed()
                    }
                }
                let failed = sum("esper_grpc_server_connections_failed_total", in: try await metrics(of: member))
                #expect(failed == Garbage.http2.count * rounds)
            }
            tls = try credentials("tester", cluster).apiClientConfiguration(applicationProtocols: ["http/1.1"])
            for member in cluster.members {
                for body in Garbage.bodies {
                    for _ in 0..<rounds {
                        let raw = try await RawConnection.open(port: member.apiPort, tls: tls)
                        raw.send(
                            Array(
                                """
                                POST /v1/kv/put HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r
                                Content-Length: \(body.count)\r\nConnection: close\r\n\r\n
                                """.utf8) + body)
                        #expect(await raw.closed().hasPrefix("HTTP/1.1 400 "))
                    }
                }
                let raw = try await RawConnection.open(port: member.apiPort, tls: tls)
                raw.send(Array("\u{1}\u{2} no request at all\r\n\r\n".utf8))
                #expect(await raw.closed().hasPrefix("HTTP/1.1 200 ") == false)
                let refused = #"esper_api_http_requests_total{status="4xx"}"#
                #expect(
                    sum(refused, in: try await metrics(of: member)) >= Garbage.bodies.count * rounds)
            }
        }
    }

    // MARK: - The cluster meanwhile

    /// Does `body` to a cluster that serves puts, and judges how the cluster took it.
    private func undisturbed(_ body: (LocalCluster) async throws -> Void) async throws {
        try await LocalCluster.run(3, settings: Self.settings) { cluster in
            let leader = try await cluster.leader()
            try await until("word of \(leader) everywhere") {
                roles(in: cluster).allSatisfy { $0?.contains("leader=\(leader)") == true }
            }
            let client = try EsperClient(settingsFile: cluster.clientFile)
            defer { client.close() }
            _ = try await client.put([1], [2])
            let before = cluster.members.map { cluster.process($0.name).residentBytes }
            let told = roles(in: cluster)
            let lost = lostLinks(of: cluster)
            // Told, not cancelled: the last put is awaited like all others.
            let isOver = Atomic(false)
            let puts = Task {
                var number = 0
                while !isOver.load(ordering: .relaxed) {
                    number += 1
                    _ = try await client.put([1], Array("\(number)".utf8))
                    await pause(.milliseconds(5))
                }
                return number
            }
            do { try await body(cluster) } catch {
                puts.cancel()
                throw error
            }
            isOver.store(true, ordering: .relaxed)
            // Every one of them was acknowledged.
            let number = try await puts.value
            #expect(number > 1)
            #expect(try await client.get([1]).0?.value == Array("\(number)".utf8))
            // That what clients send cannot delay heartbeats at all is shown by NonsenseTests, where no loop but the clients' own comes round.
            #expect(roles(in: cluster) == told)
            #expect(lostLinks(of: cluster) == lost)
            for (member, bytes) in zip(cluster.members, before) {
                #expect(await cluster.process(member.name).wait(atMost: .zero) == nil, "\(member.name) stopped")
                #expect(cluster.process(member.name).residentBytes < bytes + Self.growth)
            }
        }
    }

    /// What each node said last of its role, its term and its leader, and when.
    private func roles(in cluster: LocalCluster) -> [Substring?] {
        cluster.members.map { cluster.log(of: $0.name).split(separator: "\n").last { $0.contains("role changed") } }
    }

    /// How often a node has said that it lost a link to another.
    private func lostLinks(of cluster: LocalCluster) -> Int {
        cluster.members.reduce(0) { $0 + cluster.log(of: $1.name).components(separatedBy: "peer link down").count - 1 }
    }

    private func credentials(_ name: String, _ cluster: LocalCluster) throws -> TLSCredentials {
        try TLSCredentials(
            certificateFile: "\(cluster.root)/\(name).pem", privateKeyFile: "\(cluster.root)/\(name).key",
            authorityFile: cluster.root + "/ca.pem", now: Date())
    }

    private func metrics(of member: LocalCluster.Member) async throws -> String {
        try await onThread { Probe.get("/metrics", port: member.probePort)?.body } ?? ""
    }

    /// The sum of a counter over its labels.
    private func sum(_ counter: String, in text: String) -> Int {
        text.split(separator: "\n").filter { $0.hasPrefix(counter) }
            .compactMap { $0.split(separator: " ").last.flatMap { Double($0) } }
            .reduce(0) { $0 + Int($1) }
    }
}
