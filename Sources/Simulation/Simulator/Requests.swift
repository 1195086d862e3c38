import Coordination
import EsperTypes
import RaftCore

/// What is asked of the cluster.
enum ClientCommand: Hashable, Sendable {
    /// Makes the client known, for exactly-once retries; its answer names the client.
    case register
    case read(key: Int)
    case write(key: Int, value: Int64)
    case compareAndSet(key: Int, old: Int64?, new: Int64)
    case delete(key: Int)
    /// - Parameter ttl: in nanoseconds.
    case openSession(ttl: Int)
    case keepAlive(SessionID)
    case acquire(lock: Int, SessionID, waits: Bool)
    case release(lock: Int, SessionID)

    /// Whether it needs no entry in the log.
    var isRead: Bool {
        switch self {
        case .read, .keepAlive: true
        default: false
        }
    }

    /// Whether it may be repeated without a request ID: a session stands for whoever asks.
    var isOfSession: Bool {
        switch self {
        case .openSession, .keepAlive, .acquire, .release: true
        default: false
        }
    }
}

/// One attempt to have a command done.
struct ClientRequest: Sendable {
    /// Who asks, by position.
    enum Asker: Hashable, Sendable {
        case client(Int)
        case holder(Int)
        /// What keeps a holder's session alive, beside whatever else the holder does.
        case keeper(Int)
    }

    var asker: Asker
    /// Names the attempt; no two of a run have the same.
    var attempt: UInt64
    /// What the machine knows the client by; 0 before it is registered.
    var identity: UInt64 = 0
    /// Counts the client's commands; attempts of one command share it.
    var sequence: UInt64 = 0
    var acknowledgedThrough: UInt64 = 0
    var command: ClientCommand
    var sentAt: UInt64
    /// What was committed when it was sent.
    var committed = LogIndex.zero
    /// For a read: the last entry that had changed the key when it was sent, as far as anybody had applied it.
    var changed = LogIndex.zero
}
