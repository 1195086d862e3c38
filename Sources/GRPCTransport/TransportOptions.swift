public import NIOCore

/// The bounds of one connection, either end; together they bound what a peer can make us hold.
///
/// A server's connection holds at most `maximumBufferedBytes` of requests, and one message more, and `maximumAnswerBytes` of unary answers that its reader has not taken. Of streams it
/// holds at most `connectionCreditBytes` and one message for each, when their service minds the credit; of one that does not,
/// `maximumQueuedBytes` for each.
public struct TransportOptions: Sendable {
    /// The largest message received, also when it has been unpacked. Above it: RESOURCE_EXHAUSTED.
    public var maximumMessageBytes = 4 << 20
    /// The most calls a peer may have open, and the most a client keeps in flight or waiting.
    public var maximumConcurrentCalls = 4096
    /// Name, value and 32 bytes for each field of one header list (RFC 9113 section 6.5.2).
    public var maximumHeaderBytes = 16 << 10
    /// What the requests of a connection may take together until their services have them, and those of streams until they are
    /// acknowledged.
    public var maximumBufferedBytes = 32 << 20
    /// What one stream may queue for a slow reader before it is reset with RESOURCE_EXHAUSTED.
    public var maximumQueuedBytes = 8 << 20
    /// What unary calls may queue together before the connection is closed: four of the largest answers that a client takes,
    /// so whoever reads at all never comes there.
    public var maximumAnswerBytes = 64 << 20
    /// A stream has credit while less than this is queued.
    public var streamCreditBytes = 256 << 10
    /// No stream of a connection has credit while this much is queued by all of them, unless it has nothing queued itself:
    /// sixteen streams that are not read at all.
    public var connectionCreditBytes = 4 << 20
    /// How much the peer may send on one stream ahead of our reading.
    public var streamWindowBytes = 1 << 20
    /// The same for the whole connection.
    public var connectionWindowBytes = 8 << 20
    /// How long TLS may take to agree, where the server accepts connections itself.
    public var handshakeTimeout = TimeAmount.seconds(10)
    /// After this much silence a PING asks whether the peer is there.
    public var keepAliveInterval = TimeAmount.seconds(10)
    /// How long its answer may take before the connection is closed.
    public var keepAliveTimeout = TimeAmount.seconds(10)
    /// Streams that the peer may reset: a burst, and a rate per second.
    public var resetBurst = 2000
    public var resetsPerSecond = 500
    /// Frames that ask for work and bring nothing (SETTINGS, PING, PRIORITY, empty DATA, invalid ones), likewise.
    public var idleFrameBurst = 1000
    public var idleFramesPerSecond = 200

    public init() {}

    /// A node's API port: requests are small, so the bounds are tight.
    public static let server = TransportOptions()

    /// A client: answers may be larger than requests, and many callers share one connection.
    public static let client: TransportOptions = {
        var options = TransportOptions()
        options.maximumMessageBytes = 16 << 20
        options.maximumConcurrentCalls = 16_384
        return options
    }()
}
