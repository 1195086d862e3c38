internal import EsperProtocol
package import GRPCTransport
internal import NIOCore
internal import Synchronization

/// The answers of one server-streaming call, for one task that takes them one by one.
///
/// Bounded by the window of the stream: a message gives its part back when it is taken.
package final class MessageStream: Sendable {
    package enum Step: Sendable {
        case message([UInt8])
        case ended(CallFailure?)
    }

    private struct State {
        var messages = CircularBuffer<[UInt8]>()
        var stream: ClientStream?
        var ending: Step?
        var waiting: Once<Step>?
        var isCancelled = false
        /// Sizes of messages that were taken before the stream was known.
        var early: [Int] = []

        /// - Returns: the stream on which a message that is taken now is to be acknowledged, if it is known.
        mutating func taken(_ message: [UInt8]) -> ClientStream? {
            if stream == nil { early.append(message.count) }
            return stream
        }
    }

    private let state = Mutex(State())

    /// Not opened: messages are handed in by ``happened(_:)`` alone.
    package init() {}

    /// How many messages wait to be taken, and for how many there is memory.
    package var held: (count: Int, capacity: Int) { state.withLock { ($0.messages.count, $0.messages.capacity) } }

    init(_ engine: CallEngine, _ method: ProtoMethod, _ request: [UInt8]) {
        engine.open(method, request, opened: { self.opened($0) }, handler: { self.happened($0) })
    }

    /// The next message, or the end, which is then given every time.
    package func next() async -> Step {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let once = Once(continuation)
                let (step, stream) = state.withLock { state -> (Step?, ClientStream?) in
                    if let message = state.messages.popFirst() { return (.message(message), state.taken(message)) }
                    if let ending = state.ending { return (ending, nil) }
                    state.waiting = once
                    return (nil, nil)
                }
                guard let step else { return }
                if case .message(let message) = step { stream?.acknowledge(messageBytes: message.count) }
                once.resume(step)
            }
        } onCancel: {
            cancel()
        }
    }

    /// Ends the call; whoever waits gets the end.
    func cancel() {
        let stream = state.withLock { state in
            state.isCancelled = true
            return state.stream
        }
        stream?.cancel()
        finish(.ended(CallFailure(GRPCStatus(.cancelled), mayHaveArrived: true)))
    }

    /// Whether the end has come, though messages before it may wait to be taken.
    var hasEnded: Bool { state.withLock { $0.ending != nil } }

    func opened(_ stream: ClientStream) {
        let (isCancelled, early) = state.withLock { state in
            state.stream = stream
            defer { state.early = [] }
            return (state.isCancelled, state.early)
        }
        if isCancelled { stream.cancel() }
        for count in early { stream.acknowledge(messageBytes: count) }
    }

    package func happened(_ event: ClientStreamEvent) {
        switch event {
        case .began: break
        case .message(let message):
            let (waiting, stream) = state.withLock { state -> (Once<Step>?, ClientStream?) in
                defer { state.waiting = nil }
                if state.waiting == nil { state.messages.append(message) }
                return (state.waiting, state.waiting == nil ? nil : state.taken(message))
            }
            guard let waiting else { return }
            stream?.acknowledge(messageBytes: message.count)
            waiting.resume(.message(message))
        case .ended(.success): finish(.ended(nil))
        case .ended(.failure(let failure)): finish(.ended(failure))
        }
    }

    private func finish(_ ending: Step) {
        let (waiting, step) = state.withLock { state in
            if state.ending == nil { state.ending = ending }
            defer { state.waiting = nil }
            return (state.waiting, state.ending ?? ending)
        }
        waiting?.resume(step)
    }
}
