import DequeModule
import EsperTypes
import NIOCore
import Synchronization

/// The bounded way from the doors' loops to the core loop: whole batches, one wake-up for all that wait.
///
/// When full, ``submit(_:from:)`` refuses the batch and the door answers `overloaded`, certainly not committed.
final class Mailbox: Sendable {
    struct Delivery: Sendable {
        var requests: [ServiceRequest]
        var sink: any ReplySink
        fileprivate var bytes: Int
    }

    private struct State {
        var deliveries: Deque<Delivery> = []
        var count = 0
        var bytes = 0
        var isWakePending = false
    }

    private let state = Mutex(State())
    private let maximumRequests: Int
    private let maximumBytes: Int
    private let eventLoop: any EventLoop

    init(eventLoop: any EventLoop, maximumRequests: Int, maximumBytes: Int) {
        self.eventLoop = eventLoop
        self.maximumRequests = maximumRequests
        self.maximumBytes = maximumBytes
    }

    /// - Parameter drain: called on the core loop once for all batches submitted until ``next()`` finds none.
    /// - Returns: false when there is no room for the batch.
    func submit(
        _ requests: [ServiceRequest], from sink: any ReplySink, drain: @escaping @Sendable () -> Void
    ) -> Bool {
        let bytes = requests.reduce(0) { $0 + $1.operation.heldBytes }
        // What ends or unblocks earlier requests makes room, and there is at most one of each for every call in progress.
        let isControl = requests.allSatisfy { $0.operation.isControl }
        let (isAccepted, wakes) = state.withLock { state in
            let fits = state.count + requests.count <= maximumRequests && state.bytes + bytes <= maximumBytes
            guard fits || isControl else { return (false, false) }
            state.count += requests.count
            state.bytes += bytes
            state.deliveries.append(Delivery(requests: requests, sink: sink, bytes: bytes))
            defer { state.isWakePending = true }
            return (true, !state.isWakePending)
        }
        if wakes { eventLoop.execute(drain) }
        return isAccepted
    }

    /// The oldest batch; nil when there is none, and only then is the loop woken for the next one.
    func next() -> Delivery? {
        state.withLock { state in
            guard let delivery = state.deliveries.popFirst() else {
                state.isWakePending = false
                return nil
            }
            state.count -= delivery.requests.count
            state.bytes -= delivery.bytes
            return delivery
        }
    }
}
