/// What an object does when its operations come one after another: the standard a concurrent history is held against.
public protocol SequentialModel: Sendable {
    associatedtype State: Hashable & Sendable
    /// An operation together with what its client was told; equal actions are interchangeable.
    associatedtype Action: Hashable & Sendable

    /// Before the first operation.
    var initial: State { get }

    /// The state after `action`, or nil when an object in `state` would not have given that answer.
    func apply(_ action: Action, to state: State) -> State?

    /// Whether the action, wherever it is possible, leaves the state as it is.
    func isObservation(_ action: Action) -> Bool

    /// Whether the action is possible in every state and leads to the same one from all.
    func isBlind(_ action: Action) -> Bool

    /// The only state in which the action is possible, when there is just one.
    func requiredState(of action: Action) -> State?

    /// The state that the action leads to, when that does not depend on the one before.
    func producedState(of action: Action) -> State?
}

/// What a model says when it knows nothing that would shorten the search.
///
/// A model that names required states must name every produced state as well.
extension SequentialModel {
    public func isBlind(_ action: Action) -> Bool { false }
    public func requiredState(of action: Action) -> State? { nil }
    public func producedState(of action: Action) -> State? { nil }
}

/// One operation of a history, in the terms of a model.
public struct ModelCall<Action: Hashable & Sendable>: Sendable {
    public var action: Action
    public var callNanoseconds: Int64
    /// When the answer came; nil for an unknown outcome, which may take effect at any time after the call, or never.
    public var returnNanoseconds: Int64?
    /// The position of the operation in the history, for the report.
    public var position: Int

    public init(action: Action, callNanoseconds: Int64, returnNanoseconds: Int64?, position: Int) {
        self.action = action
        self.callNanoseconds = callNanoseconds
        self.returnNanoseconds = returnNanoseconds
        self.position = position
    }
}
