import ClusterSupport
import EsperProtocol
import Foundation
import GRPCTransport
import Glibc
import Identity
import NIOCore
import NIOPosix
import NIOSSL
import SwiftProtobuf
import Synchronization
import TestSupport
import Testing

/// What a client sees of a node that is told to stop.
@Suite(.timeLimit(.minutes(2)))
struct StopTests {
    @Test func `SIGTERM ends watches and waits at once with draining, and the node exits 0`() async throws {
        try await LocalCluster.run(3) { cluster in
            let leader = try await eventually("a leader") {
                cluster.members.first { cluster.log(of: $0.name).contains("electionWon") }?.name
            }
            let door = try await Door(leader, of: cluster)
            let holder: ProtoGrantResponse = try await door.call(
                .grantSession, ProtoGrantRequest.with { $0.ttlMs = 60_000 })
            let waiter: ProtoGrantResponse = try await door.call(
                .grantSession, ProtoGrantRequest.with { $0.ttlMs = 60_000 })
            let held: ProtoAcquireResponse = try await door.call(
                .acquireLock,
                ProtoAcquireRequest.with {
                    $0.name = "l"
                    $0.sessionID = holder.sessionID
                })
            #expect(held.granted)
            let watch = door.stream(
                ProtoMethod.watch.path, try ProtoWatchRequest.with { $0.range.prefix = Data() }.serializedBytes())
            let health = door.stream("/grpc.health.v1.Health/Watch", [])
            let wait = Task { () -> String in
                let request = ProtoAcquireRequest.with {
                    $0.name = "l"
                    $0.sessionID = waiter.sessionID
                    $0.waitMs = 60_000
                }
                do {
                    let answer: ProtoAcquireResponse = try await door.call(.acquireLock, request)
                    return "answered: \(answer)"
                } catch let failure as CallFailure {
                    return failure.reason
                }
            }
            try await until("both streams have begun and the wait stands") {
                // A watch says nothing until something happens.
                let put = ProtoPutRequest.with { $0.key = Data("k".utf8) }
                let _: ProtoPutResponse = try await door.call(.put, put)
                guard watch.messages > 0, health.messages > 0 else { return false }
                let locks: ProtoListLocksResponse = try await door.call(.listLocks, ProtoListLocksRequest())
                return locks.locks.first?.waitingSessionIds.count == 1
            }
            let clock = ContinuousClock()
            let start = clock.now
            cluster.process(leader).signal(SIGTERM)
            #expect(try await wait.value == "draining")
            try await until("the streams have ended") { watch.ending != nil && health.ending != nil }
            #expect(watch.ending == "draining")
            #expect(health.ending == "draining")
            #expect(await cluster.process(leader).wait(atMost: .seconds(10)) == 0)
            #expect(clock.now - start < .seconds(4))
        }
    }

    @Test func `a second SIGTERM ends the node at once`() async throws {
        try await LocalCluster.run(3, started: false) { cluster in
            // Alone of three it looks for somebody to hand over to, half of its time.
            try cluster.start("n1")
            let process = cluster.process("n1")
            try await until("the start") { cluster.log(of: "n1").contains("node started") }
            process.signal(SIGTERM)
            try await until("the stop") { cluster.log(of: "n1").contains("node stops") }
            process.signal(SIGTERM)
            #expect(await process.wait(atMost: .seconds(2)) == 1)
        }
    }
}

/// One connection to one node.
private final class Door: Sendable {
    /// How a stream went.
    final class Stream: Sendable {
        private let state = Mutex<(messages: Int, ending: String?)>((0, nil))

        var messages: Int { state.withLock { $0.messages } }
        /// The word of the failure, or "ok".
        var ending: String? { state.withLock { $0.ending } }

        func happened(_ event: ClientStreamEvent) {
            state.withLock { state in
                switch event {
                case .began: break
                case .message: state.messages += 1
                case .ended(.success): state.ending = "ok"
                case .ended(.failure(let failure)): state.ending = failure.reason
                }
            }
        }
    }

    private let connection: ClientConnection

    init(_ name: String, of cluster: LocalCluster) async throws {
        let credentials = try TLSCredentials(
            certificateFile: "\(cluster.root)/tester.pem", privateKeyFile: "\(cluster.root)/tester.key",
            authorityFile: "\(cluster.root)/ca.pem", now: Date())
        connection = try await ClientConnection.connect(
            host: "127.0.0.1", port: cluster.member(name).apiPort,
            tls: NIOSSLContext(configuration: credentials.apiClientConfiguration(applicationProtocols: ["h2"])),
            on: MultiThreadedEventLoopGroup.singleton.any()
        ).get()
    }

    func call<Response: Message>(_ method: ProtoMethod, _ request: some Message) async throws -> Response {
        let call = ClientCall(path: method.path, message: try request.serializedBytes(), timeout: .seconds(60))
        return try Response(serializedBytes: await connection.unary(call).get().message)
    }

    func stream(_ path: String, _ message: [UInt8]) -> Stream {
        let stream = Stream()
        _ = connection.open(ClientCall(path: path, message: message, timeout: nil), endsWithFirstMessage: true) {
            stream.happened($0)
        }
        return stream
    }
}

extension CallFailure {
    /// The node's own word for it, or the status.
    fileprivate var reason: String {
        let detail = metadata.bytes("esper-error-bin").flatMap { try? ProtoErrorDetail(serializedBytes: $0) }
        return detail?.code ?? "\(status)"
    }
}
