import GRPCTransport
import NIOCore
import NIOEmbedded
import Synchronization
import Testing

/// The window of a stream whose service acknowledges when it likes: no socket, no other end.
struct WindowTests {
    /// Keeps what it is sent.
    private final class Keeper: GRPCService {
        let kept = Mutex<[(call: CallHandle, bytes: Int)]>([])

        func received(_ calls: [InboundCall], on connection: ServerConnection) {}

        func occurred(_ events: [CallEvent], on connection: ServerConnection) {
            for case .message(let call, let message) in events { kept.withLock { $0.append((call, message.count)) } }
        }

        /// Acknowledges the oldest message that it keeps.
        func acknowledgeOne() throws {
            let (call, bytes) = try #require(kept.withLock { $0.isEmpty ? nil : $0.removeFirst() })
            call.connection.acknowledge(call, messageBytes: bytes)
            call.connection.flushAnswers()
        }
    }

    private static let window = TransportOptions.server.streamWindowBytes

    private static func prefix(_ count: Int) -> [UInt8] {
        [0] + withUnsafeBytes(of: UInt32(count).bigEndian) { [UInt8]($0) }
    }

    /// A message larger than the window follows messages that are acknowledged only when the window has been used up: their
    /// acknowledgement must make the peer go on, whatever the first of them were and wherever the large one is cut.
    @Test(
        arguments: [[1], [1, 10, 400_000, 1], [300_000], [500_000], [524_283], [10, 524_270], [700_000]],
        [1000, 16_384])
    func `whoever acknowledges all that is whole is sent the rest`(first: [Int], frame: Int) throws {
        let loop = EmbeddedEventLoop()
        let channel = EmbeddedChannel(loop: loop)
        let service = Keeper()
        var methods = MethodTable()
        methods.add("/test.Keeper/keep", id: 0, kind: .streaming)
        let server = GRPCServer(service: service, methods: methods)
        try server.attach(to: channel, principal: "tester")
        channel.connect(to: try SocketAddress(ipAddress: "127.0.0.1", port: 1), promise: nil)
        // The server's window holds from the acknowledgement of its settings on.
        let start = RawClient.preface + RawClient.openWindows + RawClient.frame(4, flags: 1)
        let request = RawClient.frame(1, flags: 4, stream: 1, RawClient.request("/test.Keeper/keep"))
        try channel.writeInbound(ByteBuffer(bytes: start + request))
        while try channel.readOutbound(as: ByteBuffer.self) != nil {}

        var body: [UInt8] = []
        for size in first { body += Self.prefix(size) + [UInt8](repeating: 7, count: size) }
        body += Self.prefix(2 * Self.window) + [UInt8](repeating: 8, count: 2 * Self.window)
        var sent = 0
        var room = Self.window
        func readUpdates() throws {
            while let written = try channel.readOutbound(as: ByteBuffer.self) {
                for update in [UInt8](buffer: written).frames where update.type == 8 && update.stream == 1 {
                    room += update.payload.reduce(0) { $0 << 8 | Int($1) }
                }
            }
        }
        /// Sends what the window lets through; that of the connection is much larger.
        func send() throws {
            while room > 0, sent < body.count {
                let piece = [UInt8](body[sent..<min(body.count, sent + min(frame, room))])
                try channel.writeInbound(ByteBuffer(bytes: RawClient.frame(0, stream: 1, piece)))
                sent += piece.count
                room -= piece.count
                try readUpdates()
            }
        }
        try send()
        for _ in first { try service.acknowledgeOne() }
        try readUpdates()
        try send()
        #expect(sent == body.count)
        #expect(service.kept.withLock { $0.map(\.bytes) } == [2 * Self.window])
        // Nothing was given back twice: the peer never has more than its window.
        try service.acknowledgeOne()
        try readUpdates()
        #expect(room <= Self.window)
        _ = try channel.finish(acceptAlreadyClosed: true)
    }
}
