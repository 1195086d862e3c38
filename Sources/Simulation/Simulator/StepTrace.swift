import EsperTypes
import RaftCore

/// Every step of every core of a run as one JSON object a line, for checkers of models that replay what happened.
///
/// The fields are described in docs/TESTING.md. A step is an event taken in, a flush that ends a turn, a message that leaves,
/// a crash or a restart; `state` is what the core is in after it.
final class StepTrace {
    private let print: (String) -> Void
    private var number: Int64 = 0

    /// - Parameter print: takes one line at a time.
    init(_ print: @escaping (String) -> Void) { self.print = print }

    /// - Parameter fields: what belongs to this kind of step only.
    func add(
        _ event: String, _ fields: [JSONValue.Member] = [], of node: SimulatedNode, at time: UInt64
    ) {
        number += 1
        let head: [JSONValue.Member] = [
            .init("step", .integer(number)), .init("time_ns", .integer(Int64(time))), .init("node", node.id.json),
            .init("event", .string(event)),
        ]
        let state = node.isUp ? [JSONValue.Member("state", node.raft.status.json)] : []
        print(JSONValue.object(head + fields + state).description)
    }

    func add(_ event: Event, of node: SimulatedNode, at time: UInt64) {
        let (name, fields) = event.json(to: node.id)
        add(name, fields, of: node, at: time)
    }

    func send(_ message: Message, from node: SimulatedNode, to: NodeID, at time: UInt64) {
        add("send", [.init("message", message.json(from: node.id, to: to))], of: node, at: time)
    }
}

extension NodeID {
    fileprivate var json: JSONValue { .integer(Int64(rawValue)) }
}

extension LogIndex {
    fileprivate var json: JSONValue { .integer(Int64(rawValue)) }
}

extension Term {
    fileprivate var json: JSONValue { .integer(Int64(rawValue)) }
}

extension EntryID {
    fileprivate var json: JSONValue { ["term": term.json, "index": index.json] }
}

extension Configuration {
    fileprivate var json: JSONValue {
        func list(_ nodes: [NodeID]) -> JSONValue { .array(nodes.map(\.json)) }
        return [
            "incoming": list(incoming), "outgoing": list(outgoing), "learners": list(learners),
            "learners_next": list(learnersNext), "auto_leave": .bool(autoLeave),
        ]
    }
}

extension RaftStatus {
    fileprivate var json: JSONValue {
        [
            "role": .string("\(role)"), "term": term.json, "vote": vote?.json ?? nil, "leader": leader?.json ?? nil,
            "first": first.json, "last": last.json, "durable": durable.json, "commit": commit.json,
            "applied": applied.json, "snapshot": snapshot?.id.json ?? nil, "configuration": configuration.json,
            "configuration_index": configurationIndex.json,
        ]
    }
}

extension Entry {
    fileprivate var json: JSONValue {
        let configuration = kind == .configuration ? try? Configuration(decoding: payload).json : nil
        return [
            "term": term.json, "index": index.json, "kind": .string("\(kind)"),
            "checksum": .integer(Int64(CRC32C.checksum(payload))), "configuration": configuration ?? nil,
        ]
    }
}

extension Event {
    /// The name of the event, and what it brings.
    fileprivate func json(to node: NodeID) -> (name: String, fields: [JSONValue.Member]) {
        func peer(_ id: NodeID?) -> JSONValue.Member { .init("peer", id?.json ?? nil) }
        func count(_ number: Int) -> JSONValue.Member { .init("count", .integer(Int64(number))) }
        return switch self {
        case .received(let message, let from): ("receive", [.init("message", message.json(from: from, to: node))])
        case .deadlineReached: ("deadline", [])
        case .propose(let proposals): ("propose", [count(proposals.count)])
        case .read(let tokens): ("read", [count(tokens.count)])
        case .transferLeadership(let to): ("transfer", [peer(to)])
        case .changeConfiguration(_, let request): ("change", [.init("request", .string("\(request)"))])
        case .persisted(let sequence): ("persisted", [.init("sequence", .integer(Int64(sequence.rawValue)))])
        case .applied(let index): ("applied", [.init("index", index.json)])
        case .linkUp(let id): ("link_up", [peer(id)])
        case .linkDown(let id): ("link_down", [peer(id)])
        case .snapshotTaken(let descriptor, _): ("snapshot_taken", [.init("snapshot", descriptor.id.json)])
        case .snapshotChunkRead(let to, let descriptor, _, _, _):
            ("snapshot_read", [peer(to), .init("snapshot", descriptor.id.json)])
        case .snapshotReadFailed(let to, let descriptor):
            ("snapshot_read_failed", [peer(to), .init("snapshot", descriptor.id.json)])
        case .snapshotChunkWritten(let descriptor, _): ("snapshot_written", [.init("snapshot", descriptor.id.json)])
        case .snapshotInstalled(let descriptor): ("snapshot_installed", [.init("snapshot", descriptor.id.json)])
        case .snapshotWriteFailed(let descriptor):
            ("snapshot_write_failed", [.init("snapshot", descriptor.id.json)])
        case .storageStalled(let isStalled): ("storage_stalled", [.init("is", .bool(isStalled))])
        case .storageFull(let isFull): ("storage_full", [.init("is", .bool(isFull))])
        case .setAside(let nodes): ("set_aside", [.init("nodes", .string("\(nodes)"))])
        case .excluded: ("excluded", [])
        case .admission(let isPaused): ("admission", [.init("is_paused", .bool(isPaused))])
        }
    }
}

extension Message {
    fileprivate func json(from: NodeID, to: NodeID) -> JSONValue {
        func all(_ type: String, _ fields: KeyValuePairs<String, JSONValue>) -> JSONValue {
            let head: [JSONValue.Member] = [
                .init("type", .string(type)), .init("from", from.json), .init("to", to.json), .init("term", term.json),
            ]
            return .object(head + fields.map { JSONValue.Member($0.key, $0.value) })
        }
        return switch self {
        case .preVoteRequest(let request): all("pre_vote_request", ["last": request.last.json])
        case .preVoteResponse(let response): all("pre_vote_response", ["granted": .bool(response.isGranted)])
        case .requestVote(let request):
            all("request_vote", ["last": request.last.json, "transfer": .bool(request.isTransfer)])
        case .requestVoteResponse(let response): all("request_vote_response", ["granted": .bool(response.isGranted)])
        case .appendEntries(let append):
            all(
                "append_entries",
                [
                    "previous": append.previous.json, "commit": append.commit.json,
                    "entries": .array(append.entries.map(\.json)),
                ])
        case .appendEntriesResponse(let response):
            switch response.outcome {
            case .matched(let durable, let received):
                all("append_entries_response", ["durable": durable.json, "received": received.json])
            case .conflict(let previous, let hint):
                all("append_entries_response", ["conflict": previous.json, "hint": hint.json])
            case .staleTerm: all("append_entries_response", ["stale": true])
            }
        case .installSnapshot(let chunk):
            all(
                "install_snapshot",
                [
                    "snapshot": chunk.descriptor.id.json, "offset": .integer(Int64(chunk.offset)),
                    "is_last": .bool(chunk.isLast), "configuration": chunk.descriptor.configuration.json,
                ])
        case .installSnapshotResponse(let response):
            switch response.outcome {
            case .received(let id, let offset):
                all("install_snapshot_response", ["snapshot": id.json, "offset": .integer(Int64(offset))])
            case .installed(let through): all("install_snapshot_response", ["installed": through.json])
            case .staleTerm: all("install_snapshot_response", ["stale": true])
            }
        case .timeoutNow(let order): all("timeout_now", ["last": order.last.json])
        case .readIndexRequest(let request):
            all("read_index_request", ["number": .string(String(request.number))])
        case .readIndexResponse(let response):
            all(
                "read_index_response",
                ["number": .string(String(response.number)), "index": response.index?.json ?? nil])
        }
    }
}
