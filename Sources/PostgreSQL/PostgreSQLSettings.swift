/// Where the server is, who we are there, and the bounds of everything that waits for it.
public struct PostgreSQLSettings: Sendable {
    /// How the connection is protected. Over a Unix socket the kernel vouches for both ends and none applies.
    public enum TLSMode: String, Sendable, CaseIterable {
        /// Plaintext. For a server on this host only.
        case disable
        /// Encrypted, the server's certificate unchecked: keeps out who listens, not who intercepts.
        case require
        /// The server's certificate must come from the root certificate.
        case verifyCA = "verify-ca"
        /// And its name must be the host we asked for.
        case verifyFull = "verify-full"
    }

    /// Host names, addresses, or directories of Unix sockets, tried in order.
    public var hosts: [String]
    public var port: Int
    public var database: String
    public var user: String
    /// Never logged or described.
    public var password: Secret?
    public var tls: TLSMode
    /// PEM of the authorities that may sign the server's certificate.
    public var rootCertificatePath: String?
    /// PEM of our own certificate and key, when the server asks for one.
    public var certificatePath: String?
    public var privateKeyPath: String?
    public var applicationName: String

    /// Connections, each with a thread of its own.
    public var connections = 2
    /// From the first packet until the session is usable.
    public var connectTimeout: Duration = .seconds(5)
    /// The server stops a statement that runs longer.
    public var statementTimeout: Duration = .seconds(30)
    /// The deadline of a call that names none.
    public var defaultDeadline: Duration = .seconds(10)
    /// Requests that wait or are in flight; one more is refused as overloaded.
    public var maximumRequests = 4096
    /// Bytes of statements and parameters that wait; a request beyond is refused as overloaded.
    public var maximumWaitingBytes = 64 << 20
    /// A request larger than this is refused.
    public var maximumRequestBytes = 16 << 20
    /// Requests that share one round trip and one commit.
    public var maximumBatchRequests = 256
    /// Bytes of one batch; a single larger request makes a batch of its own.
    public var maximumBatchBytes = 4 << 20
    /// Reconnect attempts are this far apart at first, doubling up to the maximum, each drawn from the upper half.
    public var minimumBackoff: Duration = .milliseconds(100)
    public var maximumBackoff: Duration = .seconds(10)

    public init(
        hosts: [String], port: Int = 5432, database: String, user: String, password: Secret? = nil,
        tls: TLSMode = .verifyFull, rootCertificatePath: String? = nil, certificatePath: String? = nil,
        privateKeyPath: String? = nil, applicationName: String = "esper"
    ) {
        self.hosts = hosts
        self.port = port
        self.database = database
        self.user = user
        self.password = password
        self.tls = tls
        self.rootCertificatePath = rootCertificatePath
        self.certificatePath = certificatePath
        self.privateKeyPath = privateKeyPath
        self.applicationName = applicationName
    }

    /// A string that does not appear in logs or descriptions.
    public struct Secret: Sendable, CustomStringConvertible, CustomDebugStringConvertible, ExpressibleByStringLiteral {
        let value: String
        public init(_ value: String) { self.value = value }
        public init(stringLiteral value: String) { self.value = value }
        public var description: String { "***" }
        public var debugDescription: String { "***" }
    }

    /// Everything wrong with these settings, one sentence each.
    public var problems: [String] {
        var problems: [String] = []
        if hosts.isEmpty || hosts.contains("") { problems.append("no PostgreSQL host is given") }
        if !(1...65_535).contains(port) { problems.append("PostgreSQL port \(port) is not between 1 and 65535") }
        if database.isEmpty { problems.append("no PostgreSQL database is given") }
        if user.isEmpty { problems.append("no PostgreSQL user is given") }
        if !(1...64).contains(connections) {
            problems.append("\(connections) PostgreSQL connections: 1 to 64 are possible")
        }
        if usesNetwork, tls == .verifyCA || tls == .verifyFull, rootCertificatePath == nil {
            problems.append("PostgreSQL TLS mode \(tls.rawValue) needs a root certificate")
        }
        if (certificatePath == nil) != (privateKeyPath == nil) {
            problems.append("a PostgreSQL client certificate and its private key come together")
        }
        return problems
    }

    /// Whether any host is reached over the network.
    var usesNetwork: Bool { hosts.contains { !$0.hasPrefix("/") } }

    /// libpq's keywords. Nothing is taken from the environment where a keyword is given.
    var keywords: [(String, String)] {
        // The server gives up work whose client is gone within a second: closing a connection is how we cancel.
        let options = [
            "statement_timeout=\(Self.milliseconds(statementTimeout))",
            "idle_in_transaction_session_timeout=\(Self.milliseconds(statementTimeout))",
            "client_connection_check_interval=1000",
            "timezone=UTC", "client_encoding=UTF8", "standard_conforming_strings=on",
            "default_transaction_isolation=read\\ committed",
        ]
        var keywords = [
            ("host", hosts.joined(separator: ",")), ("port", String(port)), ("dbname", database), ("user", user),
            ("application_name", applicationName), ("sslmode", tls.rawValue), ("ssl_min_protocol_version", "TLSv1.2"),
            ("gssencmode", "disable"), ("keepalives_idle", "10"), ("keepalives_interval", "5"),
            ("keepalives_count", "3"), ("client_encoding", "UTF8"),
            ("options", options.map { "-c " + $0 }.joined(separator: " ")),
        ]
        if let password { keywords.append(("password", password.value)) }
        if let rootCertificatePath { keywords.append(("sslrootcert", rootCertificatePath)) }
        if let certificatePath { keywords.append(("sslcert", certificatePath)) }
        if let privateKeyPath { keywords.append(("sslkey", privateKeyPath)) }
        return keywords
    }

    private static func milliseconds(_ duration: Duration) -> Int64 { max(1, duration.nanoseconds / 1_000_000) }
}
