/// A register that is read, written, compared-and-set and deleted; values are numbers that ``RegisterCompiler`` gives.
public struct RegisterModel: SequentialModel {
    public typealias State = Int32

    public enum Action: Hashable, Sendable {
        case read(Int32)
        case write(Int32)
        /// - Parameter succeeded: nil when the answer is unknown.
        case compareAndSet(old: Int32, new: Int32, succeeded: Bool?)
        /// - Parameter existed: nil when the answer does not say.
        case delete(existed: Bool?)
    }

    /// No value: what a register holds at first and after a delete.
    public static let absent: Int32 = 0

    public init() {}

    public var initial: Int32 { Self.absent }

    public func apply(_ action: Action, to state: Int32) -> Int32? {
        switch action {
        case .read(let value):
            return value == state ? state : nil
        case .write(let value):
            return value
        case .compareAndSet(let old, let new, let succeeded):
            if let succeeded, succeeded != (state == old) { return nil }
            return state == old ? new : state
        case .delete(let existed):
            if let existed, existed != (state != Self.absent) { return nil }
            return Self.absent
        }
    }

    public func isObservation(_ action: Action) -> Bool {
        switch action {
        case .read, .compareAndSet(_, _, succeeded: false), .delete(existed: false): true
        case .write, .compareAndSet, .delete: false
        }
    }

    public func isBlind(_ action: Action) -> Bool {
        switch action {
        case .write, .delete(existed: nil): true
        case .read, .compareAndSet, .delete: false
        }
    }

    public func requiredState(of action: Action) -> Int32? {
        switch action {
        case .read(let value), .compareAndSet(old: let value, new: _, succeeded: true): value
        case .delete(existed: false): Self.absent
        case .write, .compareAndSet, .delete: nil
        }
    }

    public func producedState(of action: Action) -> Int32? {
        switch action {
        case .write(let value), .compareAndSet(old: _, new: let value, succeeded: true),
            .compareAndSet(old: _, new: let value, succeeded: nil):
            value
        case .delete: Self.absent
        case .read, .compareAndSet: nil
        }
    }
}

/// Turns the operations of one register into calls of ``RegisterModel``.
///
/// Every value that no answer can tell from another becomes the same number: a value that no read returned and no
/// compare-and-set asked for. So unknown writes nobody ever saw are interchangeable, and a thousand of them cost the
/// search no more than one.
struct RegisterCompiler {
    private static let unobserved: Int32 = 1
    private var numbers: [JSONValue: Int32] = [.null: RegisterModel.absent]
    private var next: Int32 = 2

    /// - Returns: The calls, without those that had no effect and told nothing.
    /// - Throws: ``HistoryProblem`` for an operation that a register does not have.
    static func compile(
        _ operations: [HistoryOperation], at positions: [Int]
    ) throws(HistoryProblem) -> [ModelCall<RegisterModel.Action>] {
        var compiler = RegisterCompiler()
        for position in positions { compiler.observe(operations[position]) }
        var calls: [ModelCall<RegisterModel.Action>] = []
        calls.reserveCapacity(positions.count)
        for position in positions {
            let operation = operations[position]
            guard let action = try compiler.action(of: operation, at: position) else { continue }
            calls.append(
                ModelCall(
                    action: action, callNanoseconds: operation.callNanoseconds,
                    returnNanoseconds: operation.status == .ok ? operation.returnNanoseconds : nil, position: position))
        }
        return calls
    }

    private mutating func observe(_ operation: HistoryOperation) {
        guard operation.status != .fail else { return }
        switch operation.op {
        case "read" where operation.status == .ok: observe(operation.output)
        case "cas": operation.input.elements?.first.map { observe($0) }
        default: break
        }
    }

    private mutating func observe(_ value: JSONValue) {
        guard numbers[value] == nil else { return }
        numbers[value] = next
        next += 1
    }

    private func number(of value: JSONValue) -> Int32 { numbers[value] ?? Self.unobserved }

    private func action(
        of operation: HistoryOperation, at position: Int
    ) throws(HistoryProblem) -> RegisterModel.Action? {
        guard operation.status != .fail else { return nil }
        let answered = operation.status == .ok
        switch operation.op {
        case "read":
            return answered ? .read(number(of: operation.output)) : nil
        case "write":
            return .write(number(of: operation.input))
        case "cas":
            guard let pair = operation.input.elements, pair.count == 2 else {
                throw HistoryProblem(position: position, reason: "the input of cas is not [old, new]")
            }
            var succeeded: Bool?
            if answered {
                guard let output = operation.output.bool else {
                    throw HistoryProblem(position: position, reason: "the output of cas is not true or false")
                }
                succeeded = output
            }
            return .compareAndSet(old: number(of: pair[0]), new: number(of: pair[1]), succeeded: succeeded)
        case "delete":
            return .delete(existed: answered ? operation.output.bool : nil)
        default:
            throw HistoryProblem(position: position, reason: "a register has no operation \(operation.op)")
        }
    }
}
