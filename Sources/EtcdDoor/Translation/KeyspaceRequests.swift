import Coordination
import EsperTypes
import EtcdProtocol
import FoundationEssentials
import GRPCTransport
import RaftRuntime

// Requests of etcd's KV service turned into the node's own.

extension KeyRange {
    /// - Throws: ``EtcdFailure/emptyKey``.
    init(_ key: Data, _ end: Data) throws(EtcdFailure) {
        guard !key.isEmpty else { throw .emptyKey }
        self.init(anyKey: [UInt8](key), end)
    }

    /// As the rule for `range_end` has it; an empty key counts as the lowest.
    init(anyKey key: [UInt8], _ end: Data) {
        if end.isEmpty {
            self = .key(key)
        } else if end.count == 1, end.first == 0 {
            self = .from(key)
        } else {
            self = .keys(from: key, before: [UInt8](end))
        }
    }
}

extension Revision {
    /// 0 for "none", which etcd also writes as a negative number.
    init(wire: Int64) { self.init(UInt64(max(0, wire))) }
}

extension SessionID {
    /// - Returns: nil for "none".
    init?(lease: Int64) {
        guard lease != 0 else { return nil }
        self.init(UInt64(bitPattern: lease))
    }

    var lease: Int64 { Int64(bitPattern: rawValue) }
}

extension RangeRequest {
    init(_ request: EtcdRangeRequest) throws(EtcdFailure) {
        self.init(
            try KeyRange(request.key, request.rangeEnd), revision: Revision(wire: request.revision),
            limit: Int(max(0, request.limit)), keysOnly: request.keysOnly, countOnly: request.countOnly,
            sort: Sort(request), minimumModRevision: Revision(wire: request.minModRevision),
            maximumModRevision: Revision(wire: request.maxModRevision),
            minimumCreateRevision: Revision(wire: request.minCreateRevision),
            maximumCreateRevision: Revision(wire: request.maxCreateRevision))
    }
}

extension RangeRequest.Sort {
    /// - Returns: nil for the order of the keys. A target without an order is ascending.
    fileprivate init?(_ request: EtcdRangeRequest) {
        guard request.sortOrder != .none || request.sortTarget != .key else { return nil }
        let key: RangeRequest.SortKey =
            switch request.sortTarget {
            case .version: .version
            case .create: .createRevision
            case .mod: .modRevision
            case .value: .value
            case .key, .UNRECOGNIZED: .key
            }
        self.init(by: key, request.sortOrder == .descend ? .descending : .ascending)
    }
}

extension Command.Put {
    init(_ request: EtcdPutRequest) throws(EtcdFailure) {
        guard !request.key.isEmpty else { throw .emptyKey }
        if request.ignoreValue, !request.value.isEmpty { throw .valueProvided }
        if request.ignoreLease, request.lease != 0 { throw .leaseProvided }
        self.init(
            key: [UInt8](request.key), value: [UInt8](request.value), session: SessionID(lease: request.lease),
            returnsPrevious: request.prevKv, keepsValue: request.ignoreValue, keepsSession: request.ignoreLease)
    }
}

extension Command.Delete {
    init(_ request: EtcdDeleteRangeRequest) throws(EtcdFailure) {
        self.init(try KeyRange(request.key, request.rangeEnd), returnsPrevious: request.prevKv)
    }
}

extension Compare {
    init(_ compare: EtcdCompare) throws(EtcdFailure) {
        let relation: Relation =
            switch compare.result {
            case .equal: .equal
            case .notEqual: .notEqual
            case .less: .less
            case .greater: .greater
            case .UNRECOGNIZED: throw EtcdFailure(.invalidArgument, "etcdserver: unknown comparison")
            }
        let target: Target =
            switch compare.target {
            case .version: .version(UInt64(bitPattern: compare.version))
            case .create: .createRevision(Revision(wire: compare.createRevision))
            case .mod: .modRevision(Revision(wire: compare.modRevision))
            case .value: .value([UInt8](compare.value))
            case .lease: .session(SessionID(lease: compare.lease))
            case .UNRECOGNIZED: throw EtcdFailure(.invalidArgument, "etcdserver: unknown target of a comparison")
            }
        self.init(try KeyRange(compare.key, compare.rangeEnd), relation, target)
    }
}

extension Transaction {
    /// As many as etcd takes in each list unless it is told otherwise.
    private static let listedOperations = 128

    init(_ request: EtcdTxnRequest) throws(EtcdFailure) {
        guard max(request.compare.count, request.success.count, request.failure.count) <= Self.listedOperations else {
            throw .tooManyOperations
        }
        self.init()
        for compare in request.compare { compares.append(try Compare(compare)) }
        for operation in request.success { success.append(try Operation(operation)) }
        for operation in request.failure { failure.append(try Operation(operation)) }
    }
}

extension Transaction.Operation {
    init(_ operation: EtcdRequestOp) throws(EtcdFailure) {
        switch operation.request {
        case .requestRange(let range): self = .range(try RangeRequest(range))
        case .requestPut(let put): self = .put(try Command.Put(put))
        case .requestDeleteRange(let delete): self = .delete(try Command.Delete(delete))
        case .requestTxn(let transaction): self = .transaction(try Transaction(transaction))
        case nil: throw EtcdFailure(.invalidArgument, "etcdserver: an operation of a txn request is empty")
        }
    }
}

extension ServiceRequest.Operation {
    static func range(_ request: EtcdRangeRequest) throws(EtcdFailure) -> Self {
        .query(.range(try RangeRequest(request)), linearizable: !request.serializable)
    }

    /// A transaction that changes nothing takes no place in the log.
    static func transaction(_ request: EtcdTxnRequest) throws(EtcdFailure) -> Self {
        let transaction = try Transaction(request)
        return transaction.isReadOnly
            ? .query(.transaction(transaction), linearizable: !request.isSerializable)
            : .command(.transaction(transaction), nil)
    }
}

extension EtcdTxnRequest {
    /// Whether every range of both branches may be answered from what the asked node knows.
    fileprivate var isSerializable: Bool {
        (success + failure).allSatisfy { operation in
            switch operation.request {
            case .requestRange(let range): range.serializable
            case .requestTxn(let inner): inner.isSerializable
            case .requestPut, .requestDeleteRange, nil: false
            }
        } && !(success.isEmpty && failure.isEmpty)
    }
}
