import Foundation
import NIOCore
import NIOPosix
import NIOSSL
import Synchronization

/// A whole HTTP answer.
struct HTTPAnswer: Sendable {
    var status: Int
    var body: String
    /// Lines of the head, the first included.
    var head: [String] = []

    /// A field of the head.
    func field(_ name: String) -> String? {
        head.first { $0.lowercased().hasPrefix(name.lowercased() + ":") }
            .map { $0.dropFirst(name.count + 1).trimmingCharacters(in: .whitespaces) }
    }

    /// The value at a path of member names.
    func json(_ path: String...) throws -> Any? {
        var value: Any? = try JSONSerialization.jsonObject(with: Data(body.utf8))
        for name in path { value = (value as? [String: Any])?[name] }
        return value
    }

    func number(_ path: String...) throws -> Int? {
        var value: Any? = try JSONSerialization.jsonObject(with: Data(body.utf8))
        for name in path { value = (value as? [String: Any])?[name] }
        return value as? Int
    }

    func text(_ path: String...) throws -> String? {
        var value: Any? = try JSONSerialization.jsonObject(with: Data(body.utf8))
        for name in path { value = (value as? [String: Any])?[name] }
        return value as? String
    }
}

/// A connection made by hand, for everything that no program of ours would send.
final class RawClient: Sendable {
    private struct State {
        var received: [UInt8] = []
        var isClosed = false
        var waiter: (condition: @Sendable ([UInt8], Bool) -> Bool, continuation: CheckedContinuation<Void, Never>)?
    }

    private let channel: any Channel
    private let reader: Reader

    private init(_ channel: any Channel, _ reader: Reader) {
        self.channel = channel
        self.reader = reader
    }

    static func connect(port: Int, tls: TLSConfiguration?) async throws -> RawClient {
        let context = try tls.map { try NIOSSLContext(configuration: $0) }
        let reader = Reader()
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    if let context {
                        try channel.pipeline.syncOperations.addHandler(
                            try NIOSSLClientHandler(context: context, serverHostname: nil))
                    }
                    try channel.pipeline.syncOperations.addHandler(reader)
                }
            }
            .connect(host: "127.0.0.1", port: port).get()
        return RawClient(channel, reader)
    }

    func send(_ text: String) { send([UInt8](text.utf8)) }

    func send(_ bytes: [UInt8]) { channel.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil) }

    /// From now on what comes stays where it is.
    func stopReading() async throws { try await channel.setOption(.autoRead, value: false).get() }

    func close() { channel.close(promise: nil) }

    /// Everything received until the text appears; fails when the connection ends without it.
    func received(containing text: String) async throws -> String {
        await reader.wait { bytes, isClosed in isClosed || String(decoding: bytes, as: UTF8.self).contains(text) }
        let all = reader.text
        guard all.contains(text) else { throw Unexpected(text: "closed without '\(text)': \(all)") }
        return all
    }

    /// Everything received when the other end has closed the connection.
    func closed() async -> String {
        await reader.wait { $1 }
        return reader.text
    }

    /// One answer with a Content-Length.
    func answer() async throws -> HTTPAnswer {
        await reader.wait { bytes, isClosed in isClosed || Self.parse(bytes) != nil }
        guard let answer = Self.parse(reader.bytes) else { throw Unexpected(text: "no answer: \(reader.text)") }
        return answer
    }

    private static func parse(_ bytes: [UInt8]) -> HTTPAnswer? {
        let text = String(decoding: bytes, as: UTF8.self)
        guard let end = text.range(of: "\r\n\r\n") else { return nil }
        let lines = text[..<end.lowerBound].components(separatedBy: "\r\n")
        guard let status = lines.first?.split(separator: " ").dropFirst().first.flatMap({ Int($0) }),
            let length = lines.first(where: { $0.lowercased().hasPrefix("content-length:") })
                .flatMap({ Int($0.dropFirst(15).trimmingCharacters(in: .whitespaces)) })
        else { return nil }
        let body = text[end.upperBound...]
        guard body.utf8.count >= length else { return nil }
        return HTTPAnswer(status: status, body: String(decoding: body.utf8.prefix(length), as: UTF8.self), head: lines)
    }

    /// Collects what arrives. Shared with the waiting test under a lock.
    private final class Reader: ChannelInboundHandler, Sendable {
        typealias InboundIn = ByteBuffer
        private let state = Mutex(State())

        var bytes: [UInt8] { state.withLock { $0.received } }
        var text: String { String(decoding: bytes, as: UTF8.self) }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let buffer = unwrapInboundIn(data)
            change { $0.received.append(contentsOf: buffer.readableBytesView) }
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

        func handlerRemoved(context: ChannelHandlerContext) { change { $0.isClosed = true } }

        func wait(until condition: @escaping @Sendable ([UInt8], Bool) -> Bool) async {
            await withCheckedContinuation { continuation in
                state.withLock { $0.waiter = (condition, continuation) }
                change { _ in }
            }
        }

        private func change(_ body: (inout State) -> Void) {
            let waiter = state.withLock { state -> CheckedContinuation<Void, Never>? in
                body(&state)
                guard let waiter = state.waiter, waiter.condition(state.received, state.isClosed) else { return nil }
                state.waiter = nil
                return waiter.continuation
            }
            waiter?.resume()
        }
    }
}
