import EsperTypes
import Metrics
import NIOCore
import Synchronization

/// What the connections of one event loop share; confined to it, but for its ``Inbox``.
final class DoorLoop {
    let door: DoorContext
    let eventLoop: any EventLoop
    private(set) var inbox: Inbox!
    var connections: [UInt64: RedisConnection] = [:]
    /// Those that owe an answer, or whose client does not read.
    var busy: Set<UInt64> = []
    var counts = DoorCounts()
    /// The answers of the turn that runs: one buffer for all connections, since turns do not overlap.
    var answers = ByteBuffer()
    /// When the last tick was: near enough for whatever is told in seconds.
    private(set) var coarseNow: Instant
    /// Between two looks at what is overdue.
    static let tickTime: Duration = .milliseconds(100)
    private var ticks: RepeatedTask?
    private var finished: (@Sendable () -> Void)?

    init(door: DoorContext, eventLoop: any EventLoop) {
        self.door = door
        self.eventLoop = eventLoop
        coarseNow = door.clock.now()
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        inbox = Inbox(eventLoop: eventLoop, bound)
        ticks = eventLoop.scheduleRepeatedTask(
            initialDelay: TimeAmount(Self.tickTime), delay: TimeAmount(Self.tickTime)
        ) { _ in
            bound.value.tick()
        }
    }

    /// Lets the connections answer what they owe, closes them, and tells when the last one is gone.
    func drain(within limit: TimeAmount, then done: @escaping @Sendable () -> Void) {
        finished = done
        for connection in connections.values { connection.drain() }
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        eventLoop.scheduleTask(in: limit) {
            for connection in bound.value.connections.values { connection.cut("stopping") }
        }
        closedOne()
    }

    /// To be called whenever a connection is gone.
    func closedOne() {
        guard let finished, connections.isEmpty else { return }
        self.finished = nil
        ticks?.cancel()
        tick()
        finished()
    }

    private func tick() {
        coarseNow = door.clock.now()
        if counts.commands > 0 || counts.connections > 0 {
            door.totals.add(counts)
            door.metrics.record(counts)
            counts = DoorCounts()
        }
        door.metrics.connections.record(door.totals.openConnections)
        door.metrics.valueBytes.record(door.values.takenBytes)
        for id in busy { connections[id]?.check(at: coarseNow) }
    }

    private func arrived(_ items: [Item]) {
        // Turns of several connections use one buffer: each ends before the next begins.
        var rest = items[...]
        while let first = rest.first {
            let id = first.connection
            let end = rest.firstIndex { $0.connection != id } ?? rest.endIndex
            if let connection = connections[id] {
                for item in rest[..<end] {
                    switch item {
                    case .answer(_, let number, let reply, let lease): connection.finish(number, reply, lease)
                    case .changed(_, let changes): connection.push(changes)
                    }
                }
                connection.goOn()
            }
            rest = rest[end...]
        }
    }

    enum Item: Sendable {
        case answer(connection: UInt64, number: Int, Reply, ValueLease?)
        /// Tracked names changed; nil: any may have.
        case changed(connection: UInt64, [TrackingTable.Change]?)

        var connection: UInt64 {
            switch self {
            case .answer(let connection, _, _, _), .changed(let connection, _): connection
            }
        }
    }

    /// Answers that were made elsewhere, on their way to the loop: one wake-up for all that come while it is busy.
    final class Inbox: Sendable {
        private let eventLoop: any EventLoop
        private let owner: NIOLoopBound<DoorLoop>
        private let waiting = Mutex<[Item]>([])

        init(eventLoop: any EventLoop, _ owner: NIOLoopBound<DoorLoop>) {
            self.eventLoop = eventLoop
            self.owner = owner
        }

        func add(_ item: Item) {
            let isFirst = waiting.withLock { waiting in
                waiting.append(item)
                return waiting.count == 1
            }
            guard isFirst else { return }
            eventLoop.execute {
                let all = self.waiting.withLock { waiting in
                    let all = waiting
                    waiting = []
                    return all
                }
                self.owner.value.arrived(all)
            }
        }
    }
}
