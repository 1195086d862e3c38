import GRPCTransport
import NIOCore
import Synchronization

/// A request of the JSON gateway on its way through a lane: what it is answered with, for the task that serves it.
///
/// A reader that does not keep up is known by the bytes that it has not taken: above a bound there is no credit, so
/// that a watch waits as it does for a slow stream.
final class GatewayCall: Hashable, Sendable {
    enum Event: Sendable {
        case message([UInt8])
        case finished(GRPCStatus)
    }

    /// What may wait to be written out before there is no credit.
    private static let creditBytes = 256 << 10

    private struct State {
        var waiting: [Event] = []
        var bytes = 0
        var lacksCredit = false
        var isFinished = false
        var reader: CheckedContinuation<Void, Never>?
    }

    private let state = Mutex(State())
    private let hasRoom: @Sendable (GatewayCall) -> Void

    /// - Parameter hasRoom: called from any thread when there is credit again.
    init(hasRoom: @escaping @Sendable (GatewayCall) -> Void) { self.hasRoom = hasRoom }

    /// - Returns: whether there is credit left.
    func send(_ message: [UInt8]) -> Bool {
        let (reader, hasCredit) = state.withLock { state in
            guard !state.isFinished else { return (nil as CheckedContinuation<Void, Never>?, false) }
            state.waiting.append(.message(message))
            state.bytes += message.count
            if state.bytes >= Self.creditBytes { state.lacksCredit = true }
            return (state.reader.take(), !state.lacksCredit)
        }
        reader?.resume()
        return hasCredit
    }

    func finish(_ status: GRPCStatus) {
        let reader = state.withLock { state in
            guard !state.isFinished else { return nil as CheckedContinuation<Void, Never>? }
            state.isFinished = true
            state.waiting.append(.finished(status))
            return state.reader.take()
        }
        reader?.resume()
    }

    /// What has come since the last time, at least one event; waits for it. One task at a time; after
    /// ``Event/finished(_:)`` nothing comes. A cancelled task is told that the call was cancelled.
    func next() async -> [Event] {
        await withTaskCancellationHandler {
            while true {
                let events = take()
                if !events.isEmpty { return events }
                await withCheckedContinuation { continuation in
                    let isReady = state.withLock { state in
                        guard state.waiting.isEmpty else { return true }
                        state.reader = continuation
                        return false
                    }
                    if isReady { continuation.resume() }
                }
            }
        } onCancel: {
            finish(GRPCStatus(.cancelled, "the caller is gone"))
        }
    }

    private func take() -> [Event] {
        let (events, hasRoomAgain) = state.withLock { state in
            defer {
                state.waiting = []
                state.bytes = 0
                state.lacksCredit = false
            }
            return (state.waiting, state.lacksCredit)
        }
        if hasRoomAgain { hasRoom(self) }
        return events
    }

    static func == (left: GatewayCall, right: GatewayCall) -> Bool { left === right }

    func hash(into hasher: inout Hasher) { hasher.combine(ObjectIdentifier(self)) }
}
