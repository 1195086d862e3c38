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
    }

    private struct State {
        var deliveries: [Delivery] = []
        var count = 0
        var isWakePending = false
    }

    private let state = Mutex(State())
    private let maximumRequests: Int
    private let eventLoop: any EventLoop

    init(eventLoop: any EventLoop, maximumRequests: Int) {
        self.eventLoop = eventLoop
        self.maximumRequests = maximumRequests
    }

    /// - Parameter drain: called on the core loop once for all batches submitted until then.
    /// - Returns: false when there is no room for the batch.
    func submit(
        _ requests: [ServiceRequest], from sink: any ReplySink, drain: @escaping @Sendable () -> Void
    ) -> Bool {
        let (isAccepted, wakes) = state.withLock { state in
            guard state.count + requests.count <= maximumRequests else { return (false, false) }
            state.count += requests.count
            state.deliveries.append(Delivery(requests: requests, sink: sink))
            defer { state.isWakePending = true }
            return (true, !state.isWakePending)
        }
        if wakes { eventLoop.execute(drain) }
        return isAccepted
    }

    func takeAll() -> [Delivery] {
        state.withLock { state in
            state.isWakePending = false
            state.count = 0
            return exchange(&state.deliveries, with: [])
        }
    }
}

private func exchange<Value>(_ place: inout Value, with value: Value) -> Value {
    let old = place
    place = value
    return old
}
