import APIDoor
import EsperProtocol
import Foundation
import GRPCTransport
import NIOCore
import RaftRuntime
import SwiftProtobuf
import Synchronization
import TestSupport
import Testing

/// Watches whose reader does not read: what they hold, and that nothing is missed.
@Suite(.serialized, .timeLimit(.minutes(2)))
struct UnreadWatchTests {
    /// One watch and what it brought; unread until ``read()``.
    private final class Watch: Sendable {
        private struct State {
            var stream: ClientStream?
            var isRead: Bool
            var unreadBytes: [Int] = []
            var messages = 0
            var revisions: [UInt64] = []
            var failure: CallFailure?
        }

        private let state: Mutex<State>

        init(on connection: ClientConnection, isRead: Bool) throws {
            state = Mutex(State(isRead: isRead))
            let request = ProtoWatchRequest.with {
                $0.range.prefix = Data("k".utf8)
                $0.progressIntervalMs = 60_000
            }
            let call = ClientCall(
                path: ProtoMethod.watch.path, message: try request.serializedBytes(), timeout: nil)
            let stream = connection.open(call, endsWithFirstMessage: true) { self.happened($0) }
            state.withLock { $0.stream = stream }
        }

        var hasBegun: Bool { state.withLock { $0.messages > 0 } }
        var revisions: [UInt64] { state.withLock { $0.revisions } }
        var failure: CallFailure? { state.withLock { $0.failure } }

        func read() {
            let (stream, unread) = state.withLock { state in
                state.isRead = true
                defer { state.unreadBytes = [] }
                return (state.stream, state.unreadBytes)
            }
            for bytes in unread { stream?.acknowledge(messageBytes: bytes) }
        }

        private func happened(_ event: ClientStreamEvent) {
            switch event {
            case .began: break
            case .message(let bytes):
                guard let message = try? ProtoWatchResponse(serializedBytes: bytes) else { return }
                let stream = state.withLock { state in
                    state.messages += 1
                    state.revisions += message.events.map(\.kv.modRevision)
                    if !state.isRead { state.unreadBytes.append(bytes.count) }
                    return state.isRead ? state.stream : nil
                }
                stream?.acknowledge(messageBytes: bytes.count)
            case .ended(.failure(let failure)): state.withLock { $0.failure = failure }
            case .ended(.success): break
            }
        }
    }

    private func put(_ value: [UInt8], on connection: ClientConnection) async throws -> UInt64 {
        let request = ProtoPutRequest.with { ($0.key, $0.value) = (Data("k".utf8), Data(value)) }
        let call = ClientCall(
            path: ProtoMethod.put.path, message: try request.serializedBytes(), timeout: .seconds(20))
        return try ProtoPutResponse(serializedBytes: try await connection.unary(call).get().message).commit.revision
    }

    private func gauge(_ name: String, _ door: TestDoor) async throws -> Int? {
        let line = try await door.get("/metrics").body.split(separator: "\n").first { $0.hasPrefix("esper_\(name) ") }
        return line?.split(separator: " ").last.flatMap { Double($0) }.map { Int($0) }
    }

    @Test func `hundreds of unread watches hold no more than their connection may, and miss nothing`() async throws {
        try await TestDoor.run(servesGRPC: true) { (door) async throws in
            var options = TransportOptions.client
            options.streamWindowBytes = 10_000
            let connection = try await door.grpc(options: options)
            let unread = try (0..<300).map { _ in try Watch(on: connection, isRead: false) }
            let neighbour = try Watch(on: connection, isRead: true)
            let (other, writer) = (try await door.grpc(), try await door.grpc())
            let elsewhere = try Watch(on: other, isRead: true)
            try await until("the watches") { (unread + [neighbour, elsewhere]).allSatisfy(\.hasBegun) }

            let value = [UInt8](repeating: 7, count: 8 << 10)
            var revisions: [UInt64] = []
            var largest = 0
            for _ in 0..<80 {
                revisions.append(try await put(value, on: writer))
                largest = max(largest, door.grpcServer.queuedMessageBytes)
            }
            // Those that are read see everything, on the same connection too.
            try await until("the watches that are read") {
                largest = max(largest, door.grpcServer.queuedMessageBytes)
                return elsewhere.revisions == revisions && neighbour.revisions == revisions
            }
            // 640 KiB for each of them would be 188 MiB.
            let each = 302 * (value.count + 200)
            #expect(largest <= (8 << 20) + each)
            #expect(unread.allSatisfy { $0.revisions.count < 10 && $0.failure == nil })
            try await until("the node's gauges") { try await gauge("runtime_watches", door) == 302 }
            let onTheWay = try #require(try await gauge("runtime_watches_bytes", door))
            #expect(onTheWay > 0 && onTheWay <= (4 << 20) + each)
            #expect(try #require(try await gauge("grpc_server_queued_bytes", door)) <= (8 << 20) + each)

            for watch in unread { watch.read() }
            try await until("every event") { unread.allSatisfy { $0.revisions.count >= revisions.count } }
            #expect(unread.allSatisfy { $0.revisions == revisions })
        }
    }

    @Test func `watches end when their node drains, and do not hold it up`() async throws {
        try await TestDoor.run(servesGRPC: true) { (door) async throws in
            let connections = [try await door.grpc(), try await door.grpc()]
            let watches = try (0..<20).map { try Watch(on: connections[$0 % 2], isRead: $0 % 3 != 0) }
            try await until("the watches") { watches.allSatisfy(\.hasBegun) }
            // Nobody waits for this deadline.
            await door.grpcServer.drain(deadline: .now() + .hours(1), on: connections[0].eventLoop)
            try await until("the end of every watch") { watches.allSatisfy { $0.failure != nil } }
            for watch in watches {
                let failure = try #require(watch.failure)
                #expect(failure.status == GRPCStatus(.unavailable, "the node is stopping"))
                let detail = try ProtoErrorDetail(
                    serializedBytes: try #require(failure.metadata.bytes("esper-error-bin")))
                #expect(detail.code == "draining" && detail.retryable)
            }
        }
    }

    @Test func `a connection has so many watches and no more`() async throws {
        try await TestDoor.run(servesGRPC: true) { (door) async throws in
            let limit = RuntimeOptions().maximumWatchesPerConnection
            let connection = try await door.grpc()
            let watches = try (0..<limit).map { _ in try Watch(on: connection, isRead: true) }
            try await until("the watches") { watches.allSatisfy(\.hasBegun) }
            let surplus = try Watch(on: connection, isRead: true)
            let failure = try await eventually("the refusal") { surplus.failure }
            #expect(failure.status.code == .resourceExhausted)
            let detail = try ProtoErrorDetail(
                serializedBytes: try #require(failure.metadata.bytes("esper-error-bin")))
            #expect(detail.code == "too_many_watches" && !detail.retryable && detail.outcome == .notCommitted)
            // Another connection has its own.
            let other = try Watch(on: try await door.grpc(), isRead: true)
            try await until("another's watch") { other.hasBegun }
        }
    }
}
