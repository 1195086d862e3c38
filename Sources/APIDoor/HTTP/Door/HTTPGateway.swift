/// Serves paths of its own on the API port, beside the API's.
public protocol HTTPGateway: Sendable {
    /// Whether the path is the gateway's, whatever the method.
    func serves(path: String) -> Bool

    /// Answers a request whose client has shown its certificate. Cancelled when the client goes.
    func answer(_ request: GatewayRequest) async -> GatewayAnswer
}

/// A request of a gateway, its body read.
public struct GatewayRequest: Sendable {
    public var method: String
    /// Without the query.
    public var path: String
    public var query: String
    public var body: [UInt8]
    /// The value of the field Authorization.
    public var authorization: String?
    /// Values of fields named `Grpc-Metadata-NAME`, by NAME in lower case.
    public var metadata: [String: String]
    /// From the certificate: `client/<name>` or `node/<name>`.
    public var principal: String
}

/// What a gateway answers.
public struct GatewayAnswer: Sendable {
    public enum Body: Sendable {
        case whole([UInt8])
        case stream(GatewayStream)
    }

    public var status: Int
    public var contentType: String
    /// Beside those that every answer has.
    public var fields: [(name: String, value: String)] = []
    public var body: Body

    public init(status: Int, contentType: String = "application/json", body: Body) {
        self.status = status
        self.contentType = contentType
        self.body = body
    }
}

/// A body that comes piece by piece: each is asked for when the one before has been written out.
public struct GatewayStream: Sendable {
    /// Nil ends the body.
    public var next: @Sendable () async -> [UInt8]?
    /// The client is gone, or the node stops: `next` returns nil soon.
    public var cancel: @Sendable () -> Void

    public init(next: @escaping @Sendable () async -> [UInt8]?, cancel: @escaping @Sendable () -> Void) {
        self.next = next
        self.cancel = cancel
    }
}
