import Metrics

/// What happened on the links since the transport was made, for status and tests.
public struct PeerStatistics: Hashable, Sendable {
    public var framesSent = 0
    public var framesReceived = 0
    public var bytesSent = 0
    public var bytesReceived = 0
    /// Main links that stand.
    public var linksUp = 0
    /// Accepted connections still in their handshake.
    public var unauthenticated = 0
    /// Frames that were not sent, by ``DropReason``.
    public var dropped: [DropReason: Int] = [:]
    /// Accepted connections that did not become links, by reason.
    public var refused: [String: Int] = [:]
    /// Dials that did not become links, by reason (`unreachable` when there was no connection at all).
    public var dialsFailed: [String: Int] = [:]
}

/// The transport's metrics; each is also kept in ``PeerStatistics``.
struct PeerMetrics {
    private(set) var statistics = PeerStatistics()

    /// `peer.frames.sent`: frames handed to TLS.
    private let framesSent = Counter(label: "peer.frames.sent")
    /// `peer.frames.received`: frames handed to the delegate.
    private let framesReceived = Counter(label: "peer.frames.received")
    /// `peer.bytes.sent`: bytes of frames, before TLS.
    private let bytesSent = Counter(label: "peer.bytes.sent")
    /// `peer.bytes.received`: bytes of frames, after TLS.
    private let bytesReceived = Counter(label: "peer.bytes.received")
    /// `peer.links.up`: main links that stand.
    private let linksUp = Gauge(label: "peer.links.up")
    /// `peer.queue.bytes`: bytes waiting for all links together, at the end of a flush.
    private let queueBytes = Gauge(label: "peer.queue.bytes")
    /// `peer.connections.unauthenticated`: accepted connections in their handshake.
    private let unauthenticated = Gauge(label: "peer.connections.unauthenticated")
    /// `peer.frames.dropped` by `reason`.
    private let dropped = Dictionary(
        uniqueKeysWithValues: DropReason.allCases.map {
            ($0, Counter(label: "peer.frames.dropped", dimensions: [("reason", $0.rawValue)]))
        })
    /// `peer.connections.refused` by `reason`; made when first needed, the set of reasons is fixed.
    private var refused: [String: Counter] = [:]
    /// `peer.dials.failed` by `reason`.
    private var dialsFailed: [String: Counter] = [:]

    mutating func sent(frames: Int, bytes: Int) {
        statistics.framesSent += frames
        statistics.bytesSent += bytes
        framesSent.increment(by: frames)
        bytesSent.increment(by: bytes)
    }

    func queued(bytes: Int) { queueBytes.record(bytes) }

    mutating func received(bytes: Int) {
        statistics.bytesReceived += bytes
        bytesReceived.increment(by: bytes)
    }

    mutating func received(frames: Int) {
        statistics.framesReceived += frames
        framesReceived.increment(by: frames)
    }

    mutating func dropped(_ frames: Int, _ reason: DropReason) {
        guard frames > 0 else { return }
        statistics.dropped[reason, default: 0] += frames
        dropped[reason]?.increment(by: frames)
    }

    mutating func linkChanged(up: Bool) {
        statistics.linksUp += up ? 1 : -1
        linksUp.record(statistics.linksUp)
    }

    mutating func unauthenticatedChanged(to count: Int) {
        statistics.unauthenticated = count
        unauthenticated.record(count)
    }

    mutating func refused(_ reason: String) {
        statistics.refused[reason, default: 0] += 1
        Self.increment(&refused, "peer.connections.refused", reason)
    }

    mutating func dialFailed(_ reason: String) {
        statistics.dialsFailed[reason, default: 0] += 1
        Self.increment(&dialsFailed, "peer.dials.failed", reason)
    }

    private static func increment(_ counters: inout [String: Counter], _ label: String, _ reason: String) {
        let counter = counters[reason] ?? Counter(label: label, dimensions: [("reason", reason)])
        counters[reason] = counter
        counter.increment()
    }
}
