import EsperTypes
import FoundationEssentials
import Identity
import NIOCore
import NIOSSL
import PeerTransport
import RaftCore
import Testing

/// Node 10 listens and knows node 5, which dials it as the lower id.
@Suite(.timeLimit(.minutes(1))) struct RefusalTests {
    private let authority: Authority
    private static let five = NodeID(5)

    init() throws { authority = try Authority() }

    private func target(
        now: Date = today, incarnation: Incarnation? = nil,
        _ change: @Sendable @escaping (inout PeerOptions) -> Void = { _ in }
    ) async throws -> TestNode {
        let five = PeerMember(id: Self.five, name: "n5", host: "127.0.0.1", port: 9, incarnation: incarnation)
        return try await TestNode.start(10, authority.credentials("n10"), members: [five], now: now, change)
    }

    /// Lets a node dial the target and expects that the target refuses it for the reason, counts it and says so.
    private func expectRefusal(
        _ reason: String, log: String, of credentials: TLSCredentials, id: UInt64 = 5,
        cluster: ClusterID = TestNode.cluster, incarnation: UInt64? = nil, calling called: UInt64 = 10,
        target: TestNode
    ) async throws {
        let dialler = try await TestNode.start(
            id, credentials, cluster: cluster, incarnation: incarnation,
            members: [PeerMember(id: NodeID(called), name: "n10", host: "127.0.0.1", port: target.port)])
        try await target.waitForLog("peer connection refused", containing: log)
        #expect(try await target.statistics.refused[reason, default: 0] >= 1)
        #expect(try await target.statistics.linksUp == 0)
        #expect(target.observed.now.observations.allSatisfy { if case .up = $0 { false } else { true } })
        try await dialler.waitForLog("peer dial failed", containing: "")
        try await dialler.stop()
        try await target.stop()
    }

    @Test func `a certificate of another authority is refused`() async throws {
        let other = try Authority()
        try await expectRefusal(
            "unknown_authority", log: "issued by an authority we do not trust",
            of: try other.credentials("n5", trusting: [authority]), target: try await target())
    }

    @Test func `an expired certificate is refused`() async throws {
        try await expectRefusal(
            "expired", log: "expired at", of: try authority.credentials("n5", validFor: day),
            target: try await target(now: today + 2 * day))
    }

    @Test func `a client's certificate is refused`() async throws {
        try await expectRefusal(
            "not_a_node", log: "spiffe://esper.local/client/n5",
            of: try authority.credentials("n5", role: .client), target: try await target())
    }

    @Test func `a node of another cluster is refused`() async throws {
        try await expectRefusal(
            "cluster", log: "another cluster: 00000000000000c2", of: try authority.credentials("n5"),
            cluster: ClusterID(0xc2), target: try await target())
    }

    @Test func `a name that is no member is refused`() async throws {
        try await expectRefusal(
            "unknown_name", log: "no member: n6", of: try authority.credentials("n6"), target: try await target())
    }

    @Test func `a member's name with another node id is refused`() async throws {
        try await expectRefusal(
            "wrong_node", log: "n5 is 0000000000000005, not 0000000000000004", of: try authority.credentials("n5"),
            id: 4, target: try await target())
    }

    @Test func `another life of a member's disk is refused`() async throws {
        try await expectRefusal(
            "incarnation", log: "0000000000000002, not 0000000000000001", of: try authority.credentials("n5"),
            incarnation: 2, target: try await target(incarnation: Incarnation(1)))
    }

    @Test func `a dial meant for another node is refused`() async throws {
        try await expectRefusal(
            "misaddressed", log: "meant for another node", of: try authority.credentials("n5"), calling: 11,
            target: try await target())
    }

    @Test func `without a table entry for its life the first one is kept to`() async throws {
        let target = try await target()
        let first = try await TestNode.start(5, authority.credentials("n5"), incarnation: 1, members: [target.member])
        try await target.waitUntilUp(first)
        try await first.stop()
        try await target.waitForDown(first)
        let second = try await TestNode.start(5, authority.credentials("n5"), incarnation: 2, members: [target.member])
        try await target.waitForLog("peer connection refused", containing: "another life")
        try await second.waitForLog("peer dial failed", containing: "the peer refuses us: another life")
        try await second.stop()
        try await target.stop()
    }

    // MARK: The dialling end judges too

    private func expectDialRefusal(_ reason: String, log: String, of credentials: TLSCredentials) async throws {
        let listener = try await TestNode.start(10, credentials)
        let dialler = try await TestNode.start(
            5, authority.credentials("n5"),
            members: [PeerMember(id: NodeID(10), name: "n10", host: "127.0.0.1", port: listener.port)])
        try await dialler.waitForLog("peer dial failed", containing: log)
        #expect(try await dialler.statistics.dialsFailed[reason, default: 0] >= 1)
        #expect(try await dialler.statistics.linksUp == 0)
        try await dialler.stop()
        try await listener.stop()
    }

    @Test func `a listener of another authority is not talked to`() async throws {
        try await expectDialRefusal(
            "unknown_authority", log: "issued by an authority we do not trust",
            of: try Authority().credentials("n10", trusting: [authority]))
    }

    @Test func `a client's certificate cannot listen`() async throws {
        try await expectDialRefusal(
            "wrong_usage", log: "may not be used for this end", of: try authority.credentials("n10", role: .client))
    }

    // MARK: What only a program made for it sends

    private func greeting(_ change: (inout Hello) -> Void) -> ByteBuffer {
        var hello = Hello(
            cluster: TestNode.cluster, node: Self.five, addressee: NodeID(10), incarnation: Incarnation(1), link: .main,
            version: "raw")
        change(&hello)
        var buffer = ByteBuffer()
        hello.append(to: &buffer)
        return buffer
    }

    @Test func `a dial in the wrong direction is refused`() async throws {
        let target = try await TestNode.start(
            10, authority.credentials("n10"),
            members: [PeerMember(id: NodeID(20), name: "n20", host: "127.0.0.1", port: 9)])
        let client = try await RawClient.connect(
            to: target, tls: try authority.credentials("n20").peerClientConfiguration())
        client.send(greeting { $0.node = NodeID(20) })
        #expect(try await client.closed() == [.refusal(.direction)])
        try await target.waitForLog("peer connection refused", containing: "the lower node id dials")
        try await target.stop()
    }

    /// The lower id dials, and nobody dials a node that was removed; so it asks.
    @Test func `a node with the highest id that was removed while it was away is told so`() async throws {
        let former = try await TestNode.start(20, authority.credentials("n20")) {
            $0.inquiryInterval = .milliseconds(100)
        }
        let remaining = try await TestNode.start(10, authority.credentials("n10"))
        try await former.meet(remaining)
        try await remaining.run { $0.updateMembers([], firstUnassigned: NodeID(21)) }
        let id = remaining.id
        try await former.wait("exclusion") { $0.observations.contains(.excluded(by: id, .removed)) }
        try await former.stop()
        try await remaining.stop()
    }

    @Test func `a node that asks and is a member is dialled`() async throws {
        let high = try await TestNode.start(20, authority.credentials("n20")) { $0.inquiryInterval = .milliseconds(50) }
        let low = try await TestNode.start(10, authority.credentials("n10"))
        try await high.meet(low)
        let highMember = high.member
        try await low.run { $0.isolate(true) }
        try await low.run { $0.updateMembers([highMember]) }
        try await low.run { $0.isolate(false) }
        try await high.waitUntilUp(low)
        #expect(!high.observed.now.observations.contains { if case .excluded = $0 { true } else { false } })
        try await high.stop()
        try await low.stop()
    }

    @Test func `a peer without a version in common is told so`() async throws {
        let target = try await target()
        let client = try await RawClient.connect(
            to: target, tls: try authority.credentials("n5").peerClientConfiguration())
        client.send(greeting { ($0.lowest, $0.highest) = (7, 9) })
        #expect(try await client.closed() == [.refusal(.version)])
        try await target.waitForLog("peer connection refused", containing: "it speaks 7 to 9")
        try await target.stop()
    }

    @Test func `a caller without a certificate is refused`() async throws {
        let target = try await target()
        var configuration = try authority.credentials("n5").peerClientConfiguration()
        configuration.certificateChain = []
        configuration.privateKey = nil
        let client = try await RawClient.connect(to: target, tls: configuration)
        #expect(try await client.closed() == [])
        try await target.waitForLog("peer connection refused", containing: "")
        #expect(try await target.statistics.refused == ["tls": 1])
        try await target.stop()
    }

    @Test func `TLS 1_2 is refused`() async throws {
        let target = try await target()
        var configuration = try authority.credentials("n5").peerClientConfiguration()
        configuration.minimumTLSVersion = .tlsv12
        configuration.maximumTLSVersion = .tlsv12
        let client = try await RawClient.connect(to: target, tls: configuration)
        #expect(try await client.closed() == [])
        try await target.waitForLog("peer connection refused", containing: "TLS")
        #expect(try await target.statistics.refused == ["tls": 1])
        try await target.stop()
    }
}
