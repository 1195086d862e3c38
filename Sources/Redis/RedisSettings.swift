/// Where the server is, who we are there, and the bounds of everything that waits for it.
public struct RedisSettings: Sendable {
    /// A server's address.
    public struct Endpoint: Hashable, Sendable, CustomStringConvertible {
        public var host: String
        public var port: Int

        public init(host: String, port: Int) {
            self.host = host
            self.port = port
        }

        public var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
    }

    /// A string that does not appear in logs or descriptions.
    public struct Secret: Hashable, Sendable, CustomStringConvertible, CustomDebugStringConvertible {
        let value: String
        public init(_ value: String) { self.value = value }
        public var description: String { "***" }
        public var debugDescription: String { "***" }
    }

    /// How a connection is encrypted. The server's certificate must name the host we asked for.
    public struct TLS: Hashable, Sendable {
        /// PEM of the authorities that may sign the server's certificate; nil: those this machine trusts.
        public var authoritiesPath: String?
        /// PEM of our own certificate and key, when the server asks for one; both or neither.
        public var certificatePath: String?
        public var privateKeyPath: String?

        public init() {}
    }

    /// The server, or any server of a cluster.
    public var endpoint: Endpoint
    /// Nil: the server's default user.
    public var user: String?
    public var password: Secret?
    public var database = 0
    /// Nil: plaintext.
    public var tls: TLS?
    /// What the server's list of clients shows.
    public var clientName = "esper"

    /// To each server; opened when those that are up have enough to do.
    public var maximumConnections = 4
    /// That wait or are in flight for one server; one more is refused as overloaded.
    public var maximumRequests = 4096
    /// In flight on one connection.
    public var maximumRequestsInFlight = 32
    /// Of requests in flight on one connection; a single larger one goes alone.
    public var maximumBytesInFlight = 8 << 20
    /// A connection whose answer takes more is closed.
    public var maximumReplyBytes = 64 << 20
    /// For the connection, and as long again until the server has greeted.
    public var connectTimeout: Duration = .seconds(1)
    /// The connection of a request that was given up is closed when the server is silent for this long, counted from the
    /// request at the earliest. Thus a caller with little time costs others nothing, and a server that hangs is noticed.
    public var patience: Duration = .milliseconds(250)
    /// And when the answer has not come this long after the request, however busily the server sends.
    public var answerLimit: Duration = .seconds(10)
    /// Attempts to connect are this far apart at first, doubling up to the maximum, each drawn from the upper half.
    public var minimumBackoff: Duration = .milliseconds(50)
    public var maximumBackoff: Duration = .seconds(1)

    public init(endpoint: Endpoint) { self.endpoint = endpoint }
}
