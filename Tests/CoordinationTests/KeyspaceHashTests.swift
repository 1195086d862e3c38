import Coordination
import EsperTypes
import Testing

@Suite struct KeyspaceHashTests {
    @Test func `the hash at a revision is that of the keyspace then, also after more of it, and compacted or restored`()
        throws
    {
        var replica = Replica()
        var hashes: [UInt64] = []
        let session = replica.session()
        for step in 0..<12 {
            replica.put("k\(step % 5)", "\(step)", session: step % 2 == 0 ? session : nil)
            if step == 6 { replica.run(.delete(.init(.key("k1".bytes)))) }
            hashes.append(try replica.machine.keyspaceHash())
        }
        #expect(Set(hashes).count == hashes.count)
        let last = replica.machine.revision
        #expect(try replica.machine.keyspaceHash(at: last) == hashes.last)
        let then = replica.machine
        replica.run(.compact(through: Revision(8)))
        let copy = try restored(replica.machine)
        for revision in 8...last.rawValue {
            let hash = try then.keyspaceHash(at: Revision(revision))
            #expect(try replica.machine.keyspaceHash(at: Revision(revision)) == hash)
            #expect(try copy.keyspaceHash(at: Revision(revision)) == hash)
        }
        #expect(throws: Refusal.compacted(at: Revision(8))) { try copy.keyspaceHash(at: Revision(7)) }
        #expect(throws: Refusal.futureRevision(current: last)) { try copy.keyspaceHash(at: last.next) }
    }

    @Test func `the hash tells attachment and versions apart`() throws {
        func hash(_ change: (inout Replica, SessionID) -> Void) throws -> UInt64 {
            var replica = Replica()
            let session = replica.session()
            change(&replica, session)
            return try replica.machine.keyspaceHash()
        }
        let hashes = try [
            hash { replica, _ in replica.put("a", "1") },
            hash { replica, session in replica.put("a", "1", session: session) },
            hash { replica, _ in
                replica.put("b", "1")
                replica.put("a", "1")
            }, hash { _, _ in },
        ]
        #expect(Set(hashes).count == hashes.count)
    }
}
