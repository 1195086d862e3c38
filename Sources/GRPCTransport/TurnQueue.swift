internal import NIOCore

/// Shares an event loop among connections that have more to write than one turn allows.
///
/// Each gets a part of what it wants and queues again behind the others. Between two rounds the loop looks after its sockets
/// and timers, which it would not do between tasks that are due at once. Confined to its loop.
final class TurnQueue {
    private let eventLoop: any EventLoop
    private var waiting: [HTTP2Connection] = []
    private var isScheduled = false

    /// With ``HTTP2Connection/turnBytes`` each, about a millisecond of encryption.
    private static let connectionsPerRound = 4
    /// Long enough that a loop that has nothing else to do polls its sockets first.
    private static let pause = TimeAmount.microseconds(50)

    init(eventLoop: any EventLoop) { self.eventLoop = eventLoop }

    /// Has the connection flushed when its turn comes. One that waits already must not be added again.
    func add(_ connection: HTTP2Connection) {
        waiting.append(connection)
        schedule()
    }

    private func schedule() {
        guard !isScheduled else { return }
        isScheduled = true
        _ = eventLoop.assumeIsolated().scheduleTask(in: Self.pause) { self.round() }
    }

    private func round() {
        isScheduled = false
        let count = min(waiting.count, Self.connectionsPerRound)
        let next = waiting.prefix(count)
        waiting.removeFirst(count)
        for connection in next { connection.turnCame() }
        if !waiting.isEmpty { schedule() }
    }
}
