import EsperTypes
import RaftCore

/// What a client asks of the cluster.
enum ClientCommand: Hashable, Sendable {
    /// Makes the client known, for exactly-once retries; its answer names the client.
    case register
    case read(key: Int)
    case write(key: Int, value: Int64)
    case compareAndSet(key: Int, old: Int64?, new: Int64)
    case delete(key: Int)

    /// Whether it needs no entry in the log.
    var isRead: Bool { if case .read = self { true } else { false } }
}

/// One attempt of a client to have a command done.
struct ClientRequest: Sendable {
    var client: Int
    /// Names the attempt; no two of a run have the same.
    var attempt: UInt64
    /// What the machine knows the client by; 0 before it is registered.
    var identity: UInt64
    /// Counts the client's commands; attempts of one command share it.
    var sequence: UInt64
    var command: ClientCommand
    /// What was committed when it was sent.
    var committed = LogIndex.zero
}

/// What a machine answered to one attempt.
struct MachineAnswer: Hashable, Sendable {
    enum Outcome: Hashable, Sendable {
        case registered(UInt64)
        case written
        case compared(Bool)
        case deleted(existed: Bool)
        /// The machine changed nothing for this attempt. `isUnknown` when an earlier one may have been executed.
        case refused(isUnknown: Bool)
    }

    var attempt: UInt64
    var outcome: Outcome
    /// The answer of an earlier execution.
    var isDuplicate: Bool
}

/// The port to what the log replicates: a small reference machine, or the real one.
protocol ReplicatedMachine: Sendable {
    init()

    /// Whether a client has to register before its first command.
    static var registersClients: Bool { get }

    /// The entry for a command.
    static func encode(_ request: ClientRequest, padding: Int, time: UInt64) -> [UInt8]

    /// The log index of the last entry applied.
    var applied: LogIndex { get }

    /// A digest of everything applied so far; replicas at one index must agree.
    var chain: UInt64 { get }

    mutating func apply(_ entry: Entry, into answers: inout [MachineAnswer])

    func read(key: Int) -> Int64?

    /// The whole state as bytes, and back.
    func snapshot() -> [UInt8]
    init(snapshot: [UInt8]) throws(SimulationFailure)

    /// A digest of the whole state, live or restored; may cost as much as the state is large.
    var stateHash: UInt64 { get }
}
