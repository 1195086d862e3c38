import ClusterSupport
import EsperTypes
import Foundation
import Glibc
import NIOCore
import NIOPosix
import NIOSSL
import PeerTransport
import Synchronization
import Testing

/// Numbers that a seed fixes.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var word = state
        word = (word ^ word >> 30) &* 0xbf58_476d_1ce4_e5b9
        word = (word ^ word >> 27) &* 0x94d0_49bb_1331_11eb
        return word ^ word >> 31
    }
}

enum Garbage {
    /// What strangers send to a port.
    static let samples: [[UInt8]] = [
        // A plaintext request that the probe port does not know either.
        Array("GARBAGE / HTTP/9.9\r\n\r\n".utf8),
        // The first half of a TLS 1.2 record header, then nothing that belongs there.
        [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00] + [UInt8](repeating: 0x41, count: 600),
        // The header of a record with a ClientHello, and then the end.
        [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc],
        // A length of 2 GiB where a frame would begin.
        [0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0] + [UInt8](repeating: 0, count: 64),
        (0..<4096).map { UInt8(truncatingIfNeeded: $0 &* 131 &+ 17) },
        Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8),
    ]

    static func random(_ generator: inout SplitMix) -> [UInt8] {
        (0..<Int.random(in: 1...3000, using: &generator)).map { _ in UInt8.random(in: 0...255, using: &generator) }
    }

    /// Sends the bytes and nothing more.
    ///
    /// - Returns: whether the other end closed the connection within the handshake deadline and a margin.
    static func send(_ bytes: [UInt8], to port: Int) -> Bool {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        address.sin_port = UInt16(port).bigEndian
        let isConnected = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
        guard isConnected else { return false }
        _ = bytes.withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
        shutdown(descriptor, Int32(SHUT_WR))
        var limit = timeval(tv_sec: 15, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = recv(descriptor, &buffer, buffer.count, 0)
            if count > 0 { continue }
            return count == 0 || errno == ECONNRESET
        }
    }

    /// Frames that a node refuses before it takes the sender for a peer; one shorter than 16 bytes is the beginning of
    /// a greeting that does not go on.
    static func peerFrames(from peer: LocalCluster.Member, to member: LocalCluster.Member) -> [[UInt8]] {
        var greeting = ByteBuffer()
        Hello(
            cluster: ClusterID(0xdead), node: peer.id, addressee: member.id, incarnation: Incarnation(1), link: .main,
            version: ""
        ).append(to: &greeting)
        let wrongCluster = Array(greeting.readableBytesView)
        var wrongChecksum = wrongCluster
        wrongChecksum[4] ^= 0xff
        var unknownKind = ByteBuffer(integer: 0 as UInt64)
        unknownKind.writeInteger(0x7f as UInt8)
        _ = FrameEncoder.seal(from: 0, in: &unknownKind)
        return [
            wrongCluster, wrongChecksum, Array(unknownKind.readableBytesView),
            [0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0] + [UInt8](repeating: 0, count: 64),
            Array(wrongCluster.prefix(12)),
        ]
    }

    /// What HTTP/2 forbids (RFC 9113, sections 4.2, 4.3, 5.1, 6.5 and 6.10).
    static let http2: [[UInt8]] = {
        let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)
        func frame(_ kind: UInt8, flags: UInt8 = 0, stream: UInt8 = 0, _ body: [UInt8], length: Int? = nil) -> [UInt8] {
            let length = length ?? body.count
            return [UInt8(length >> 16 & 0xff), UInt8(length >> 8 & 0xff), UInt8(length & 0xff), kind, flags, 0, 0, 0]
                + [stream] + body
        }
        let start = preface + frame(4, [])
        let setting: [UInt8] = [0, 3, 0, 0, 0, 1]
        return [
            // Bad HPACK: an index far beyond the tables.
            start + frame(1, flags: 5, stream: 1, [UInt8](repeating: 0xff, count: 32)),
            // SETTINGS of 16 MiB, and 2,000 settings in one frame that is small enough.
            preface + frame(4, [UInt8](repeating: 0, count: 64), length: 0xff_ffff),
            preface + frame(4, (0..<2000).flatMap { _ in setting }),
            // DATA before HEADERS, CONTINUATION of nothing.
            start + frame(0, stream: 1, Array("hello".utf8)),
            start + frame(9, flags: 4, stream: 1, [0x82]),
            // Not the preface.
            [UInt8](repeating: 0x5a, count: 256),
        ]
    }()

    /// Bodies that are not what `/v1/kv/put` takes.
    static let bodies: [[UInt8]] = [
        Array("{{{{".utf8), [0xff, 0xfe, 0x00, 0x80], Array(#"{"key":"#.utf8),
        Array(#"{"key":1e999999,"value":[]}"#.utf8),
        [UInt8](repeating: UInt8(ascii: "["), count: 50_000), [],
    ]
}

/// A TLS connection on which anything can be said.
final class RawConnection: Sendable {
    private let channel: any Channel
    private let collector: Collector

    private init(_ channel: any Channel, _ collector: Collector) {
        self.channel = channel
        self.collector = collector
    }

    /// Connects; the other end's certificate is of no interest.
    static func open(port: Int, tls: TLSConfiguration) async throws -> RawConnection {
        let context = try NIOSSLContext(configuration: tls)
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        let collector = Collector(loop.makePromise())
        let channel = try await ClientBootstrap(group: loop)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(
                        NIOSSLClientHandler(
                            context: context, serverHostname: nil,
                            customVerificationCallback: { _, verdict in verdict.succeed(.certificateVerified) }))
                    try channel.pipeline.syncOperations.addHandler(collector)
                }
            }
            .connect(host: "127.0.0.1", port: port).get()
        return RawConnection(channel, collector)
    }

    func send(_ bytes: [UInt8]) { channel.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil) }

    /// - Parameter goodbye: whether we end the connection, after what was sent.
    /// - Returns: everything received until the connection was closed.
    @discardableResult
    func closed(goodbye: Bool = false) async -> String {
        if goodbye {
            channel.writeAndFlush(ByteBuffer()).whenComplete { [channel] _ in channel.close(promise: nil) }
        }
        let late = channel.eventLoop.scheduleTask(in: .seconds(15)) { [channel] in channel.close(promise: nil) }
        let end = ContinuousClock.now + .seconds(14)
        // The promise is kept when the handler leaves the pipeline, and never failed.
        let bytes = (try? await collector.received.futureResult.get()) ?? []
        late.cancel()
        #expect(ContinuousClock.now < end, "a node kept a connection with nonsense open")
        return String(decoding: bytes, as: UTF8.self)
    }

    private final class Collector: ChannelInboundHandler, Sendable {
        typealias InboundIn = ByteBuffer
        let received: EventLoopPromise<[UInt8]>
        private let bytes = Mutex<[UInt8]>([])

        init(_ received: EventLoopPromise<[UInt8]>) { self.received = received }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let buffer = unwrapInboundIn(data)
            bytes.withLock { $0.append(contentsOf: buffer.readableBytesView) }
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

        func handlerRemoved(context: ChannelHandlerContext) { received.succeed(bytes.withLock(\.self)) }
    }
}
