import EsperProtocol
import FoundationEssentials
import GRPCTransport
import SwiftProtobuf
import Synchronization

/// Speaks `esper.v1` without a cluster behind it: enough for a foreign client to be told everything a transport can say.
final class ProtocolService: GRPCService {
    private struct State {
        var values: [Data: Data] = [:]
        var revision: UInt64 = 0
        /// Watches that still send, and the next number of each.
        var watches: [CallHandle: (next: UInt64, end: UInt64)] = [:]
    }

    private let state = Mutex(State())
    private static let chat = 1000

    static var methods: MethodTable {
        var table = MethodTable()
        for method in ProtoMethod.allCases {
            table.add(method.path, id: method.rawValue, kind: method.isServerStreaming ? .serverStreaming : .unary)
        }
        table.add("/test.Echo/chat", id: chat, kind: .streaming)
        return table
    }

    func received(_ calls: [InboundCall], on connection: ServerConnection) {
        for call in calls {
            do {
                try answer(call, on: connection)
            } catch {
                connection.finish(call.handle, GRPCStatus(.invalidArgument, "\(error)"))
            }
        }
    }

    private func answer(_ call: InboundCall, on connection: ServerConnection) throws {
        switch ProtoMethod(rawValue: call.method) {
        case .put:
            let request = try ProtoPutRequest(serializedBytes: call.message)
            let revision = state.withLock { state in
                state.values[request.key] = request.value
                state.revision += 1
                return state.revision
            }
            connection.reply(try ProtoPutResponse.with { $0.commit = Self.commit(revision) }.bytes, on: call.handle)
        case .get:
            let request = try ProtoGetRequest(serializedBytes: call.message)
            let value = state.withLock { $0.values[request.key] }
            let response = ProtoGetResponse.with { response in
                guard let value else { return }
                response.kv = .with { ($0.key, $0.value) = (request.key, value) }
            }
            connection.reply(try response.bytes, on: call.handle)
        case .delete:
            var trailers = Metadata()
            let detail = ProtoErrorDetail.with { ($0.code, $0.outcome) = ("on_purpose", .notCommitted) }
            trailers.add("esper-error-bin", bytes: try detail.bytes)
            connection.finish(call.handle, GRPCStatus(.failedPrecondition, "100 % né"), trailers)
        case .compact:
            let isBlue = call.metadata["tenant"] == "blue"
            let hasTrace = call.metadata.bytes("trace-bin") == [0, 255, 1]
            let response = ProtoCompactResponse.with {
                $0.commit = Self.commit((isBlue ? 1 : 0) + (hasTrace ? 1 : 0))
            }
            connection.reply(try response.bytes, on: call.handle)
        case .range: break  // Never answered: the deadline or a cancellation ends it.
        case .watch:
            let request = try ProtoWatchRequest(serializedBytes: call.message)
            state.withLock { $0.watches[call.handle] = (0, request.fromRevision) }
            try sendEvents(call.handle, on: connection)
        default: connection.finish(call.handle, GRPCStatus(.unimplemented))
        }
    }

    func occurred(_ events: [CallEvent], on connection: ServerConnection) {
        for event in events {
            switch event {
            case .opened: break
            case .message(let call, let message):
                connection.send(message, on: call)
                connection.acknowledge(call, messageBytes: message.count)
            case .halfClosed(let call): connection.finish(call, .ok)
            case .writable(let call):
                do { try sendEvents(call, on: connection) } catch { connection.finish(call, GRPCStatus(.internal)) }
            case .ended(let call, _): state.withLock { _ = $0.watches.removeValue(forKey: call) }
            }
        }
        connection.flushAnswers()
    }

    private func sendEvents(_ call: CallHandle, on connection: ServerConnection) throws {
        guard let watch = state.withLock({ $0.watches[call] }) else { return }
        let end = watch.end
        var next = watch.next
        var hasCredit = true
        while hasCredit, next < end {
            hasCredit = connection.send(try ProtoWatchResponse.with { $0.revision = next }.bytes, on: call)
            next += 1
        }
        state.withLock { $0.watches[call] = next < end ? (next, end) : nil }
        if next == end { connection.finish(call, .ok) }
    }

    private static func commit(_ revision: UInt64) -> ProtoCommit {
        .with { ($0.outcome, $0.revision) = (.committed, revision) }
    }
}

extension Message {
    fileprivate var bytes: [UInt8] { get throws { try serializedBytes() } }
}
