import Coordination
import EsperTypes
import EtcdProtocol
import FoundationEssentials
import SwiftProtobuf

// The keyspace's requests and answers by way of the generated messages: what the door's own reading and writing is held against.

/// What has no meaning here.
struct Unknown: Error {}

extension KeyRange {
    init(generated key: Data, _ end: Data) {
        if end.isEmpty {
            self = .key([UInt8](key))
        } else if end == Data([0]) {
            self = .from([UInt8](key))
        } else {
            self = .keys(from: [UInt8](key), before: [UInt8](end))
        }
    }
}

extension Revision {
    init(generated number: Int64) { self.init(UInt64(max(0, number))) }
}

extension SessionID {
    init?(generated lease: Int64) {
        guard lease != 0 else { return nil }
        self.init(UInt64(bitPattern: lease))
    }
}

extension RangeRequest {
    init(generated request: EtcdRangeRequest) {
        self.init(
            KeyRange(generated: request.key, request.rangeEnd), revision: Revision(generated: request.revision),
            limit: Int(max(0, request.limit)), keysOnly: request.keysOnly, countOnly: request.countOnly,
            sort: Sort(generated: request), minimumModRevision: Revision(generated: request.minModRevision),
            maximumModRevision: Revision(generated: request.maxModRevision),
            minimumCreateRevision: Revision(generated: request.minCreateRevision),
            maximumCreateRevision: Revision(generated: request.maxCreateRevision))
    }
}

extension RangeRequest.Sort {
    /// - Returns: nil for the order of the keys. A target without an order is ascending.
    fileprivate init?(generated request: EtcdRangeRequest) {
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
    init(generated request: EtcdPutRequest) {
        self.init(
            key: [UInt8](request.key), value: [UInt8](request.value), session: SessionID(generated: request.lease),
            returnsPrevious: request.prevKv, keepsValue: request.ignoreValue, keepsSession: request.ignoreLease)
    }
}

extension Command.Delete {
    init(generated request: EtcdDeleteRangeRequest) {
        self.init(KeyRange(generated: request.key, request.rangeEnd), returnsPrevious: request.prevKv)
    }
}

extension Compare {
    init(generated compare: EtcdCompare) throws {
        let relation: Relation =
            switch compare.result {
            case .equal: .equal
            case .notEqual: .notEqual
            case .less: .less
            case .greater: .greater
            case .UNRECOGNIZED: throw Unknown()
            }
        let target: Target =
            switch compare.target {
            case .version: .version(UInt64(bitPattern: compare.version))
            case .create: .createRevision(Revision(generated: compare.createRevision))
            case .mod: .modRevision(Revision(generated: compare.modRevision))
            case .value: .value([UInt8](compare.value))
            case .lease: .session(SessionID(generated: compare.lease))
            case .UNRECOGNIZED: throw Unknown()
            }
        self.init(KeyRange(generated: compare.key, compare.rangeEnd), relation, target)
    }
}

extension Transaction {
    init(generated request: EtcdTxnRequest) throws {
        self.init()
        for compare in request.compare { compares.append(try Compare(generated: compare)) }
        for operation in request.success { success.append(try Operation(generated: operation)) }
        for operation in request.failure { failure.append(try Operation(generated: operation)) }
    }
}

extension Transaction.Operation {
    init(generated operation: EtcdRequestOp) throws {
        switch operation.request {
        case .requestRange(let range): self = .range(RangeRequest(generated: range))
        case .requestPut(let put): self = .put(Command.Put(generated: put))
        case .requestDeleteRange(let delete): self = .delete(Command.Delete(generated: delete))
        case .requestTxn(let transaction): self = .transaction(try Transaction(generated: transaction))
        case nil: throw Unknown()
        }
    }
}

extension EtcdKeyValue {
    init(generated keyValue: KeyValue) {
        self.init()
        key = Data(keyValue.key)
        value = Data(keyValue.value)
        createRevision = Int64(keyValue.createRevision.rawValue)
        modRevision = Int64(keyValue.modRevision.rawValue)
        version = Int64(keyValue.version)
        lease = Int64(bitPattern: keyValue.session?.rawValue ?? 0)
    }
}

extension EtcdEvent {
    init(generated event: WatchEvent) {
        self.init()
        if event.isDeletion {
            type = .delete
            kv = .with {
                $0.key = Data(event.key)
                $0.modRevision = Int64(event.revision.rawValue)
            }
        } else {
            type = .put
            kv = EtcdKeyValue(generated: event.keyValue)
        }
        if let previous = event.previous { prevKv = EtcdKeyValue(generated: previous) }
    }
}

extension EtcdRangeResponse {
    init(generated reply: RangeReply) {
        self.init()
        kvs = reply.keyValues.map(EtcdKeyValue.init(generated:))
        more = reply.more
        count = Int64(reply.count)
    }
}

extension EtcdPutResponse {
    init(generated reply: PutReply) {
        self.init()
        if let previous = reply.previous { prevKv = EtcdKeyValue(generated: previous) }
    }
}

extension EtcdDeleteRangeResponse {
    init(generated reply: DeleteReply) {
        self.init()
        deleted = Int64(reply.count)
        prevKvs = reply.previous.map(EtcdKeyValue.init(generated:))
    }
}

extension EtcdTxnResponse {
    /// - Parameter revision: stands alone in the headers of the operations' answers.
    init(generated reply: TransactionReply, at revision: Int64) {
        self.init()
        succeeded = reply.succeeded
        let header = EtcdResponseHeader.with { $0.revision = revision }
        responses = reply.replies.map { reply in
            EtcdResponseOp.with {
                switch reply {
                case .range(let range):
                    $0.responseRange = EtcdRangeResponse(generated: range)
                    $0.responseRange.header = header
                case .put(let put):
                    $0.responsePut = EtcdPutResponse(generated: put)
                    $0.responsePut.header = header
                case .delete(let delete):
                    $0.responseDeleteRange = EtcdDeleteRangeResponse(generated: delete)
                    $0.responseDeleteRange.header = header
                case .transaction(let inner):
                    $0.responseTxn = EtcdTxnResponse(generated: inner, at: revision)
                    $0.responseTxn.header = header
                }
            }
        }
    }
}
