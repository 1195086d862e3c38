import EsperClient
import EsperTypes
import Synchronization

/// Collects what clients did and were told, for the checkers; written as JSON lines when the run ends.
///
/// Timestamps are nanoseconds of one monotonic clock since the recorder was made. Memory is bounded: a history with holes
/// proves nothing, so beyond `maximumOperations` there is none.
final class HistoryRecorder: Sendable {
    static let maximumOperations = 4_000_000

    private struct State {
        var lines: [String] = []
        var nextProcess: Int64 = 0
        var isOverfull = false
    }

    private let state = Mutex(State())
    private let start = MonotonicClock.nanoseconds()
    let path: String

    init(path: String) { self.path = path }

    /// Names whoever issues one operation at a time; one that got no answer goes on under a new name.
    func newProcess() -> Int64 {
        state.withLock { state in
            defer { state.nextProcess += 1 }
            return state.nextProcess
        }
    }

    func now() -> Int64 { Int64(MonotonicClock.nanoseconds() - start) }

    /// One operation that has ended.
    ///
    /// - Parameter answer: what was told, or why nothing was; an unknown outcome has no time of return.
    func record(
        process: Int64, model: String, op: String, key: String, input: JSON, call: Int64, node: String,
        answer: Result<JSON, EsperError>
    ) {
        let end = now()
        var fields: [JSON.Field] = [
            .init(name: "process", value: .integer(process)), .init(name: "op", value: .string(op)),
            .init(name: "key", value: .string(key)), .init(name: "input", value: input),
        ]
        switch answer {
        case .success(let output):
            fields += [
                .init(name: "output", value: output), .init(name: "call_ns", value: .integer(call)),
                .init(name: "return_ns", value: .integer(end)), .init(name: "status", value: "ok"),
            ]
        case .failure(let error):
            let isUnknown = error.outcome == .unknown
            fields += [
                .init(name: "output", value: .null), .init(name: "call_ns", value: .integer(call)),
                .init(name: "return_ns", value: isUnknown ? .null : .integer(end)),
                .init(name: "status", value: isUnknown ? "info" : "fail"),
                .init(name: "error", value: .string(error.code)),
            ]
        }
        fields += [.init(name: "model", value: .string(model)), .init(name: "node", value: .string(node))]
        append(JSON.object(fields).text)
    }

    /// A lock whose lease may have ended since `call`: nobody's doing, so under a name of its own.
    func recordExpiry(key: String, token: UInt64, call: Int64) {
        append(
            JSON.fields([
                "process": .integer(newProcess()), "op": "expire", "key": .string(key),
                "input": .fields(["token": .unsigned(token)]), "output": .null, "call_ns": .integer(call),
                "return_ns": .null, "status": "info", "model": "lock",
            ]).text)
    }

    func recordFault(_ kind: String, target: String, start: Int64, end: Int64?) {
        append(
            JSON.fields([
                "fault": .string(kind), "t_ns": .integer(start), "end_ns": .optional(end) { .integer($0) },
                "target": .string(target),
            ]).text)
    }

    func write(header: JSON) throws {
        let (lines, isOverfull) = state.withLock { ($0.lines, $0.isOverfull) }
        guard !isOverfull else {
            throw CommandFailure("the history would exceed \(Self.maximumOperations) operations; make the run shorter")
        }
        let head = JSON.fields(["header": header]).text
        try Files.write(([head] + lines).joined(separator: "\n") + "\n", to: path, mode: 0o644)
    }

    private func append(_ line: String) {
        state.withLock { state in
            if state.lines.count < Self.maximumOperations { state.lines.append(line) } else { state.isOverfull = true }
        }
    }
}
