import NIOCore
import NIOPosix
import NIOSSL
import Synchronization

/// Bytes of our own over TLS: what a program says that does not keep to the protocol.
final class RawClient: ChannelInboundHandler, Sendable {
    typealias InboundIn = ByteBuffer

    private let bytes = Mutex<[UInt8]>([])
    private let isClosed = Mutex(false)

    static let preface = [UInt8]("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)

    var received: [UInt8] { bytes.withLock { $0 } }
    var closed: Bool { isClosed.withLock { $0 } }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let new = [UInt8](buffer: unwrapInboundIn(data))
        bytes.withLock { $0.append(contentsOf: new) }
    }

    func channelInactive(context: ChannelHandlerContext) { isClosed.withLock { $0 = true } }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    static func connect(to server: EchoServer) async throws -> (RawClient, any Channel) {
        let client = RawClient()
        let tls = try TestTLS.shared.clientContext()
        let channel = try await ClientBootstrap(group: server.group)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandlers(
                        [try NIOSSLClientHandler(context: tls, serverHostname: nil), client])
                }
            }
            .connect(host: "127.0.0.1", port: server.port).get()
        return (client, channel)
    }

    static func frame(_ type: UInt8, flags: UInt8 = 0, stream: UInt32 = 0, _ payload: [UInt8] = []) -> [UInt8] {
        frame(type, flags: flags, stream: stream, announcing: payload.count, payload)
    }

    static func frame(
        _ type: UInt8, flags: UInt8, stream: UInt32, announcing length: Int, _ payload: [UInt8]
    ) -> [UInt8] {
        let prefix: [UInt8] = [UInt8(length >> 16 & 255), UInt8(length >> 8 & 255), UInt8(length & 255), type, flags]
        return prefix + withUnsafeBytes(of: stream.bigEndian) { [UInt8]($0) } + payload
    }

    /// A header list in HPACK without indexing or Huffman coding.
    static func fields(_ fields: [(String, String)]) -> [UInt8] {
        var encoded: [UInt8] = []
        for (name, value) in fields {
            encoded.append(0)
            encoded.append(UInt8(name.utf8.count))
            encoded.append(contentsOf: name.utf8)
            encoded.append(UInt8(value.utf8.count))
            encoded.append(contentsOf: value.utf8)
        }
        return encoded
    }

    static func request(_ path: String, method: String = "POST", type: String = "application/grpc") -> [UInt8] {
        fields([
            (":method", method), (":scheme", "https"), (":path", path), (":authority", "x"), ("te", "trailers"),
            ("content-type", type),
        ])
    }

    static let settings = frame(4)
    /// Settings and an update after which the server may send as much as it likes.
    static let openWindows = frame(4, [0, 4, 0x7f, 0xff, 0xff, 0xff]) + frame(8, [0x7f, 0xfe, 0, 0])
}

extension Channel {
    func send(_ bytes: [UInt8]) async throws {
        // A write after the server has closed fails; that it closes is what the tests ask for.
        try? await writeAndFlush(ByteBuffer(bytes: bytes)).get()
    }
}
