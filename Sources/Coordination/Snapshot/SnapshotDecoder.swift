public import EsperTypes

/// Why a snapshot cannot be restored. The bytes are damaged or from a newer version; nothing was changed.
public enum SnapshotError: Error, Hashable, Sendable {
    /// The stream does not start as a snapshot does.
    case notASnapshot
    case unsupportedVersion(UInt16)
    /// A frame's checksum is wrong; `offset` counts from the start of the stream.
    case damaged(offset: Int)
    case unreadable(offset: Int, DecodingError)
    /// The stream ended early, or goes on after its end.
    case incomplete
    case trailingBytes
    /// Everything could be read, but the state is not the one that was written.
    case hashMismatch
}

/// Rebuilds a state machine from the bytes of ``SnapshotEncoder``, cut into pieces anyhow.
public struct SnapshotDecoder: Sendable {
    public init() {}

    /// Takes the next bytes of the stream.
    public mutating func feed(_ bytes: [UInt8]) throws(SnapshotError) {}

    /// - Returns: the state machine, once the whole stream was fed and every check held.
    public consuming func finish() throws(SnapshotError) -> StateMachine { throw .incomplete }
}
