package import Coordination
import EsperTypes
package import GRPCTransport
package import RaftRuntime

// Requests of etcd's KV service, read from their bytes into the node's own: these are asked most, and a generated message in
// between would copy every key and value once more. `KeyspaceCodingTests` holds them against the generated ones.

extension KeyRange {
    /// - Throws: ``EtcdFailure/emptyKey``.
    init(_ key: [UInt8], _ end: [UInt8]) throws(EtcdFailure) {
        guard !key.isEmpty else { throw .emptyKey }
        self.init(anyKey: key, end)
    }

    /// As the rule for `range_end` has it; an empty key counts as the lowest.
    init(anyKey key: [UInt8], _ end: [UInt8]) {
        if end.isEmpty {
            self = .key(key)
        } else if end == [0] {
            self = .from(key)
        } else {
            self = .keys(from: key, before: end)
        }
    }
}

extension Revision {
    /// 0 for "none", which etcd also writes as a negative number.
    init(wire: Int64) { self.init(UInt64(max(0, wire))) }

    init(wire: UInt64) { self.init(wire: Int64(bitPattern: wire)) }
}

extension SessionID {
    /// - Returns: nil for "none".
    init?(lease: Int64) {
        guard lease != 0 else { return nil }
        self.init(UInt64(bitPattern: lease))
    }

    var lease: Int64 { Int64(bitPattern: rawValue) }
}

/// `RangeRequest`.
package struct RangeQuestion {
    package var request: RangeRequest
    /// Whether what the asked node knows is enough.
    package private(set) var isSerializable = false

    package init(_ message: WireFields) throws {
        var (key, end): ([UInt8], [UInt8]) = ([], [])
        var (order, target): (UInt64, UInt64) = (0, 0)
        request = RangeRequest(.key([]))
        var fields = message
        while let (field, value) = try fields.next() {
            switch (field, value) {
            case (1, .bytes(let range)): key = fields.bytes(range)
            case (2, .bytes(let range)): end = fields.bytes(range)
            case (3, .number(let limit)): request.limit = Int(max(0, Int64(bitPattern: limit)))
            case (4, .number(let revision)): request.revision = Revision(wire: revision)
            case (5, .number(let value)): order = value
            case (6, .number(let value)): target = value
            case (7, .number(let flag)): isSerializable = flag != 0
            case (8, .number(let flag)): request.keysOnly = flag != 0
            case (9, .number(let flag)): request.countOnly = flag != 0
            case (10, .number(let revision)): request.minimumModRevision = Revision(wire: revision)
            case (11, .number(let revision)): request.maximumModRevision = Revision(wire: revision)
            case (12, .number(let revision)): request.minimumCreateRevision = Revision(wire: revision)
            case (13, .number(let revision)): request.maximumCreateRevision = Revision(wire: revision)
            default: break
            }
        }
        request.range = try KeyRange(key, end)
        request.sort = RangeRequest.Sort(order: order, target: target)
    }

    package var operation: ServiceRequest.Operation { .query(.range(request), linearizable: !isSerializable) }
}

extension RangeRequest.Sort {
    /// - Parameters:
    ///   - order: none, ascending, descending.
    ///   - target: key, version, create revision, modification revision, value. One without an order is ascending.
    /// - Returns: nil for the order of the keys.
    fileprivate init?(order: UInt64, target: UInt64) {
        guard order != 0 || target != 0 else { return nil }
        let key: RangeRequest.SortKey =
            switch target {
            case 1: .version
            case 2: .createRevision
            case 3: .modRevision
            case 4: .value
            default: .key
            }
        self.init(by: key, order == 2 ? .descending : .ascending)
    }
}

extension Command.Put {
    /// `PutRequest`.
    package init(_ message: WireFields) throws {
        self.init(key: [], value: [])
        var fields = message
        while let (field, value) = try fields.next() {
            switch (field, value) {
            case (1, .bytes(let range)): key = fields.bytes(range)
            case (2, .bytes(let range)): self.value = fields.bytes(range)
            case (3, .number(let lease)): session = SessionID(lease: Int64(bitPattern: lease))
            case (4, .number(let flag)): returnsPrevious = flag != 0
            case (5, .number(let flag)): keepsValue = flag != 0
            case (6, .number(let flag)): keepsSession = flag != 0
            default: break
            }
        }
        guard !key.isEmpty else { throw EtcdFailure.emptyKey }
        if keepsValue, !self.value.isEmpty { throw EtcdFailure.valueProvided }
        if keepsSession, session != nil { throw EtcdFailure.leaseProvided }
    }
}

extension Command.Delete {
    /// `DeleteRangeRequest`.
    package init(_ message: WireFields) throws {
        var (key, end): ([UInt8], [UInt8]) = ([], [])
        var returnsPrevious = false
        var fields = message
        while let (field, value) = try fields.next() {
            switch (field, value) {
            case (1, .bytes(let range)): key = fields.bytes(range)
            case (2, .bytes(let range)): end = fields.bytes(range)
            case (3, .number(let flag)): returnsPrevious = flag != 0
            default: break
            }
        }
        self.init(try KeyRange(key, end), returnsPrevious: returnsPrevious)
    }
}

extension Compare {
    /// `Compare`. Which operand counts is said by `target`; one that is missing is zero.
    package init(_ message: WireFields) throws {
        var (key, end): ([UInt8], [UInt8]) = ([], [])
        var (result, target): (UInt64, UInt64) = (0, 0)
        var operand: (field: UInt64, number: UInt64, bytes: [UInt8]) = (0, 0, [])
        var fields = message
        while let (field, value) = try fields.next() {
            switch (field, value) {
            case (1, .number(let value)): result = value
            case (2, .number(let value)): target = value
            case (3, .bytes(let range)): key = fields.bytes(range)
            case (4...6, .number(let value)), (8, .number(let value)): operand = (field, value, [])
            case (7, .bytes(let range)): operand = (field, 0, fields.bytes(range))
            case (64, .bytes(let range)): end = fields.bytes(range)
            default: break
            }
        }
        let relation: Relation =
            switch result {
            case 0: .equal
            case 1: .greater
            case 2: .less
            case 3: .notEqual
            default: throw EtcdFailure(.invalidArgument, "etcdserver: unknown comparison")
            }
        func number(_ field: UInt64) -> UInt64 { operand.field == field ? operand.number : 0 }
        let wanted: Target =
            switch target {
            case 0: .version(number(4))
            case 1: .createRevision(Revision(wire: number(5)))
            case 2: .modRevision(Revision(wire: number(6)))
            case 3: .value(operand.bytes)
            case 4: .session(SessionID(lease: Int64(bitPattern: number(8))))
            default: throw EtcdFailure(.invalidArgument, "etcdserver: unknown target of a comparison")
            }
        self.init(try KeyRange(key, end), relation, wanted)
    }
}

/// `TxnRequest`.
package struct TransactionRequest {
    package private(set) var transaction = Transaction()
    /// Whether every operation of both branches is a range for which what the asked node knows is enough.
    private var isSerializable = true

    /// As many as etcd takes in each list unless it is told otherwise.
    private static let listedOperations = 128
    /// What may be proposed has a lower bound of its own; this one is for the stack of who reads it.
    private static let deepestNesting = 32

    package init(_ message: WireFields) throws { try self.init(message, depth: 0) }

    private init(_ message: WireFields, depth: Int) throws {
        guard depth < Self.deepestNesting else {
            throw EtcdFailure(.invalidArgument, "etcdserver: transactions are nested too deep")
        }
        var fields = message
        while let (field, value) = try fields.next() {
            guard case .bytes(let range) = value else { continue }
            switch field {
            case 1: transaction.compares.append(try Compare(fields.message(range)))
            case 2: transaction.success.append(try operation(fields.message(range), depth))
            case 3: transaction.failure.append(try operation(fields.message(range), depth))
            default: break
            }
        }
        let longest = max(transaction.compares.count, transaction.success.count, transaction.failure.count)
        guard longest <= Self.listedOperations else { throw EtcdFailure.tooManyOperations }
        if transaction.success.isEmpty, transaction.failure.isEmpty { isSerializable = false }
    }

    /// `RequestOp`: the last of its choices counts.
    private mutating func operation(_ message: WireFields, _ depth: Int) throws -> Transaction.Operation {
        var chosen: (field: UInt64, range: Range<Int>)?
        var fields = message
        while let (field, value) = try fields.next() {
            if case .bytes(let range) = value, (1...4).contains(field) { chosen = (field, range) }
        }
        guard let (field, range) = chosen else {
            throw EtcdFailure(.invalidArgument, "etcdserver: an operation of a txn request is empty")
        }
        let inner = fields.message(range)
        switch field {
        case 1:
            let question = try RangeQuestion(inner)
            isSerializable = isSerializable && question.isSerializable
            return .range(question.request)
        case 2:
            isSerializable = false
            return .put(try Command.Put(inner))
        case 3:
            isSerializable = false
            return .delete(try Command.Delete(inner))
        default:
            let nested = try TransactionRequest(inner, depth: depth + 1)
            isSerializable = isSerializable && nested.isSerializable
            return .transaction(nested.transaction)
        }
    }

    /// A transaction that changes nothing takes no place in the log.
    package var operation: ServiceRequest.Operation {
        transaction.isReadOnly
            ? .query(.transaction(transaction), linearizable: !isSerializable)
            : .command(.transaction(transaction), nil)
    }
}
