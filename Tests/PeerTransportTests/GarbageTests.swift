import EsperTypes
import Identity
import NIOCore
import NIOSSL
import PeerTransport
import RaftCore
import Testing

@Suite(.timeLimit(.minutes(1))) struct GarbageTests {
    private let authority: Authority

    init() throws { authority = try Authority() }

    /// Node 10, with node 5 linked to it: whatever the others send, that link must not notice.
    private func pair(
        _ change: @Sendable @escaping (inout PeerOptions) -> Void = { _ in }
    ) async throws -> (target: TestNode, friend: TestNode) {
        let target = try await TestNode.start(10, authority.credentials("n10"), change)
        let friend = try await TestNode.start(5, authority.credentials("n5"))
        try await connect(friend, target)
        return (target, friend)
    }

    private func expectUndisturbed(_ target: TestNode, _ friend: TestNode) async throws {
        try await friend.run {
            $0.send(numbered(99), to: NodeID(10))
            $0.flush()
        }
        try await target.wait("a frame of the friend") { $0.frames[NodeID(5)] == [numbered(99)] }
        #expect(try await target.statistics.unauthenticated == 0)
        #expect(try await target.statistics.linksUp == 1)
        #expect(target.observed.now.observations.allSatisfy { if case .down = $0 { false } else { true } })
        try await friend.stop()
        try await target.stop()
    }

    private static let garbage: [(String, [UInt8])] = {
        var generator = SplitMix64(seed: 1)
        let random = (0..<4096).map { _ in UInt8.random(in: 0...255, using: &generator) }
        return [
            ("random bytes", random),
            ("plaintext HTTP", Array("GET /metrics HTTP/1.1\r\nHost: n10\r\n\r\n".utf8)),
            ("a frame of ours without TLS", Array(encoded(numbered(1)).readableBytesView)),
            ("zeroes", [UInt8](repeating: 0, count: 4096)),
        ]
    }()

    @Test(arguments: garbage.map(\.0))
    func `bytes that are no TLS close the connection and are counted`(kind: String) async throws {
        let (target, friend) = try await pair()
        let bytes = Self.garbage.first { $0.0 == kind }!.1
        let client = try await RawClient.connect(to: target)
        client.send(ByteBuffer(bytes: bytes))
        #expect(try await client.closed() == [])
        try await target.waitForLog("peer connection refused", containing: "TLS handshake failed")
        #expect(try await target.statistics.refused == ["tls": 1])
        try await expectUndisturbed(target, friend)
    }

    @Test func `half a TLS handshake is closed at the deadline`() async throws {
        let (target, friend) = try await pair { $0.handshakeDeadline = .milliseconds(500) }
        let client = try await RawClient.connect(to: target)
        // The record header of a ClientHello that promises 512 bytes, then four of them.
        client.send(ByteBuffer(bytes: [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc]))
        #expect(try await client.closed() == [])
        try await target.waitForLog("peer connection refused", containing: "took too long")
        #expect(try await target.statistics.refused["deadline", default: 0] >= 1)
        try await expectUndisturbed(target, friend)
    }

    @Test func `silence after the TLS handshake is closed at the deadline`() async throws {
        let (target, friend) = try await pair { $0.handshakeDeadline = .milliseconds(500) }
        let client = try await RawClient.connect(
            to: target, tls: try authority.credentials("n5").peerClientConfiguration())
        #expect(try await client.closed() == [])
        try await target.waitForLog("peer connection refused", containing: "took too long")
        try await expectUndisturbed(target, friend)
    }

    @Test func `a caller that leaves in the middle is forgotten`() async throws {
        let (target, friend) = try await pair()
        let client = try await RawClient.connect(to: target)
        client.send(ByteBuffer(bytes: [0x16, 3, 1]))
        try await client.close()
        try await target.waitForLog("peer connection refused", containing: "closed before")
        #expect(try await target.statistics.refused == ["abandoned": 1])
        try await expectUndisturbed(target, friend)
    }

    private static let violations: [(String, ByteBuffer)] = {
        var wrongChecksum = encoded(numbered(1))
        wrongChecksum.setInteger(0 as UInt32, at: 4)
        var tooLong = ByteBuffer()
        tooLong.writeInteger(2 << 30 - 1 as UInt32, endianness: .little)
        tooLong.writeInteger(0 as UInt32)
        return [
            ("wrong checksum", wrongChecksum), ("a frame of 2147483647 bytes", tooLong),
            ("unknown frame kind 127", sealed([0x7f])), ("malformed frame", sealed([FrameKind.timeoutNow.rawValue])),
        ]
    }()

    @Test(arguments: violations.map(\.0))
    func `nonsense within TLS, before or after the greeting, closes the connection with its reason`(
        reason: String
    ) async throws {
        let (target, friend) = try await pair()
        let bytes = Self.violations.first { $0.0 == reason }!.1
        let early = try await RawClient.connect(
            to: target, tls: try authority.credentials("n7").peerClientConfiguration())
        early.send(bytes)
        #expect(try await early.closed() == [])
        try await target.waitForLog("peer connection refused", containing: reason)
        #expect(try await target.statistics.refused == ["protocol_violation": 1])

        try await target.run {
            $0.updateMembers([
                PeerMember(id: NodeID(5), name: "n5", host: "127.0.0.1", port: friend.port),
                PeerMember(id: NodeID(7), name: "n7", host: "127.0.0.1", port: 9),
            ])
        }
        let late = try await RawClient.connect(
            to: target, tls: try authority.credentials("n7").peerClientConfiguration())
        var greeting = ByteBuffer()
        Hello(
            cluster: TestNode.cluster, node: NodeID(7), addressee: NodeID(10), incarnation: Incarnation(1), link: .main,
            version: ""
        ).append(to: &greeting)
        late.send(greeting)
        late.send(encoded(numbered(7)))
        late.send(bytes)
        #expect(try await late.closed().count == 1)
        try await target.wait("link down of the liar") { state in
            state.observations.contains {
                if case .down(NodeID(7), .protocolViolation(let text)) = $0 { text.contains(reason) } else { false }
            }
        }
        // What came before the nonsense was good and is delivered.
        #expect(target.observed.now.frames[NodeID(7)] == [numbered(7)])
        try await friend.run {
            $0.send(numbered(99), to: NodeID(10))
            $0.flush()
        }
        try await target.wait("a frame of the friend") { $0.frames[NodeID(5)] == [numbered(99)] }
        try await friend.stop()
        try await target.stop()
    }

    @Test func `a frame in place of the greeting is refused`() async throws {
        let (target, friend) = try await pair()
        let client = try await RawClient.connect(
            to: target, tls: try authority.credentials("n5").peerClientConfiguration())
        client.send(encoded(numbered(1)))
        #expect(try await client.closed() == [])
        try await target.waitForLog("peer connection refused", containing: "does not belong here")
        try await expectUndisturbed(target, friend)
    }

    @Test func `a flood of connections evicts the oldest and locks nobody out`() async throws {
        let (target, friend) = try await pair { $0.maximumUnauthenticated = 4 }
        var clients: [RawClient] = []
        for _ in 0..<12 { clients.append(try await RawClient.connect(to: target)) }
        try await target.waitForLog("peer connection refused", containing: "too many connections")
        for client in clients[..<8] { #expect(try await client.closed() == []) }
        #expect(try await target.statistics.refused == ["flood": 8])
        #expect(try await target.statistics.unauthenticated == 4)
        // A peer still gets in.
        let seven = try await TestNode.start(7, authority.credentials("n7"), members: [target.member])
        try await target.run {
            $0.updateMembers([
                PeerMember(id: NodeID(5), name: "n5", host: "127.0.0.1", port: friend.port), seven.member,
            ])
        }
        try await target.waitUntilUp(seven)
        for client in clients { try await client.close() }
        try await seven.stop()
        try await friend.stop()
        try await target.stop()
    }

    @Test func `a thousand junk connections leave nothing behind`() async throws {
        let (target, friend) = try await pair()
        for _ in 0..<50 {
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<20 {
                    group.addTask {
                        let client = try await RawClient.connect(to: target)
                        client.send(ByteBuffer(string: "junk, and not even long\n"))
                        _ = try await client.closed()
                    }
                }
                try await group.waitForAll()
            }
        }
        #expect(try await target.statistics.refused.values.reduce(0, +) == 1000)
        #expect(try await target.run { $0.openChannels } == 2)
        try await expectUndisturbed(target, friend)
    }
}
