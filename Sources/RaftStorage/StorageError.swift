/// Why a data directory cannot be used (any more). Reaches an operator: says what, where and what to do.
///
/// None is retried by this target. After any of them on the write path the log is latched and the node must stop:
/// an operating system that failed to write or sync may have dropped the bytes and still report success next time
/// (Rebello et al., "Can applications recover from fsync failures?", ATC 2020).
public struct StorageError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Code: String, Hashable, Sendable, CaseIterable {
        /// Bytes that were acknowledged as durable cannot be read back.
        case corrupted
        /// The disk is full; nothing that was acknowledged is lost.
        case outOfSpace
        /// What the node made of its log was not what the others made of theirs.
        case diverged
        /// The operating system reported an error.
        case inputOutput
        /// Another process uses the directory.
        case locked
        /// The directory belongs to another cluster.
        case wrongCluster
        /// The directory belongs to another node.
        case wrongNode
        /// A later release wrote the directory.
        case newerFormat
        /// There is no data directory at the path.
        case notInitialized
        /// A data directory exists where one was to be created.
        case alreadyInitialized
        /// More unwritten bytes were handed over than the queue may hold.
        case queueOverflow
        /// A snapshot's bytes do not arrive in order, or do not have the checksum they should have.
        case snapshotRejected
        /// No snapshot of that name is stored.
        case snapshotMissing
        /// The log was closed.
        case closed
    }

    public var code: Code
    /// One sentence for the operator, with numbers.
    public var message: String
    /// The file or directory concerned.
    public var path: String
    /// Where in the file, in bytes.
    public var offset: UInt64?
    /// What the operating system said.
    public var cause: FileError?

    public init(_ code: Code, _ message: String, path: String, offset: UInt64? = nil, cause: FileError? = nil) {
        self.code = code
        self.message = message
        self.path = path
        self.offset = offset
        self.cause = cause
    }

    /// Maps an operating system error; a full disk gets its own code.
    package init(_ cause: FileError) {
        self.init(
            cause.isOutOfSpace ? .outOfSpace : .inputOutput, cause.description, path: cause.path, offset: cause.offset,
            cause: cause)
    }

    /// Whether the same call may succeed later without anything having been lost.
    public var isRetryable: Bool { code == .locked || code == .snapshotRejected }

    /// Whether what was stored is there, but wrong. A disk that refuses to read may work again, and is no such thing.
    package var isDamage: Bool { code == .corrupted || code == .snapshotMissing }

    /// A sync failed, other than for space: the process must stop, whatever was to be made durable.
    public var isFailedSync: Bool { cause?.isFailedSync ?? false }

    /// What the operator can do about it.
    public var advice: String {
        switch code {
        case .corrupted:
            "Do not edit or truncate the file. Check the disk, then replace this member: remove the node from the "
                + "cluster, and let it rejoin with an empty data directory under a new node id."
        case .diverged:
            "Keep the directory for whoever looks for the cause, and check the host's memory. Replace this member: remove the "
                + "node from the cluster, and let it rejoin with an empty data directory under a new node id."
        case .outOfSpace: "Free space on this file system, then start the node again; nothing acknowledged is lost."
        case .inputOutput: "Check the disk and the kernel log. Start the node again when the disk is healthy."
        case .locked: "Stop the other process that uses this directory, or give this node its own."
        case .wrongCluster, .wrongNode: "Point the node at its own data directory."
        case .newerFormat: "Run the release that wrote the directory, or a later one."
        case .notInitialized: "Check the path, or initialize the node."
        case .alreadyInitialized: "Start the node on the existing directory, or choose an empty one."
        case .queueOverflow: "The disk is far slower than the load; start the node again and check the disk."
        case .snapshotRejected: "The transfer starts over by itself."
        case .snapshotMissing: "Replace this member: let it rejoin with an empty data directory under a new node id."
        case .closed: "The node is stopping."
        }
    }

    public var description: String {
        var text = "\(code.rawValue): \(message) [\(path)"
        if let offset { text += " at byte \(offset)" }
        return text + "]"
    }
}
