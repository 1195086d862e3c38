import APIDoor
import EsperProtocol
import EsperTypes
import Foundation
import GRPCTransport
import NIOCore
import SwiftProtobuf
import Testing

/// Requests exactly as large as they may be, and one byte larger.
@Suite(.serialized, .timeLimit(.minutes(2)))
struct MessageEdgeTests {
    private static let key = Data(repeating: UInt8(ascii: "k"), count: Limits.keyBytes)
    private static let value = Data(repeating: UInt8(ascii: "v"), count: Limits.valueBytes)

    private func call(
        _ connection: ClientConnection, _ method: ProtoMethod, _ request: [UInt8]
    ) async throws -> (commit: ProtoCommit?, failure: ProtoErrorDetail?, status: GRPCCode?) {
        switch await connection.unary(ClientCall(path: method.path, message: request, timeout: .seconds(20))) {
        case .success(let reply):
            let commit =
                method == .put
                ? try ProtoPutResponse(serializedBytes: reply.message).commit
                : try ProtoTxnResponse(serializedBytes: reply.message).commit
            return (commit, nil, nil)
        case .failure(let failure):
            let bytes = try #require(failure.metadata.bytes("esper-error-bin"), "\(failure)")
            return (nil, try ProtoErrorDetail(serializedBytes: bytes), failure.status.code)
        }
    }

    private func put(_ connection: ClientConnection, _ key: Data, _ value: Data) async throws -> ProtoErrorDetail? {
        let request: [UInt8] = try ProtoPutRequest.with { ($0.key, $0.value) = (key, value) }.serializedBytes()
        let (commit, failure, _) = try await call(connection, .put, request)
        if let commit { #expect(commit.outcome == .committed) }
        return failure
    }

    @Test func `the longest key with the longest value is put over gRPC, and a byte more of either is refused by name`()
        async throws
    {
        try await TestDoor.run(servesGRPC: true) { (door) async throws in
            let connection = try await door.grpc()
            defer { connection.close() }
            #expect(try await put(connection, Self.key, Self.value) == nil)
            let get = ProtoGetRequest.with { $0.key = Self.key }
            let found = await connection.unary(
                ClientCall(path: ProtoMethod.get.path, message: try get.serializedBytes(), timeout: .seconds(20)))
            #expect(try ProtoGetResponse(serializedBytes: found.get().message).kv.value == Self.value)
            for (key, value, message) in [
                (
                    Self.key, Self.value + [0],
                    "the value has \(Limits.valueBytes + 1) bytes, more than \(Limits.valueBytes)"
                ),
                (Self.key + [0], Self.value, "the key has \(Limits.keyBytes + 1) bytes, more than \(Limits.keyBytes)"),
            ] {
                let failure = try #require(try await put(connection, key, value))
                #expect(failure.code == "invalid_argument" && failure.outcome == .notCommitted && !failure.retryable)
                #expect(failure.message == message)
            }
        }
    }

    @Test func `a message at the door's limit is judged by its contents, and one byte more by its size`() async throws {
        try await TestDoor.run(servesGRPC: true) { (door) async throws in
            let connection = try await door.grpc()
            defer { connection.close() }
            let limit = GRPCDoor.transportOptions.maximumMessageBytes
            func message(of size: Int) throws -> [UInt8] {
                let bare: [UInt8] = try ProtoPutRequest.with {
                    $0.key = Data("k".utf8)
                    $0.value = Data(count: size - 16)
                }.serializedBytes()
                return try ProtoPutRequest.with {
                    $0.key = Data("k".utf8)
                    $0.value = Data(count: size - 16 + size - bare.count)
                }.serializedBytes()
            }
            let whole = try message(of: limit)
            #expect(whole.count == limit)
            let judged = try #require(try await call(connection, .put, whole).failure)
            #expect(judged.code == "invalid_argument" && judged.message.hasPrefix("the value has"))
            let (_, refused, status) = try await call(connection, .put, try message(of: limit + 1))
            #expect(status == .resourceExhausted)
            #expect(refused?.code == "oversized" && refused?.outcome == .notCommitted && refused?.retryable == false)
            // The connection serves on.
            #expect(try await put(connection, Data("k".utf8), Data()) == nil)
        }
    }

    @Test func `a transaction that fills an entry is committed, and one byte more is refused`() async throws {
        try await TestDoor.run(servesGRPC: true) { (door) async throws in
            let connection = try await door.grpc()
            defer { connection.close() }
            func transaction(_ rest: Int) throws -> [UInt8] {
                try ProtoTxnRequest.with {
                    $0.success = [
                        .with { $0.put = .with { ($0.key, $0.value) = (Data("a".utf8), Self.value) } },
                        .with { $0.put = .with { ($0.key, $0.value) = (Data("b".utf8), Data(count: rest)) } },
                    ]
                }.serializedBytes()
            }
            let large = 16 << 10
            let failure = try #require(try await call(connection, .transact, try transaction(large)).failure)
            #expect(failure.code == "oversized")
            // "the command has N bytes; at most …"
            let bytes = try #require(failure.message.split(separator: " ").compactMap { Int($0) }.first)
            let fitting = large - (bytes - Limits.entryPayloadBytes)
            #expect(try await call(connection, .transact, try transaction(fitting)).commit?.outcome == .committed)
            let refused = try #require(try await call(connection, .transact, try transaction(fitting + 1)).failure)
            #expect(refused.code == "oversized" && refused.outcome == .notCommitted && !refused.retryable)
            #expect(
                refused.message.contains("\(Limits.entryPayloadBytes + 1) bytes; at most \(Limits.entryPayloadBytes)"))
        }
    }

    @Test func `the longest key with the longest value is put over HTTP, however it is written`() async throws {
        try await TestDoor.run { (door) async throws in
            let (key, value) = (String(decoding: Self.key, as: UTF8.self), String(decoding: Self.value, as: UTF8.self))
            func escaped(_ count: Int) -> String { String(repeating: #"\u0001"#, count: count) }
            for body in [
                #"{"key":"\#(key)","value":"\#(value)"}"#,
                #"{"key_base64":"\#(Self.key.base64EncodedString())","value_base64":"\#(Self.value.base64EncodedString())"}"#,
                #"{"key":"\#(escaped(Limits.keyBytes))","value":"\#(escaped(Limits.valueBytes))"}"#,
            ] {
                let answer = try await door.post("/v1/kv/put", body)
                #expect(answer.status == 200, "\(answer.body.prefix(300))")
            }
            for (body, message) in [
                (#"{"key":"\#(key)","value":"\#(value)v"}"#, "the value has \(Limits.valueBytes + 1) bytes"),
                (#"{"key":"\#(key)k","value":"\#(value)"}"#, "the key has \(Limits.keyBytes + 1) bytes"),
            ] {
                let refused = try await door.post("/v1/kv/put", body)
                #expect(refused.status == 400)
                #expect(try refused.text("error", "code") == "invalid_argument")
                #expect(try refused.text("error", "outcome") == "not_committed")
                #expect(try refused.text("error", "message")?.hasPrefix(message) == true)
            }
        }
    }
}
