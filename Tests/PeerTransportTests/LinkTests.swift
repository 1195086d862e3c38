import Dispatch
import EsperTypes
import Identity
import NIOCore
import NIOSSL
import PeerTransport
import RaftCore
import Testing

@Suite(.timeLimit(.minutes(1))) struct LinkTests {
    private let authority: Authority

    init() throws { authority = try Authority() }

    private func pair(
        _ change: @Sendable @escaping (inout PeerOptions) -> Void = { _ in }
    ) async throws -> (TestNode, TestNode) {
        let one = try await TestNode.start(1, authority.credentials("n1"), change)
        let two = try await TestNode.start(2, authority.credentials("n2"), change)
        try await connect(one, two)
        return (one, two)
    }

    private func stop(_ nodes: TestNode...) async throws {
        for node in nodes { try await node.stop() }
    }

    @Test func `every frame reaches the other end as it was sent`() async throws {
        let (one, two) = try await pair()
        for (sender, receiver) in [(one, two), (two, one)] {
            let (from, to) = (sender.id, receiver.id)
            try await sender.run { transport in
                for frame in samples { #expect(transport.send(frame, to: to) == .queued) }
                transport.flush()
            }
            try await receiver.wait("all frames") { ($0.frames[from] ?? []).count == samples.count }
            let received = receiver.observed.now.frames[from] ?? []
            #expect(received.filter { $0.link == .main } == samples.filter { $0.link == .main })
            #expect(received.filter { $0.link == .bulk } == samples.filter { $0.link == .bulk })
        }
        try await stop(one, two)
    }

    @Test func `a hundred thousand small frames each way arrive in order and in batches`() async throws {
        let (one, two) = try await pair()
        let total = 100_000
        for (sender, receiver) in [(one, two), (two, one)] {
            let to = receiver.id
            try await sender.run { transport in
                for start in stride(from: 0, to: total, by: 1000) {
                    transport.eventLoop.assumeIsolated().execute {
                        for value in start..<start + 1000 {
                            #expect(transport.send(numbered(UInt64(value)), to: to) == .queued)
                        }
                        transport.flush()
                    }
                }
            }
        }
        for (sender, receiver) in [(one, two), (two, one)] {
            let from = sender.id
            try await receiver.wait("all frames") { ($0.frames[from] ?? []).count == total }
            let state = receiver.observed.now
            #expect(state.frames[from]!.compactMap(number(of:)) == (0..<UInt64(total)).map { $0 })
            #expect(state.batches < total / 10)
        }
        try await stop(one, two)
    }

    @Test func `frames of one turn leave in one write`() async throws {
        let (one, two) = try await pair()
        try await one.run { transport in
            for value: UInt64 in 0..<100 { transport.send(numbered(value), to: NodeID(2)) }
            #expect(transport.statistics.framesSent == 0)
            transport.flush()
            #expect(transport.statistics.framesSent == 100)
            #expect(transport.statistics.bytesSent == 2500)
        }
        try await two.wait("all frames") { $0.frames[NodeID(1)]?.count == 100 }
        #expect(two.observed.now.batches == 1)
        try await stop(one, two)
    }

    @Test func `nodes that start together have one link each`() async throws {
        for _ in 0..<10 {
            let one = try await TestNode.start(1, authority.credentials("n1"))
            let two = try await TestNode.start(2, authority.credentials("n2"))
            async let first: Void = one.meet(two)
            async let second: Void = two.meet(one)
            _ = try await (first, second)
            try await one.waitUntilUp(two)
            try await two.waitUntilUp(one)
            for node in [one, two] {
                #expect(
                    node.observed.now.observations.filter { if case .log = $0 { false } else { true } }.count == 1)
                #expect(try await node.statistics.linksUp == 1)
            }
            try await stop(one, two)
        }
    }

    @Test func `a peer that dies is reported at once and found again when it is back`() async throws {
        let (one, two) = try await pair()
        try await two.stop()
        try await one.wait("the end of the link") { $0.observations.contains(.down(NodeID(2), .closed)) }
        let back = try await TestNode.start(2, authority.credentials("n2"), members: [one.member], port: two.port)
        try await one.waitUntilUp(back, times: 2)
        try await back.waitUntilUp(one)
        try await one.run {
            $0.send(numbered(5), to: NodeID(2))
            $0.flush()
        }
        try await back.wait("a frame") { $0.frames[NodeID(1)] == [numbered(5)] }
        try await stop(one, back)
    }

    @Test func `a dialling peer that dies is reported at once and takes its place again`() async throws {
        let (one, two) = try await pair()
        try await one.stop()
        try await two.wait("the end of the link") { $0.observations.contains(.down(NodeID(1), .closed)) }
        let back = try await TestNode.start(1, authority.credentials("n1"), members: [two.member])
        try await two.waitUntilUp(back, times: 2)
        try await stop(back, two)
    }

    @Test func `a new link of the dialling end replaces one that our kernel believes in`() async throws {
        let two = try await TestNode.start(
            2, authority.credentials("n2"),
            members: [PeerMember(id: NodeID(1), name: "n1", host: "127.0.0.1", port: 9)])
        var greeting = ByteBuffer()
        Hello(
            cluster: TestNode.cluster, node: NodeID(1), addressee: NodeID(2), incarnation: Incarnation(1), link: .main,
            version: ""
        ).append(to: &greeting)
        var clients: [RawClient] = []
        for round in 1...2 {
            let client = try await RawClient.connect(
                to: two, tls: try authority.credentials("n1").peerClientConfiguration())
            client.send(greeting)
            clients.append(client)
            try await two.wait("link \(round)") { $0.observations.count { $0 == .up(NodeID(1)) } == round }
        }
        #expect(
            two.observed.now.observations.filter { if case .log = $0 { false } else { true } } == [
                .up(NodeID(1)), .down(NodeID(1), .replaced), .up(NodeID(1)),
            ])
        #expect(try await clients[0].closed().count == 1)
        try await clients[1].close()
        try await two.stop()
    }

    @Test func `stopping reports every link down and closes every channel`() async throws {
        let (one, two) = try await pair()
        try await one.stop()
        #expect(one.observed.now.observations.contains(.down(NodeID(2), .stopped)))
        #expect(try await one.run { $0.openChannels } == 0)
        try await two.stop()
    }

    @Test func `a member that leaves the table loses its link, and so does one whose line changes`() async throws {
        let (one, two) = try await pair()
        try await two.run { $0.updateMembers([]) }
        try await two.wait("removal") { $0.observations.contains(.down(NodeID(1), .removed)) }
        try await one.waitForDown(two)
        try await two.meet(one)
        try await two.waitUntilUp(one, times: 2)
        var moved = one.member
        moved.port = 9
        let members = [moved]
        try await two.run { $0.updateMembers(members) }
        try await two.wait("change") { $0.observations.count { $0 == .down(NodeID(1), .removed) } == 2 }
        try await two.waitUntilUp(one, times: 3)
        try await two.run { $0.updateMembers(members) }
        #expect(two.observed.now.observations.count { $0 == .down(NodeID(1), .removed) } == 2)
        try await stop(one, two)
    }

    @Test func `a member that was removed is told so, by the end of its link and at every later attempt`() async throws
    {
        let (one, two) = try await pair()
        try await two.run { $0.updateMembers([], firstUnassigned: NodeID(3)) }
        try await one.wait("the reason") { $0.observations.contains(.excluded(by: NodeID(2), .removed)) }
        try await two.waitForLog("peer connection refused", containing: "was removed from the cluster")
        try await one.waitForLog("peer dial failed", containing: "esper cluster add")
        try await stop(one, two)
    }

    @Test func `the accepting end learns too that its disk is not the member's`() async throws {
        let two = try await TestNode.start(2, authority.credentials("n2"), incarnation: 8)
        var member = two.member
        member.incarnation = Incarnation(7)
        let one = try await TestNode.start(1, authority.credentials("n1"), members: [member])
        try await two.meet(one)
        try await two.wait("the reason") { $0.observations.contains(.excluded(by: NodeID(1), .otherDisk)) }
        try await one.waitForLog("peer dial failed", containing: "esper cluster remove")
        try await stop(one, two)
    }

    // MARK: Bounds

    @Test func `without a link frames are dropped and counted`() async throws {
        let one = try await TestNode.start(1, authority.credentials("n1"))
        try await one.run { transport in
            #expect(transport.send(numbered(1), to: NodeID(2)) == .dropped(.linkDown))
            #expect(transport.statistics.dropped == [.linkDown: 1])
        }
        try await one.stop()
    }

    @Test func `a full queue drops entries, keeps room for heartbeats and loses nothing that it took`() async throws {
        let (one, two) = try await pair { $0.mainQueueBytes = 100_000 }
        let batch = append(entries(1...10, payloadBytes: 1000))
        let taken = try await one.run { transport in
            var taken = 0
            while transport.send(batch, to: NodeID(2)) == .queued { taken += 1 }
            #expect(transport.send(batch, to: NodeID(2)) == .dropped(.queueFull))
            #expect(
                transport.send(
                    .forward(Term(1), [ForwardedProposal(token: 1, envelope: [UInt8](repeating: 0, count: 9000))]),
                    to: NodeID(2)
                )
                    == .dropped(.queueFull))
            #expect(transport.send(append([]), to: NodeID(2)) == .queued)
            #expect(transport.statistics.dropped == [.queueFull: 3])
            #expect(transport.status[0].queuedBytes <= 100_100)
            transport.flush()
            return taken
        }
        #expect(taken == 9)
        try await two.wait("what was taken") { $0.frames[NodeID(1)]?.count == taken + 1 }
        try await one.run { #expect($0.send(batch, to: NodeID(2)) == .queued) }
        try await stop(one, two)
    }

    @Test func `a frame above its limits is refused alone`() async throws {
        let (one, two) = try await pair()
        try await one.run { transport in
            let proposal = ForwardedProposal(token: 1, envelope: [UInt8](repeating: 0, count: Limits.entryPayloadBytes))
            #expect(
                transport.send(.forward(Term(1), [ForwardedProposal](repeating: proposal, count: 129)), to: NodeID(2))
                    == .dropped(.tooLarge))
            // What the other end's decoder would call malformed never leaves: it would cost the link.
            for frame: PeerFrame in [
                append(entries(1...1, payloadBytes: Limits.entryPayloadBytes + 1)),
                .forward(
                    Term(1),
                    [ForwardedProposal(token: 1, envelope: [UInt8](repeating: 0, count: Limits.entryPayloadBytes + 1))]),
                .ask(1, [UInt8](repeating: 0, count: PeerFrame.maximumQuestionBytes + 1)),
                .answer(1, [UInt8](repeating: 0, count: PeerFrame.maximumQuestionBytes + 1)),
                chunk(bytes: Limits.snapshotChunkBytes + 1),
            ] { #expect(transport.send(frame, to: NodeID(2)) == .dropped(.tooLarge)) }
            #expect(transport.send(numbered(1), to: NodeID(2)) == .queued)
            transport.flush()
        }
        try await two.wait("the small one") { $0.frames[NodeID(1)] == [numbered(1)] }
        try await stop(one, two)
    }

    @Test func `a snapshot that fills its link takes no room from the main link, and nothing there comes behind it`()
        async throws
    {
        let (one, two) = try await pair()
        let chunk = chunk(bytes: Limits.snapshotChunkBytes)
        // The receiver looks when all has been sent. On the sender's own loop it does so anyway.
        let stall = DispatchSemaphore(value: 0)
        if one.loop !== two.loop { two.loop.execute { stall.wait() } }
        defer { stall.signal() }
        let chunks = try await one.run { transport in
            var chunks = 0
            while transport.send(chunk, to: NodeID(2)) == .queued { chunks += 1 }
            #expect(transport.send(numbered(1), to: NodeID(2)) == .queued)
            #expect(transport.statistics.dropped == [.queueFull: 1])
            transport.flush()
            return chunks
        }
        #expect(chunks == 4)
        stall.signal()
        try await two.wait("everything") { $0.frames[NodeID(1)]?.count == chunks + 1 }
        // The chunks were sent first and are megabytes. Each link is read a little in its turn, so the heartbeat waits for a part of them.
        let place = two.observed.now.frames[NodeID(1)]?.firstIndex(of: numbered(1))
        #expect(place ?? chunks < 2, "it came behind \(place ?? chunks) chunks")
        try await stop(one, two)
    }

    // MARK: Fault injection

    @Test func `an isolated node is silent in both directions and its links stay open`() async throws {
        let (one, two) = try await pair()
        let before = try await one.run { transport in
            transport.isolate(true)
            return transport.statistics.bytesReceived
        }
        try await one.run { #expect($0.send(numbered(1), to: NodeID(2)) == .dropped(.partitioned)) }
        try await two.run {
            #expect($0.send(numbered(2), to: NodeID(1)) == .queued)
            $0.flush()
        }
        let lostBytes = encoded(numbered(2)).readableBytes
        try await one.poll("the lost frame to arrive") { $0.statistics.bytesReceived == before + lostBytes }
        try await one.run { $0.isolate(false) }
        try await two.run {
            $0.send(numbered(3), to: NodeID(1))
            $0.flush()
        }
        try await one.wait("the frame after") { $0.frames[NodeID(2)] == [numbered(3)] }
        for node in [one, two] {
            #expect(node.observed.now.observations.allSatisfy { if case .down = $0 { false } else { true } })
        }
        try await stop(one, two)
    }

    @Test func `a blocked peer gets no new link until it is let in again`() async throws {
        let (one, two) = try await pair()
        let three = try await TestNode.start(3, authority.credentials("n3"))
        try await one.run { $0.block([NodeID(3)]) }
        try await one.meet(two, three)
        try await three.meet(one)
        try await one.run { transport in
            #expect(transport.send(numbered(1), to: NodeID(2)) == .queued)
            #expect(transport.status.map(\.isUp) == [true, false])
        }
        try await one.run { $0.block([]) }
        try await one.waitUntilUp(three)
        try await stop(one, two, three)
    }

    // MARK: Certificates

    @Test func `new certificates serve the links made after them`() async throws {
        let (one, two) = try await pair()
        let other = try Authority()
        let trusting = try authority.credentials("n2", trusting: [other])
        try await two.run { try $0.updateCredentials(trusting) }
        try await one.stop()
        try await two.waitForDown(one)
        let back = try await TestNode.start(
            1, other.credentials("n1", trusting: [authority]), members: [two.member])
        try await two.waitUntilUp(back, times: 2)
        try await stop(back, two)
    }
}
