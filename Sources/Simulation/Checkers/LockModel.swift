/// A lock whose grants carry ever higher tokens.
///
/// A grant needs a free lock. A holding ends by its release or by an `expire` line, which the recorder writes with the
/// first moment at which the lease may have ended as its call. A grant whose answer was lost has an unknown token and
/// may end by itself at any time, because nobody was left to record its end; once its token has been seen it has that
/// one and no other. A refusal says nothing: whoever waited behind another that gave up may see a lock that is free.
public struct LockModel: SequentialModel {
    public enum Holder: Hashable, Sendable {
        case nobody
        case token(Int64)
        /// Somebody whose grant was never answered, and with which token, once that has been seen.
        case unknown(Int64?)
    }

    public struct State: Hashable, Sendable {
        public var holder: Holder
        /// The highest token seen; a new grant is above it.
        public var highest: Int64
    }

    public enum Action: Hashable, Sendable {
        case acquired(token: Int64)
        /// The answer is unknown.
        case acquire
        /// - Parameter done: nil when the answer is unknown.
        case release(token: Int64, done: Bool?)
        case renew(token: Int64, done: Bool)
        /// - Parameter token: nil when nobody held it.
        case holder(token: Int64?)
        case expire(token: Int64)
    }

    public init() {}

    public var initial: State { State(holder: .nobody, highest: .min) }

    public func apply(_ action: Action, to state: State) -> State? {
        switch action {
        case .acquired(let token):
            guard !isHeldByKnown(state), token > state.highest else { return nil }
            return State(holder: .token(token), highest: token)
        case .acquire:
            return isHeldByKnown(state) ? nil : State(holder: .unknown(nil), highest: state.highest)
        case .release(let token, let done):
            let held = holding(of: token, in: state)
            if done == true, held == nil { return nil }
            if done == false { return state.holder == .token(token) ? nil : state }
            if done == nil, state.holder == .unknown(nil) { return state }
            return held.map { State(holder: .nobody, highest: $0.highest) } ?? state
        case .renew(let token, let done):
            let held = holding(of: token, in: state)
            return done ? held : state.holder == .token(token) ? nil : state
        case .holder(let token):
            if let token { return holding(of: token, in: state) }
            return isHeldByKnown(state) ? nil : State(holder: .nobody, highest: state.highest)
        case .expire(let token):
            guard state.holder != .unknown(nil), let held = holding(of: token, in: state) else { return state }
            return State(holder: .nobody, highest: held.highest)
        }
    }

    public func isObservation(_ action: Action) -> Bool {
        switch action {
        case .release(_, done: false), .renew(_, done: false): true
        case .acquired, .acquire, .release, .renew, .holder, .expire: false
        }
    }

    private func isHeldByKnown(_ state: State) -> Bool {
        if case .token = state.holder { true } else { false }
    }

    /// The state in which `token` holds the lock, when it can; an unknown holder takes the token as its own.
    private func holding(of token: Int64, in state: State) -> State? {
        switch state.holder {
        case .nobody: nil
        case .token(let holder): holder == token ? state : nil
        case .unknown(nil): token > state.highest ? State(holder: .unknown(token), highest: token) : nil
        case .unknown(let holder): holder == token ? state : nil
        }
    }
}

/// Turns the operations of one lock into calls of ``LockModel``.
enum LockCompiler {
    static func compile(
        _ operations: [HistoryOperation], at positions: [Int]
    ) throws(HistoryProblem) -> [ModelCall<LockModel.Action>] {
        var calls: [ModelCall<LockModel.Action>] = []
        calls.reserveCapacity(positions.count)
        for position in positions {
            let operation = operations[position]
            guard let action = try action(of: operation, at: position) else { continue }
            calls.append(
                ModelCall(
                    action: action, callNanoseconds: operation.callNanoseconds,
                    returnNanoseconds: operation.status == .ok ? operation.returnNanoseconds : nil, position: position))
        }
        return calls
    }

    private static func action(
        of operation: HistoryOperation, at position: Int
    ) throws(HistoryProblem) -> LockModel.Action? {
        guard operation.status != .fail else { return nil }
        let answered = operation.status == .ok
        switch operation.op {
        case "acquire":
            guard answered else { return .acquire }
            if let token = operation.output["token"]?.integer { return .acquired(token: token) }
            if operation.output == false { return nil }
            throw HistoryProblem(position: position, reason: "the output of acquire is neither a token nor false")
        case "release":
            return .release(
                token: try token(of: operation.input, at: position), done: answered ? operation.output.bool : nil)
        case "renew":
            guard answered, let done = operation.output.bool else { return nil }
            return .renew(token: try token(of: operation.input, at: position), done: done)
        case "holder":
            guard answered else { return nil }
            return .holder(token: operation.output == nil ? nil : try token(of: operation.output, at: position))
        case "expire":
            return .expire(token: try token(of: operation.input, at: position))
        default:
            throw HistoryProblem(position: position, reason: "a lock has no operation \(operation.op)")
        }
    }

    static func token(of value: JSONValue, at position: Int) throws(HistoryProblem) -> Int64 {
        guard let token = value["token"]?.integer else {
            throw HistoryProblem(position: position, reason: "\(value) is not a token")
        }
        return token
    }
}
