import ClusterSupport
import EsperTypes
import Foundation
import Glibc
import NIOCore
import NIOPosix
import NIOSSL
import PeerTransport
import Synchronization
import TestSupport
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

extension Garbage {
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
