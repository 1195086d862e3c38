internal import EsperTypes
internal import GRPCTransport
internal import NIOCore

/// One operation under way: its attempts, and what they leave open. Confined to the loop of its engine.
///
/// `@unchecked Sendable`: references travel in callbacks that run on that loop; `cancel` is sent there by the engine.
final class OperationRun: @unchecked Sendable {
    let operation: Operation
    let deadline: NIODeadline
    private(set) var completion: ((Result<ClientReply, EsperError>) -> Void)?

    var requestID: RequestIdentities.RequestID?
    var request: [UInt8]?
    var attempts = 0
    /// An attempt may have taken effect, so no later refusal can say that nothing did, unless it knows of the attempt.
    var isOpen = false
    var call: ClientStream?
    var timer: Scheduled<Void>?
    var deadlineTimer: Scheduled<Void>?
    var lastError: EsperError?
    /// The last answer by which the cluster itself refused.
    var lastRefusal: EsperError?

    init(
        _ operation: Operation, deadline: NIODeadline,
        completion: @escaping @Sendable (Result<ClientReply, EsperError>) -> Void
    ) {
        self.operation = operation
        self.deadline = deadline
        self.completion = completion
    }

    var isDone: Bool { completion == nil }

    /// Whether asking again can have no second effect.
    var mayRepeat: Bool { operation.isIdempotent || requestID != nil }

    /// Ends the run; later calls do nothing.
    func end(_ result: Result<ClientReply, EsperError>) {
        guard let completion else { return }
        self.completion = nil
        timer?.cancel()
        deadlineTimer?.cancel()
        completion(result)
    }

    /// What an error of the last attempt says about the operation as a whole.
    func judged(_ error: EsperError) -> EsperError {
        guard operation.isMutating else { return error.with(.notCommitted) }
        // A refusal that will not change by itself comes from a node that knows the request ids, or from a rule that
        // refused the earlier attempts as well; one that may change says nothing about those.
        let isFinal = !error.isRetryable && requestID != nil
        return isOpen && error.outcome == .notCommitted && !isFinal ? error.with(.unknown) : error
    }

    /// Refusals that pass when somebody acts: an operation that meets them until its time is up says so, not `timed_out`.
    private static let lastingRefusals: Set = ["storage_full", "outbox_full", "overloaded", "tier_unavailable"]

    /// The refusal that was met until time was up; nil when that is not why it is.
    static func lasting(_ refusal: EsperError?, until lastError: EsperError?) -> EsperError? {
        // The last attempt may have had too little time left for an answer.
        guard let refusal, lastingRefusals.contains(refusal.code),
            lastError == refusal || lastError?.code == EsperError.Code.timedOut
        else { return nil }
        return EsperError(
            code: refusal.code, message: "\(refusal.message) (tried until the time allowed was over)",
            outcome: refusal.outcome, isRetryable: true)
    }

    /// The error when time is up.
    func timedOut() -> EsperError {
        let outcome: Outcome = isOpen && operation.isMutating ? .unknown : .notCommitted
        if let refusal = Self.lasting(lastRefusal, until: lastError) { return refusal.with(outcome) }
        let reason = lastError.map { "; the last attempt: \($0.code): \($0.message)" } ?? ""
        return EsperError(
            code: EsperError.Code.timedOut, message: "no answer in the time allowed\(reason)", outcome: outcome,
            isRetryable: true)
    }
}

/// Names an operation under way, so that it can be given up from any thread.
public struct OperationHandle: Sendable {
    let engine: CallEngine
    let run: OperationRun

    /// Gives the operation up. It fails with code `cancelled`, and with outcome `unknown` if it may have taken effect.
    public func cancel() { engine.cancel(run) }
}
