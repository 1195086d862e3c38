import EsperClient
import EsperTypes
import Foundation
import Simulation
import Synchronization
import TestSupport
import Testing

/// Writes down what clients asked and were told, and has it judged.
final class Recorder: Sendable {
    private let history = Mutex(History())
    private let processes = Atomic<Int64>(0)
    private let start = ContinuousClock.now

    func now() -> Int64 { Int64((ContinuousClock.now - start) / .nanoseconds(1)) }

    /// A name for somebody who does one thing at a time.
    func newProcess() -> Int64 { processes.add(1, ordering: .relaxed).newValue }

    /// Performs an operation and records it. After an unknown outcome `process` goes on under a new name.
    func record<Value: Sendable>(
        _ model: String, _ op: String, _ key: String, _ input: JSONValue = nil, by process: inout Int64,
        output: (Value) -> JSONValue, _ body: () async throws -> Value
    ) async -> Result<Value, EsperError> {
        var operation = HistoryOperation(
            process: process, op: op, key: key, input: input, callNanoseconds: now(), returnNanoseconds: nil,
            status: .info, model: model)
        let result: Result<Value, EsperError>
        do {
            let value = try await body()
            operation.returnNanoseconds = now()
            (operation.output, operation.status) = (output(value), .ok)
            result = .success(value)
        } catch let error as EsperError {
            operation.extra = [.init("error", .string(error.code))]
            if error.outcome == .unknown {
                process = newProcess()
            } else {
                (operation.returnNanoseconds, operation.status) = (now(), .fail)
            }
            result = .failure(error)
        } catch {
            preconditionFailure("a client throws nothing else: \(error)")
        }
        history.withLock { $0.operations.append(operation) }
        return result
    }

    /// A lock's holding that may have ended by itself at any time since `call`; nobody's doing, so under a new name.
    func recordExpiry(of token: FencingToken, _ lock: String, since call: Int64) {
        let operation = HistoryOperation(
            process: newProcess(), op: "expire", key: lock, input: ["token": .integer(Int64(token.rawValue))],
            callNanoseconds: call, returnNanoseconds: nil, status: .info, model: "lock")
        history.withLock { $0.operations.append(operation) }
    }

    func recordFault(_ kind: String, _ target: String, since start: Int64) {
        let fault = History.Fault(kind: kind, startNanoseconds: start, endNanoseconds: now(), target: target)
        history.withLock { $0.faults.append(fault) }
    }

    /// How many operations of a kind had an outcome.
    func count(_ model: String, _ op: String, _ status: HistoryOperation.Status = .ok) -> Int {
        history.withLock { history in
            history.operations.count { $0.model == model && $0.op == op && $0.status == status }
        }
    }

    /// How many operations have an unknown outcome.
    var unknown: Int { history.withLock { $0.operations.count { $0.status == .info && $0.op != "expire" } } }

    /// The longest time in which nobody got an answer.
    var longestSilence: Duration {
        let ends = history.withLock { $0.operations.filter { $0.status == .ok }.compactMap(\.returnNanoseconds) }
            .sorted()
        return .nanoseconds(zip(ends, ends.dropFirst()).map { $1 - $0 }.max() ?? 0)
    }

    /// Expects that the history can have happened. One that cannot is kept as a file; any is when the environment says
    /// so with `ESPER_CHAOS_KEEP`.
    func judge() async throws {
        let history = history.withLock { $0 }
        let report = await withCheckedContinuation { continuation in
            Thread.detachNewThread { continuation.resume(returning: HistoryChecker().check(history)) }
        }
        #expect(report.unjudgedModels.isEmpty)
        #expect(report.operations == history.operations.count)
        let environment = ProcessInfo.processInfo.environment
        guard report.verdict != .holds || environment["ESPER_CHAOS_KEEP"] != nil else { return }
        let directory = environment["ESPER_TEST_DIRECTORY"] ?? NSTemporaryDirectory()
        let path = directory + "/chaos-\(UInt32.random(in: 0 ... .max)).jsonl"
        try history.text.write(toFile: path, atomically: true, encoding: .utf8)
        print("the history is in \(path)")
        if report.verdict != .holds { Issue.record("the history does not hold: \(report.verdict)") }
    }
}
