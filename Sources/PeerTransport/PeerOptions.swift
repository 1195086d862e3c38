import EsperTypes

/// Bounds and deadlines of the links. The defaults suit a cluster in one place.
public struct PeerOptions: Hashable, Sendable {
    /// The address to listen on.
    public var host: String
    /// The port to listen on; 0 picks a free one.
    public var port: Int
    /// From the first byte of a connection to the end of both handshakes; after it the connection is closed.
    public var handshakeDeadline: Duration = .seconds(5)
    /// For the TCP connection of a dial.
    public var connectDeadline: Duration = .seconds(1)
    /// The first wait before dialling again; doubled with every failure, jittered over its upper half.
    public var shortestRetry: Duration = .milliseconds(10)
    /// The longest wait while the peer cannot be reached. A refused dial on a LAN costs some 50 µs, so four a second
    /// are nothing, and a node that comes back is found within this time.
    public var longestRetry: Duration = .milliseconds(250)
    /// The longest wait while the peer refuses us: two TLS handshakes' work for nothing, and an operator must act.
    public var longestRetryWhenRefused: Duration = .seconds(5)
    /// A node without any link asks this often whether it is still a member; see ``PeerTransport``.
    public var inquiryInterval: Duration = .seconds(3)
    /// Bytes that may wait for a main link: sixteen full AppendEntries.
    public var mainQueueBytes = 16 * Limits.appendBytes
    /// Bytes that may wait for a bulk link: four snapshot chunks with their headers.
    public var bulkQueueBytes = 4 * Limits.snapshotChunkBytes + (64 << 10)
    /// Above the bound of its queue a frame without payload (votes, answers, heartbeats: below 100 bytes each) still has
    /// this much room, so that a queue full of entries delays an election by its drain time and not for good.
    public var reservedQueueBytes = 64 << 10
    /// Accepted connections whose peer is not known yet. One more evicts the oldest, so that a flood cannot lock out a
    /// peer, whose handshake takes milliseconds. At some 100 KiB of TLS state each the bound costs 6 MiB.
    public var maximumUnauthenticated = 64
    /// How long sent bytes may stay unacknowledged before the kernel gives a link up (TCP_USER_TIMEOUT), and how long an
    /// idle one may be dead (keep-alive).
    public var userTimeout: Duration = .seconds(5)

    public init(host: String, port: Int) {
        self.host = host
        self.port = port
    }
}
