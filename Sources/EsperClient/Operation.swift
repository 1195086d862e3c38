internal import EsperProtocol
internal import GRPCTransport
internal import NIOCore
internal import SwiftProtobuf

/// What a caller wants done: a method, its request, and how often it may be asked for.
struct Operation: Sendable {
    /// `/package.Service/Method`.
    let path: String
    /// Whether a second asking could have a second effect unless it carries a request id.
    let isMutating: Bool
    /// Makes the request, with a request id when ``needsRequestID`` says so.
    let encode: @Sendable (RequestIdentities.RequestID?) throws -> [UInt8]
    let needsRequestID: Bool
    /// Asking any number of times is as good as once.
    let isIdempotent: Bool
    /// Whether the leader answers it with fewer steps than others.
    let prefersLeader: Bool
    /// How long the server may keep the call waiting on purpose.
    let wait: Duration
    let timeout: Duration?

    /// A read, or anything else that may be asked repeatedly.
    static func repeatable(
        _ method: ProtoMethod, _ request: some Message, prefersLeader: Bool, timeout: Duration? = nil
    ) -> Operation {
        repeatable(path: method.path, request, prefersLeader: prefersLeader, timeout: timeout)
    }

    static func repeatable(
        path: String, _ request: some Message, prefersLeader: Bool, wait: Duration = .zero, timeout: Duration? = nil
    ) -> Operation {
        Operation(
            path: path, isMutating: false, encode: { _ in try request.serializedBytes() }, needsRequestID: false,
            isIdempotent: true, prefersLeader: prefersLeader, wait: wait, timeout: timeout)
    }

    /// A command under a request id.
    static func command(
        _ method: ProtoMethod, _ request: some IdentifiedRequest, wait: Duration = .zero, timeout: Duration? = nil
    ) -> Operation {
        command(path: method.path, request, wait: wait, timeout: timeout)
    }

    static func command(
        path: String, _ request: some IdentifiedRequest, prefersLeader: Bool = true, wait: Duration = .zero,
        timeout: Duration? = nil
    ) -> Operation {
        Operation(
            path: path, isMutating: true,
            encode: { id in
                guard let id else { return try request.serializedBytes() }
                var request = request
                request.requestID = ProtoRequestID(id)
                return try request.serializedBytes()
            },
            needsRequestID: true, isIdempotent: false, prefersLeader: prefersLeader, wait: wait, timeout: timeout)
    }

    /// The registration of a client id: a second one costs an unused id and nothing else.
    static let registration = Operation(
        path: ProtoMethod.registerClient.path, isMutating: true,
        encode: { _ in try ProtoRegisterClientRequest().serializedBytes() },
        needsRequestID: false, isIdempotent: true, prefersLeader: true, wait: .zero, timeout: nil)

    /// Something that changes the cluster and has no request id; asked again only when it certainly did not arrive.
    static func once(_ method: ProtoMethod, _ request: some Message, timeout: Duration? = nil) -> Operation {
        Operation(
            path: method.path, isMutating: true, encode: { _ in try request.serializedBytes() }, needsRequestID: false,
            isIdempotent: false, prefersLeader: true, wait: .zero, timeout: timeout)
    }
}

/// A request that can carry a request id.
protocol IdentifiedRequest: Message {
    var requestID: ProtoRequestID { get set }
}

extension ProtoPutRequest: IdentifiedRequest {}
extension ProtoDeleteRequest: IdentifiedRequest {}
extension ProtoTxnRequest: IdentifiedRequest {}
extension ProtoCompactRequest: IdentifiedRequest {}
extension ProtoGrantRequest: IdentifiedRequest {}
extension ProtoRevokeRequest: IdentifiedRequest {}
extension ProtoAcquireRequest: IdentifiedRequest {}
extension ProtoReleaseRequest: IdentifiedRequest {}
extension ProtoCampaignRequest: IdentifiedRequest {}
extension ProtoProclaimRequest: IdentifiedRequest {}
extension ProtoResignRequest: IdentifiedRequest {}
extension ProtoCreateJoinTokenRequest: IdentifiedRequest {}
extension ProtoRevokeJoinTokenRequest: IdentifiedRequest {}
extension ProtoEvictRequest: IdentifiedRequest {}

extension ProtoRequestID {
    init(_ id: RequestIdentities.RequestID) {
        self.init()
        clientID = id.client
        sequence = id.sequence
        acknowledgedThrough = id.acknowledgedThrough
    }
}
