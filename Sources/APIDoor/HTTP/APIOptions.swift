/// Where the API port listens and what it allows.
public struct APIOptions: Sendable {
    /// An address of this host; `0.0.0.0` for all.
    public var host: String
    /// 0 lets the system choose; ``APIListener/port`` tells what it chose.
    public var port: Int
    /// Connections of known clients, of all protocols. 4,096 idle TLS connections take about 200 MiB.
    public var maximumConnections = 4096
    /// Connections whose handshake is not complete; beyond it the oldest is closed, so that strangers who say nothing
    /// keep nobody out. 256 take about 12 MiB, and a handshake less than a hundredth of the time that it takes to open 256 more.
    public var maximumUnauthenticated = 256
    /// TLS 1.2 as well as 1.3.
    public var acceptsTLS12 = false
    /// From the connection to the end of its TLS handshake.
    public var handshakeTimeout = Duration.seconds(5)
    /// An http/1.1 connection without a request for this long is closed, and one that does not take a blob of an artifact in this time.
    public var idleTimeout = Duration.seconds(60)
    /// A JSON body. The largest command has 64 KiB; base64 and escapes at most sextuple it.
    public var maximumBodyBytes = 512 << 10
    /// Of a request that names no `timeout`.
    public var defaultTimeout = Duration.seconds(5)
    /// The longest `timeout` and the longest wait.
    public var maximumTimeout = Duration.seconds(3600)
    /// A core loop that has not come round for this long makes `/health` fail: it comes round twice a second at least,
    /// and no step of it takes a tenth of this.
    public var coreSilence = Duration.seconds(5)
    /// A quiet event stream sends a comment this often, so that both ends notice a dead connection.
    public var heartbeatInterval = Duration.seconds(15)

    public init(host: String, port: Int) {
        self.host = host
        self.port = port
    }
}
