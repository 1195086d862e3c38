import ClusterSupport
import EsperProtocol
import EsperTypes
import Foundation
import GRPCTransport
import Identity
import NIOCore
import NIOPosix
import NIOSSL
import SwiftProtobuf

/// One connection to one node: calls are made once, there and nowhere else, unlike a client's.
final class NodeDoor: Sendable {
    /// A call that brought no answer, with what the node said about it.
    struct Refusal: Error, CustomStringConvertible {
        var failure: CallFailure
        var code: String
        /// What became of a command: nil when the node did not say.
        var outcome: Outcome?

        init(_ failure: CallFailure) {
            self.failure = failure
            let detail = failure.metadata.bytes("esper-error-bin").flatMap {
                try? ProtoErrorDetail(serializedBytes: $0)
            }
            code = detail?.code ?? ""
            switch detail?.outcome {
            case .committed: outcome = .committed
            case .notCommitted: outcome = .notCommitted
            case .unknown: outcome = .unknown
            case .unspecified, .UNRECOGNIZED, nil: outcome = nil
            }
        }

        var description: String { "\(code) \(failure) \(outcome.map(\.rawValue) ?? "outcome not said")" }
    }

    /// The node has left, perhaps just now.
    struct NotAMember: Error {
        let name: String
    }

    private let connection: ClientConnection

    private init(_ connection: ClientConnection) { self.connection = connection }

    /// Connects to a node, or to whatever stands on `port` in its place.
    static func open(_ name: String, of cluster: LocalCluster, port: Int? = nil) async throws -> NodeDoor {
        let member = cluster.members.first { $0.name == name }
        guard let port = port ?? member?.apiListenPort else { throw NotAMember(name: name) }
        let credentials = try TLSCredentials(
            certificateFile: "\(cluster.root)/tester.pem", privateKeyFile: "\(cluster.root)/tester.key",
            authorityFile: "\(cluster.root)/ca.pem", now: Date())
        let context = try NIOSSLContext(configuration: credentials.apiClientConfiguration(applicationProtocols: ["h2"]))
        return NodeDoor(
            try await ClientConnection.connect(
                host: "127.0.0.1", port: port, tls: context,
                on: MultiThreadedEventLoopGroup.singleton.any(), timeout: .seconds(5)
            ).get())
    }

    var isUsable: Bool { connection.isUsable }

    func close() { connection.close() }

    func call<Response: Message>(
        _ method: ProtoMethod, _ request: some Message, within limit: Duration = .seconds(5)
    ) async throws -> Response {
        let call = ClientCall(
            path: method.path, message: try request.serializedBytes(), timeout: TimeAmount(limit))
        switch await connection.unary(call) {
        case .success(let reply): return try Response(serializedBytes: reply.message)
        case .failure(let failure): throw Refusal(failure)
        }
    }

    // MARK: What tests ask

    func status(within limit: Duration = .seconds(1)) async throws -> ProtoStatusResponse {
        try await call(.status, ProtoStatusRequest(), within: limit)
    }

    /// - Parameter local: what the node has applied; otherwise linearizable.
    func get(_ key: String, local: Bool = false, within limit: Duration = .seconds(5)) async throws -> ProtoKeyValue? {
        let request = ProtoGetRequest.with {
            $0.key = Data(key.utf8)
            $0.consistency = local ? .local : .linearizable
        }
        let response: ProtoGetResponse = try await call(.get, request, within: limit)
        return response.hasKv ? response.kv : nil
    }

    func value(of key: String, local: Bool = false, within limit: Duration = .seconds(5)) async throws -> String? {
        try await get(key, local: local, within: limit).map { String(decoding: $0.value, as: UTF8.self) }
    }

    @discardableResult
    func put(
        _ key: String, _ value: String, id: ProtoRequestID? = nil, within limit: Duration = .seconds(5)
    ) async throws -> ProtoCommit {
        let request = ProtoPutRequest.with {
            $0.key = Data(key.utf8)
            $0.value = Data(value.utf8)
            if let id { $0.requestID = id }
        }
        let response: ProtoPutResponse = try await call(.put, request, within: limit)
        return response.commit
    }

    /// Every pair under a prefix, read linearizably and all at one revision.
    func pairs(under prefix: String) async throws -> [String: ProtoKeyValue] {
        var found: [String: ProtoKeyValue] = [:]
        var revision: UInt64 = 0
        var start = Data(prefix.utf8)
        let end = Data(prefix.utf8.dropLast() + [prefix.utf8.last! + 1])
        while true {
            let request = ProtoRangeRequest.with {
                $0.range.interval = .with { ($0.start, $0.end) = (start, end) }
                $0.revision = revision
                $0.limit = 2000
            }
            let response: ProtoRangeResponse = try await call(.range, request, within: .seconds(20))
            for pair in response.kvs { found[String(decoding: pair.key, as: UTF8.self)] = pair }
            revision = response.revision
            guard response.more, let last = response.kvs.last else { return found }
            start = last.key + [0]
        }
    }
}
