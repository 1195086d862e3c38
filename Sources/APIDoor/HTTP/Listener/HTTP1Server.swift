internal import HummingbirdCore
internal import Logging
internal import NIOCore

/// Serves http/1.1 on channels whose handshake is done, by Hummingbird's channel handlers.
///
/// All connections are children of one task, which ends when ``finish()`` was called and the last connection is closed.
final class HTTP1Server: Sendable {
    private struct Connection: Sendable {
        var http: HTTP1Channel
        var channel: HTTP1Channel.Value
    }

    private let door: HTTPDoor
    private let configuration: HTTP1Channel.Configuration
    private let connections: AsyncStream<Connection>.Continuation
    private let serving: Task<Void, Never>
    private let logger: Logger

    init(door: HTTPDoor, idleTimeout: Duration, maximumConnections: Int, logger: Logger) {
        self.door = door
        self.logger = logger
        configuration = HTTP1Channel.Configuration(
            idleTimeout: TimeAmount(idleTimeout),
            httpDecoderConfiguration: .init(
                maxHeaderFieldSize: 16 << 10, maxHeaderListSize: 32 << 10, maxHeaderFieldCount: 100))
        let (stream, continuation) = AsyncStream.makeStream(
            of: Connection.self, bufferingPolicy: .bufferingOldest(maximumConnections))
        connections = continuation
        // Awaited by finish().
        serving = Task {
            await withDiscardingTaskGroup { group in
                for await connection in stream {
                    group.addTask { await connection.http.handle(value: connection.channel, logger: logger) }
                }
            }
        }
    }

    /// Adds the handlers and begins to serve. Called on the channel's event loop.
    ///
    /// Never more than the listener's limit of connections, so the queue to the serving task cannot overflow.
    func serve(_ channel: any Channel, _ connection: HTTPConnection) throws {
        let http = HTTP1Channel(
            responder: { [door] request, writer, channel in
                try await door.respond(to: request, writer, on: channel, connection)
            }, configuration: configuration)
        // On the event loop the future is complete when it is returned.
        http.setup(channel: channel, logger: logger).whenComplete { [connections] result in
            switch result {
            case .success(let value): connections.yield(Connection(http: http, channel: value))
            case .failure: channel.close(promise: nil)
            }
        }
    }

    /// Call when all connections are closed and none is accepted any more.
    func finish() async {
        connections.finish()
        await serving.value
    }
}
