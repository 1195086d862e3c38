internal import CacheCore
internal import EsperProtocol
internal import EsperTypes
internal import GRPCTransport
internal import KernelCache
internal import NIOCore
internal import RaftRuntime
internal import Synchronization

/// One call of the cache's service under way: its task, what it has been sent, and its wait for room to answer.
final class CacheCall: Sendable {
    private struct State {
        var task: Task<Void, Never>?
        var isEnded = false
        /// No part of an answer has been sent.
        var isWaiting = true
        /// Nil: no more requests.
        var requests: [[UInt8]?] = []
        var reader: CheckedContinuation<[UInt8]?, Never>?
        var isBlocked = false
        var writer: CheckedContinuation<Void, Never>?
    }

    let handle: CallHandle
    let method: ProtoCacheMethod
    let principal: String
    let deadline: Instant?
    private let message: [UInt8]
    private let door: CacheDoor
    private let state = Mutex(State())

    init(_ inbound: InboundCall, _ method: ProtoCacheMethod, door: CacheDoor, on connection: ServerConnection) {
        handle = inbound.handle
        self.method = method
        message = inbound.message
        principal = connection.principal
        deadline = inbound.deadline(from: NodeClock.now())
        self.door = door
    }

    var cache: any ArtifactCache { door.cache }
    var transfers: TransferBound { door.transfers }
    var silence: TimeAmount { door.silence }

    /// Waits for something else than its caller.
    var isWaiting: Bool { state.withLock { $0.isWaiting && method != .store } }

    /// When an answer must be there, of a call that names no deadline.
    func deadline(orWithin usual: Duration) -> Instant { deadline ?? NodeClock.now() + usual }

    // MARK: Beginning and ending

    func start() {
        // Ends with the call: cancelled by ``end()`` when the caller is gone.
        let task = Task { await run() }
        let isEnded = state.withLock { state in
            state.task = task
            return state.isEnded
        }
        if isEnded { task.cancel() }
    }

    /// Nothing can be answered any more. Also called when everything has been.
    func end() {
        let (task, reader, writer) = state.withLock { state in
            state.isEnded = true
            defer { (state.task, state.reader, state.writer) = (nil, nil, nil) }
            return (state.task, state.reader, state.writer)
        }
        task?.cancel()
        reader?.resume(returning: nil)
        writer?.resume()
    }

    private func run() async {
        do throws(CacheFailure) {
            switch method {
            case .retrieve: try await retrieve(message)
            case .store: try await store()
            default: reply(try await answer(message))
            }
        } catch {
            finish(error)
        }
        door.ended(self)
    }

    // MARK: Answers

    private func reply(_ message: [UInt8]) { ServerConnection.deliver([.reply(handle, message)]) }

    func finish(_ failure: CacheFailure) {
        let failure = CallFailure(failure)
        ServerConnection.deliver([.finish(handle, failure.status, failure.trailers)])
    }

    func finish() { ServerConnection.deliver([.finish(handle, .ok)]) }

    /// Sends one of several messages; returns when there is room for another, or nobody listens any more. A caller who takes nothing for
    /// so long has gone: what is queued for it is given up.
    func send(_ message: [UInt8]) async throws(CacheFailure) {
        let connection = handle.connection
        let timer = connection.eventLoop.scheduleTask(in: silence) {
            connection.abandon(self.handle)
            self.end()
        }
        defer { timer.cancel() }
        await withCheckedContinuation { (continuation: CheckedContinuation<Void, Never>) in
            let isEnded = state.withLock { state in
                state.isWaiting = false
                if !state.isEnded { state.writer = continuation }
                return state.isEnded
            }
            guard !isEnded else { return continuation.resume() }
            connection.eventLoop.execute {
                let hasRoom = connection.send(message, on: self.handle)
                if hasRoom { self.hasRoom() }
                connection.flushAnswers()
            }
        }
        if isOver { throw CacheFailure(.timedOut, "the caller is gone") }
    }

    var isOver: Bool { state.withLock { $0.isEnded } }

    func hasRoom() {
        let writer = state.withLock { state in
            defer { state.writer = nil }
            return state.writer
        }
        writer?.resume()
    }

    // MARK: Requests of a stream

    /// - Parameter message: nil: there are no more. On the event loop.
    func received(_ message: [UInt8]?) {
        let reader = state.withLock { state in
            defer { state.reader = nil }
            if state.reader == nil { state.requests.append(message) }
            return state.reader
        }
        guard let reader else { return }
        if let message { handle.connection.acknowledge(handle, messageBytes: message.count) }
        reader.resume(returning: message)
    }

    /// The next message; nil: there are no more, or the call is over.
    func next() async -> [UInt8]? {
        let message: [UInt8]? = await withCheckedContinuation { continuation in
            let (isThere, message) = state.withLock { state -> (Bool, [UInt8]?) in
                guard !state.isEnded else { return (true, nil) }
                guard !state.requests.isEmpty else {
                    state.reader = continuation
                    return (false, nil)
                }
                return (true, state.requests.removeFirst())
            }
            guard isThere else { return }
            if let message { acknowledge(message.count) }
            continuation.resume(returning: message)
        }
        return message
    }

    private func acknowledge(_ bytes: Int) {
        let handle = handle
        let connection = handle.connection
        connection.eventLoop.execute {
            connection.acknowledge(handle, messageBytes: bytes)
            connection.flushAnswers()
        }
    }
}
