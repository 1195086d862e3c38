import GRPCTransport
import NIOCore
import Synchronization

/// A service of raw bytes that shows every kind of call, and remembers what it was told.
final class EchoService: GRPCService {
    enum Method: Int, CaseIterable {
        case unary, expand, chat, hang, fail, describe, later, quick

        var path: String { path(of: "test.Echo") }

        func path(of service: String) -> String { "/\(service)/\(self)" }

        var kind: MethodTable.Kind {
            switch self {
            case .expand: .serverStreaming
            case .chat, .quick: .streaming
            case .unary, .hang, .fail, .describe, .later: .unary
            }
        }
    }

    struct Seen {
        var batches: [Int] = []
        var ended: [CallEnd] = []
        /// Streams told to end because the server stops.
        var drained = 0
        var opened = 0
        var halfClosed = 0
        var disconnects = 0
        var largestQueue = 0
    }

    private struct Expansion {
        var left: Int
        let message: [UInt8]
    }

    private struct State {
        var seen = Seen()
        var expansions: [CallHandle: Expansion] = [:]
        /// Calls of `quick` and what they have been sent.
        var quick: [CallHandle: Int] = [:]
    }

    private let state = Mutex(State())

    var seen: Seen { state.withLock { $0.seen } }

    private let name: String

    init(name: String = "test.Echo") { self.name = name }

    static var methods: MethodTable { EchoService().methods }

    var methods: MethodTable {
        var table = MethodTable()
        for method in Method.allCases { table.add(method.path(of: name), id: method.rawValue, kind: method.kind) }
        return table
    }

    func trailers(of refusal: TransportRefusal, _ status: GRPCStatus) -> Metadata {
        var trailers = Metadata()
        trailers.add("refused-by", name)
        return trailers
    }

    /// A request of `expand`: this many messages of this size.
    static func expansion(count: Int, bytes: Int) -> [UInt8] {
        withUnsafeBytes(of: (UInt32(count).bigEndian, UInt32(bytes).bigEndian)) { [UInt8]($0) }
    }

    func received(_ calls: [InboundCall], on connection: ServerConnection) {
        state.withLock { $0.seen.batches.append(calls.count) }
        for call in calls {
            switch Method(rawValue: call.method) {
            case .unary: connection.reply(call.message, on: call.handle)
            case .expand: beginExpansion(call, on: connection)
            case .hang, .chat, .quick, nil: break
            case .fail:
                var trailers = Metadata()
                trailers.add("esper-error-bin", bytes: [0, 1, 2, 255])
                trailers.add("reason", "on purpose")
                connection.finish(call.handle, GRPCStatus(.failedPrecondition, "100 % né\n"), trailers)
            case .describe:
                let lines = call.metadata.entries.map { "\($0.name)=\($0.wireValue)" }
                let deadline = call.deadline == nil ? "none" : "some"
                connection.reply(
                    [UInt8]((lines + ["deadline=\(deadline)"]).joined(separator: "\n").utf8), on: call.handle)
            case .later: ServerConnection.deliver([.reply(call.handle, call.message)])
            }
        }
    }

    func occurred(_ events: [CallEvent], on connection: ServerConnection) {
        for event in events {
            switch event {
            case .opened(let call):
                state.withLock { state in
                    state.seen.opened += 1
                    if call.method == Method.quick.rawValue { state.quick[call.handle] = 0 }
                }
                if call.method == Method.quick.rawValue { connection.begin(call.handle) }
            case .message(let call, let message):
                connection.send(message, on: call)
                connection.acknowledge(call, messageBytes: message.count)
                hurry(call, message, on: connection)
            case .halfClosed(let call):
                state.withLock { $0.seen.halfClosed += 1 }
                connection.finish(call, .ok)
            case .writable(let call): expand(call, on: connection)
            case .ended(let call, let reason):
                state.withLock { state in
                    state.seen.ended.append(reason)
                    state.expansions.removeValue(forKey: call)
                    state.quick.removeValue(forKey: call)
                }
            }
        }
        connection.flushAnswers()
    }

    /// Ends calls of `quick`; those of `chat` may finish.
    func draining(_ connection: ServerConnection) {
        let ended = state.withLock { state in
            let ended = state.quick.keys.filter { $0.connection === connection }
            for call in ended { state.quick[call] = nil }
            state.seen.drained += ended.count
            return ended
        }
        for call in ended { connection.finish(call, GRPCStatus(.unavailable, "the server is stopping")) }
    }

    func disconnected(_ connection: ServerConnection) { state.withLock { $0.seen.disconnects += 1 } }

    /// A call of `quick` is ended by the server after its third message, or after an empty one, whatever its caller does.
    private func hurry(_ call: CallHandle, _ message: [UInt8], on connection: ServerConnection) {
        let isDone = state.withLock { state in
            guard let count = state.quick[call] else { return false }
            let isDone = count == 2 || message.isEmpty
            state.quick[call] = isDone ? nil : count + 1
            return isDone
        }
        if isDone { connection.finish(call, .ok) }
    }

    private func beginExpansion(_ call: InboundCall, on connection: ServerConnection) {
        guard call.message.count == 8, call.message[0] == 0, call.message[4] == 0 else {
            connection.finish(call.handle, GRPCStatus(.invalidArgument, "eight bytes of sizes, neither 16 million"))
            return
        }
        let count = call.message[0..<4].reduce(0) { $0 << 8 | Int($1) }
        let bytes = call.message[4..<8].reduce(0) { $0 << 8 | Int($1) }
        state.withLock {
            $0.expansions[call.handle] = Expansion(left: count, message: [UInt8](repeating: 7, count: bytes))
        }
        expand(call.handle, on: connection)
    }

    /// Sends while there is credit.
    private func expand(_ call: CallHandle, on connection: ServerConnection) {
        guard var expansion = state.withLock({ $0.expansions[call] }) else { return }
        var hasCredit = true
        var queued = 0
        while hasCredit, expansion.left > 0 {
            hasCredit = connection.send(expansion.message, on: call)
            expansion.left -= 1
            queued += expansion.message.count
        }
        let isDone = expansion.left == 0
        state.withLock { state in
            state.seen.largestQueue = max(state.seen.largestQueue, queued)
            state.expansions[call] = isDone ? nil : expansion
        }
        if isDone { connection.finish(call, .ok) }
    }
}
