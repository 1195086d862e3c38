public import EsperTypes

/// Compares, then either of two lists of operations, as one step and one revision.
///
/// Every compare of the whole tree is judged against the state before the first operation. Within one branch no key
/// is put twice or put and deleted; a range sees what the operations before it wrote. Source: etcd `TxnRequest`.
public struct Transaction: Hashable, Sendable {
    public indirect enum Operation: Hashable, Sendable {
        case put(Command.Put)
        case delete(Command.Delete)
        case range(RangeRequest)
        case transaction(Transaction)
    }

    /// All must hold for ``success`` to run.
    public var compares: [Compare]
    public var success: [Operation]
    public var failure: [Operation]

    public init(compares: [Compare] = [], success: [Operation] = [], failure: [Operation] = []) {
        self.compares = compares
        self.success = success
        self.failure = failure
    }

    /// Whether neither branch can change anything: such a transaction may be answered as a read.
    public var isReadOnly: Bool {
        for operation in success + failure {
            switch operation {
            case .put, .delete: return false
            case .range: continue
            case .transaction(let inner): if !inner.isReadOnly { return false }
            }
        }
        return true
    }
}

/// One condition of a transaction. Over a range it must hold for every key in it. A key that does not exist, and a range
/// without keys, has version, revisions and session 0, and no value: a compare of its value fails.
public struct Compare: Hashable, Sendable {
    public enum Relation: UInt8, Hashable, Sendable { case equal, notEqual, less, greater }

    public enum Target: Hashable, Sendable {
        case value([UInt8])
        case version(UInt64)
        case createRevision(Revision)
        case modRevision(Revision)
        /// `nil` compares with "no session".
        case session(SessionID?)
    }

    public var range: KeyRange
    public var relation: Relation
    public var target: Target

    public init(_ range: KeyRange, _ relation: Relation, _ target: Target) {
        self.range = range
        self.relation = relation
        self.target = target
    }

    /// Holds when `key` does not exist.
    public static func absent(_ key: [UInt8]) -> Compare { Compare(.key(key), .equal, .createRevision(.zero)) }

    /// Holds when `key` exists.
    public static func present(_ key: [UInt8]) -> Compare { Compare(.key(key), .notEqual, .createRevision(.zero)) }
}

/// What a transaction did.
public struct TransactionReply: Hashable, Sendable {
    public indirect enum OperationReply: Hashable, Sendable {
        case put(PutReply)
        case delete(DeleteReply)
        case range(RangeReply)
        case transaction(TransactionReply)
    }

    /// Whether every compare held.
    public var succeeded: Bool
    /// One for each operation of the branch that ran.
    public var replies: [OperationReply]

    public init(succeeded: Bool, replies: [OperationReply]) {
        self.succeeded = succeeded
        self.replies = replies
    }
}

public struct PutReply: Hashable, Sendable {
    /// What the put replaced, when it was asked for and existed.
    public var previous: KeyValue?
    public init(previous: KeyValue? = nil) { self.previous = previous }
}

public struct DeleteReply: Hashable, Sendable {
    public var count: Int
    /// What was deleted, when it was asked for; in key order.
    public var previous: [KeyValue]
    public init(count: Int, previous: [KeyValue] = []) {
        self.count = count
        self.previous = previous
    }
}
