import Coordination
import EsperTypes
import EtcdProtocol
import FoundationEssentials
import RaftRuntime
import SwiftProtobuf

// The node's replies turned into answers of etcd's KV service.

extension EtcdKeyValue {
    init(_ keyValue: KeyValue) {
        self.init()
        key = Data(keyValue.key)
        value = Data(keyValue.value)
        createRevision = Int64(keyValue.createRevision.rawValue)
        modRevision = Int64(keyValue.modRevision.rawValue)
        version = Int64(keyValue.version)
        lease = keyValue.session?.lease ?? 0
    }
}

extension EtcdEvent {
    init(_ event: WatchEvent) {
        self.init()
        if event.isDeletion {
            type = .delete
            kv = .with {
                $0.key = Data(event.key)
                $0.modRevision = Int64(event.revision.rawValue)
            }
        } else {
            type = .put
            kv = EtcdKeyValue(event.keyValue)
        }
        if let previous = event.previous { prevKv = EtcdKeyValue(previous) }
    }
}

extension EtcdRangeResponse {
    init(_ reply: RangeReply) {
        self.init()
        kvs = reply.keyValues.map(EtcdKeyValue.init)
        more = reply.more
        count = Int64(reply.count)
    }
}

extension EtcdPutResponse {
    init(_ reply: PutReply) {
        self.init()
        if let previous = reply.previous { prevKv = EtcdKeyValue(previous) }
    }
}

extension EtcdDeleteRangeResponse {
    init(_ reply: DeleteReply) {
        self.init()
        deleted = Int64(reply.count)
        prevKvs = reply.previous.map(EtcdKeyValue.init)
    }
}

extension EtcdTxnResponse {
    /// - Parameter revision: stands alone in the headers of the operations' answers.
    init(_ reply: TransactionReply, at revision: Revision) {
        self.init()
        succeeded = reply.succeeded
        let header = EtcdResponseHeader.with { $0.revision = Int64(revision.rawValue) }
        responses = reply.replies.map { reply in
            EtcdResponseOp.with {
                switch reply {
                case .range(let range):
                    $0.responseRange = EtcdRangeResponse(range)
                    $0.responseRange.header = header
                case .put(let put):
                    $0.responsePut = EtcdPutResponse(put)
                    $0.responsePut.header = header
                case .delete(let delete):
                    $0.responseDeleteRange = EtcdDeleteRangeResponse(delete)
                    $0.responseDeleteRange.header = header
                case .transaction(let inner):
                    $0.responseTxn = EtcdTxnResponse(inner, at: revision)
                    $0.responseTxn.header = header
                }
            }
        }
    }
}
