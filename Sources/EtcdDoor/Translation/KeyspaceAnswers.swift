package import Coordination
import EsperTypes
package import EtcdProtocol
package import GRPCTransport

// The node's replies written as answers of etcd's services, for the same reason as the requests are read by hand.

extension WireWriter {
    mutating func header(_ header: EtcdResponseHeader) {
        message(1) {
            $0.number(1, header.clusterID)
            $0.number(2, header.memberID)
            $0.number(3, header.revision)
            $0.number(4, header.raftTerm)
        }
    }

    mutating func keyValue(_ field: Int, _ keyValue: KeyValue) {
        message(field) {
            $0.bytes(1, keyValue.key)
            $0.number(2, keyValue.createRevision.rawValue)
            $0.number(3, keyValue.modRevision.rawValue)
            $0.number(4, keyValue.version)
            $0.bytes(5, keyValue.value)
            $0.number(6, keyValue.session?.lease ?? 0)
        }
    }

    mutating func event(_ field: Int, _ event: WatchEvent) {
        message(field) {
            $0.flag(1, event.isDeletion)
            // A deletion is a version that has its key and its revision alone.
            $0.keyValue(2, event.keyValue)
            if let previous = event.previous { $0.keyValue(3, previous) }
        }
    }

    // What follows the header of each answer.

    mutating func range(_ reply: RangeReply) {
        for keyValue in reply.keyValues { self.keyValue(2, keyValue) }
        flag(3, reply.more)
        number(4, Int64(reply.count))
    }

    mutating func put(_ reply: PutReply) {
        if let previous = reply.previous { keyValue(2, previous) }
    }

    mutating func delete(_ reply: DeleteReply) {
        number(2, Int64(reply.count))
        for previous in reply.previous { keyValue(3, previous) }
    }

    /// - Parameter header: of the answers of the operations, which have the revision alone.
    mutating func transaction(_ reply: TransactionReply, _ header: EtcdResponseHeader) {
        flag(2, reply.succeeded)
        for reply in reply.replies {
            message(3) {
                switch reply {
                case .range(let range):
                    $0.message(1) {
                        $0.header(header)
                        $0.range(range)
                    }
                case .put(let put):
                    $0.message(2) {
                        $0.header(header)
                        $0.put(put)
                    }
                case .delete(let delete):
                    $0.message(3) {
                        $0.header(header)
                        $0.delete(delete)
                    }
                case .transaction(let inner):
                    $0.message(4) {
                        $0.header(header)
                        $0.transaction(inner, header)
                    }
                }
            }
        }
    }
}

/// Answers of etcd's services, as their bytes.
package enum EtcdAnswer {
    /// What a header and the fields around a value take at most.
    private static let frame = 96

    /// `PutResponse`, `RangeResponse` and the like: a header, and what `body` writes behind it.
    ///
    /// - Parameter bytes: about what the body takes.
    package static func bytes(
        _ header: EtcdResponseHeader, bytes: Int = 0, _ body: (inout WireWriter) -> Void = { _ in }
    ) -> [UInt8] {
        var writer = WireWriter(capacity: frame + bytes)
        writer.header(header)
        body(&writer)
        return writer.bytes
    }

    package static func range(_ reply: RangeReply, _ header: EtcdResponseHeader) -> [UInt8] {
        bytes(header, bytes: reply.keyValues.reduce(0) { $0 + $1.key.count + $1.value.count + 48 }) { $0.range(reply) }
    }

    package static func transaction(_ reply: TransactionReply, _ header: EtcdResponseHeader) -> [UInt8] {
        var inner = EtcdResponseHeader()
        inner.revision = header.revision
        return bytes(header) { $0.transaction(reply, inner) }
    }

    /// An answer that tells one key and value, if there is any.
    package static func keyValue(_ keyValue: KeyValue?, _ header: EtcdResponseHeader) -> [UInt8] {
        bytes(header) { if let keyValue { $0.keyValue(2, keyValue) } }
    }

    /// `WatchResponse` with events.
    package static func events(
        _ events: ArraySlice<WatchEvent>, watch: Int64, isFragment: Bool, _ header: EtcdResponseHeader
    ) -> [UInt8] {
        bytes(header, bytes: events.reduce(0) { $0 + $1.cost }) {
            $0.number(2, watch)
            $0.flag(7, isFragment)
            for event in events { $0.event(11, event) }
        }
    }

    /// `LeaseKeepAliveResponse`.
    package static func keepAlive(_ lease: Int64, seconds: Int64, _ header: EtcdResponseHeader) -> [UInt8] {
        bytes(header) {
            $0.number(2, lease)
            $0.number(3, seconds)
        }
    }
}
