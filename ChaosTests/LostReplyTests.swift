import ClusterSupport
import EsperClient
import EsperProtocol
import Foundation
import GRPCTransport
import SwiftProtobuf
import TestSupport
import Testing

/// Whoever lost the answer asks again under the same request id, and gets the first answer.
@Suite(.timeLimit(.minutes(3)))
struct LostReplyTests {
    /// Which node's answer is lost.
    enum Asked: CaseIterable { case leader, follower }

    private struct Scene {
        var cluster: LocalCluster
        /// Reaches one node; its answers can be lost.
        var proxy: LossyProxy
        var lossy: NodeDoor
        /// Reach the other two nodes.
        var others: [NodeDoor]
        var client: UInt64

        func id(_ sequence: UInt64) -> ProtoRequestID {
            .with { ($0.clientID, $0.sequence, $0.acknowledgedThrough) = (client, sequence, sequence - 1) }
        }
    }

    private func withScene(_ asked: Asked, _ body: (Scene) async throws -> Void) async throws {
        try await LocalCluster.run(3) { cluster in
            let observatory = Observatory(cluster)
            let leader = try await observatory.leader()
            let name = cluster.members.first { ($0.name == leader) == (asked == .leader) }!.name
            let others = cluster.members.map(\.name).filter { $0 != name }
            let proxy = try await LossyProxy.start(to: cluster.member(name).apiListenPort)
            let scene = Scene(
                cluster: cluster, proxy: proxy,
                lossy: try await NodeDoor.open(name, of: cluster, port: proxy.port),
                others: [try await observatory.door(others[0]), try await observatory.door(others[1])],
                client: try await register(at: try await observatory.door(name)))
            try await body(scene)
            try await proxy.stop()
        }
    }

    private func register(at door: NodeDoor) async throws -> UInt64 {
        let response: ProtoRegisterClientResponse = try await door.call(.registerClient, ProtoRegisterClientRequest())
        return response.clientID
    }

    /// Expects that a call arrives and its answer does not.
    private func expectLost(_ call: () async throws -> Void) async {
        do {
            try await call()
            Issue.record("the answer came through")
        } catch {
            let refusal = error as? NodeDoor.Refusal
            #expect(refusal?.failure.mayHaveArrived == true && refusal?.outcome == nil, "\(error)")
        }
    }

    @Test(arguments: Asked.allCases)
    func `a put whose answer was lost is done once, and every retry gets the first answer`(_ asked: Asked) async throws
    {
        try await withScene(asked) { scene in
            scene.proxy.loseReplies()
            async let lost: Void = expectLost {
                try await scene.lossy.put("once", "first", id: scene.id(1), within: .seconds(10))
            }
            let written = try await eventually("the put to go through") { try await scene.others[0].get("once") }
            scene.proxy.recover()
            await lost
            let first = try await scene.others[0].put("once", "first", id: scene.id(1))
            #expect(first.outcome == .committed && first.revision == written.modRevision)

            // Others write meanwhile: the answer stays what it was, and so does what they wrote.
            try await scene.others[1].put("once", "second")
            let again = try await scene.others[1].put("once", "first", id: scene.id(1))
            #expect(again == first)
            let now = try #require(try await scene.others[0].get("once"))
            #expect(Array(now.value).text == "second" && now.version == 2)
        }
    }

    @Test func `the first answer outlives every process`() async throws {
        try await withScene(.leader) { scene in
            scene.proxy.loseReplies()
            async let lost: Void = expectLost {
                try await scene.lossy.put("once", "first", id: scene.id(1), within: .seconds(10))
            }
            let written = try await eventually("the put to go through") { try await scene.others[0].get("once") }
            await scene.cluster.kill(scene.cluster.members.map(\.name))
            await lost
            for member in scene.cluster.members { try scene.cluster.start(member.name) }
            let observatory = Observatory(scene.cluster)
            for member in scene.cluster.members { try await observatory.waitUntilCaughtUp(member.name) }
            for member in scene.cluster.members {
                let again = try await observatory.door(member.name).put("once", "first", id: scene.id(1))
                #expect(again.revision == written.modRevision)
            }
            let next = try await observatory.door("n1").put("once", "next", id: scene.id(2))
            #expect(next.revision > written.modRevision)
            #expect(try await observatory.door("n2").get("once")?.version == 2)
        }
    }

    @Test func `a transaction whose answer was lost says what it said then, not what it would say now`() async throws {
        try await withScene(.leader) { scene in
            let request = ProtoTxnRequest.with {
                $0.requestID = scene.id(1)
                $0.compares = [.with { ($0.key, $0.target, $0.number) = (.init("new".utf8), .version, 0) }]
                $0.success = [.with { $0.put = .with { ($0.key, $0.value) = (.init("new".utf8), .init("1".utf8)) } }]
            }
            scene.proxy.loseReplies()
            async let lost: Void = expectLost {
                let _: ProtoTxnResponse = try await scene.lossy.call(.transact, request, within: .seconds(10))
            }
            let written = try await eventually("the transaction to go through") { try await scene.others[0].get("new") }
            scene.proxy.recover()
            await lost
            let answer: ProtoTxnResponse = try await scene.others[0].call(.transact, request)
            #expect(answer.succeeded && answer.commit.revision == written.modRevision)
            #expect(try await scene.others[1].get("new")?.version == 1)
        }
    }

    @Test func `a lock whose grant was lost is granted to the retry with the same token`() async throws {
        try await withScene(.leader) { scene in
            let session: ProtoGrantResponse = try await scene.others[0].call(
                .grantSession, ProtoGrantRequest.with { ($0.requestID, $0.ttlMs) = (scene.id(1), 60_000) })
            let request = ProtoAcquireRequest.with {
                ($0.requestID, $0.name, $0.sessionID) = (scene.id(2), "lock", session.sessionID)
            }
            scene.proxy.loseReplies()
            async let lost: Void = expectLost {
                let _: ProtoAcquireResponse = try await scene.lossy.call(.acquireLock, request, within: .seconds(10))
            }
            let held = try await eventually("the lock to be held") {
                let list: ProtoListLocksResponse = try await scene.others[0].call(.listLocks, ProtoListLocksRequest())
                return list.locks.first
            }
            scene.proxy.recover()
            await lost
            let grant: ProtoAcquireResponse = try await scene.others[1].call(.acquireLock, request)
            #expect(grant.granted && grant.fencingToken == held.fencingToken)
        }
    }

    @Test func `the client does it by itself`() async throws {
        try await LocalCluster.run(3, proxied: true) { cluster in
            var proxies: [LossyProxy] = []
            for member in cluster.members {
                proxies.append(try await LossyProxy.start(on: member.apiPort, to: member.apiListenPort))
            }
            let observatory = Observatory(cluster)
            let door = try await observatory.door(try await observatory.leader())
            let client = try cluster.client()
            try await client.put(.init("warm"), .init("up"))
            for number in 0..<10 {
                let key = "once/\(number)"
                for proxy in proxies { proxy.loseReplies() }
                async let answer = client.put(.init(key), .init("value"))
                let written = try await eventually("the put to go through") { try await door.get(key) }
                for proxy in proxies { proxy.recover() }
                #expect(try await answer.revision == written.modRevision)
                #expect(try await door.get(key)?.version == 1)
            }
            client.close()
            for proxy in proxies { try await proxy.stop() }
        }
    }
}
