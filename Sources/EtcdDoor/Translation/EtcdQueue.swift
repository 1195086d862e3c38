import Coordination
import EsperTypes

/// A lock's or an election's queue, as the recipes of etcd's clients keep it: keys `NAME/LEASE`.
///
/// Source: etcd 3.5, client/v3/concurrency (mutex.go, election.go).
package struct EtcdQueue {
    package let prefix: [UInt8]

    package init(_ name: [UInt8]) { prefix = name + [0x2f] }

    /// The lease in hexadecimal, without leading zeros; with them in the queues of Esper's own locks and elections.
    package func key(of lease: Int64) -> [UInt8] {
        let digits = String(UInt64(bitPattern: lease), radix: 16)
        let isOwn = ClaimIndex.reserved.contains { $0.contains(prefix) }
        return prefix + (isOwn ? String(repeating: "0", count: 16 - digits.utf8.count) : "").utf8 + digits.utf8
    }

    /// Stands in the queue, or finds that it stood there already; either way tells who is first.
    func entry(_ lease: Int64, _ value: [UInt8]) -> Transaction {
        let key = key(of: lease)
        let first = Transaction.Operation.range(firstClaim)
        return Transaction(
            compares: [.absent(key)],
            success: [.put(Command.Put(key: key, value: value, session: SessionID(lease: lease))), first],
            failure: [.range(RangeRequest(.key(key))), first])
    }

    /// The claim that holds.
    var firstClaim: RangeRequest {
        RangeRequest(.prefix(prefix), limit: 1, sort: RangeRequest.Sort(by: .createRevision))
    }

    /// Where a claim stands, as its entry found out.
    struct Places {
        var own: (createRevision: Revision, value: [UInt8]?)
        var first: Revision

        init?(_ reply: TransactionReply, at revision: Revision) {
            guard case .range(let firsts) = reply.replies.last, let first = firsts.keyValues.first else { return nil }
            self.first = first.createRevision
            if reply.succeeded {
                own = (revision, nil)
            } else {
                guard case .range(let found) = reply.replies.first, let claim = found.keyValues.first else {
                    return nil
                }
                own = (claim.createRevision, claim.value)
            }
        }
    }
}
