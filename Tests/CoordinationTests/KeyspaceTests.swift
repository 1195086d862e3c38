import Coordination
import EsperTypes
import Testing

@Suite struct KeyspaceTests {
    @Test func `the first put makes revision 2, as in etcd`() {
        var replica = Replica()
        #expect(replica.machine.revision == Revision(1))
        #expect(replica.put("a", "1") == .put(PutReply()))
        #expect(replica.machine.revision == Revision(2))
        let kept = replica.range(.init(.key("a".bytes)))!.keyValues[0]
        #expect(
            kept
                == KeyValue(
                    key: "a".bytes, value: "1".bytes, createRevision: Revision(2), modRevision: Revision(2), version: 1)
        )
    }

    @Test func `a deleted key starts a new life when it is put again`() {
        var replica = Replica()
        replica.put("a", "1")
        replica.put("a", "2")
        #expect(replica.run(.delete(.init(.key("a".bytes)))) == .deleted(DeleteReply(count: 1)))
        replica.put("a", "3")
        let now = replica.range(.init(.key("a".bytes)))!.keyValues[0]
        #expect(now.version == 1)
        #expect(now.createRevision == Revision(5))
        #expect(replica.get("a", at: Revision(2)) == "1")
        #expect(replica.get("a", at: Revision(3)) == "2")
        #expect(replica.get("a", at: Revision(4)) == nil)
        #expect(replica.get("a", at: Revision(5)) == "3")
    }

    @Test func `deleting nothing makes no revision`() {
        var replica = Replica()
        #expect(replica.run(.delete(.init(.prefix("x".bytes)))) == .deleted(DeleteReply(count: 0)))
        #expect(replica.machine.revision == Revision(1))
        #expect(replica.output.events.isEmpty)
    }

    @Test func `a put answers what it replaced when asked`() {
        var replica = Replica()
        let ask = Command.put(.init(key: "a".bytes, value: "2".bytes, returnsPrevious: true))
        #expect(replica.run(ask) == .put(PutReply()))
        guard case .put(let reply) = replica.run(ask) else { return wrongAnswer() }
        #expect(reply.previous?.value == "2".bytes)
        #expect(reply.previous?.version == 1)
    }

    @Test func `a put may keep the value or the session, but only of a key that exists`() {
        var replica = Replica()
        let session = replica.session()
        #expect(
            replica.run(.put(.init(key: "a".bytes, value: [], keepsValue: true))) == .refused(.keyNotFound))
        replica.put("a", "1", session: session)
        replica.run(.put(.init(key: "a".bytes, value: "2".bytes, keepsSession: true)))
        #expect(replica.range(.init(.key("a".bytes)))!.keyValues[0].session == session)
        replica.run(.put(.init(key: "a".bytes, value: [], keepsValue: true)))
        #expect(replica.get("a") == "2")
        #expect(replica.range(.init(.key("a".bytes)))!.keyValues[0].session == nil)
    }

    @Test func `ranges obey limit, count, keys only, filters, order and byte bounds`() {
        var replica = Replica()
        for name in ["a", "b", "c", "d", "e"] { replica.put(name, name + name) }
        replica.put("a", "last")
        let all = replica.range(.init(.all))!
        #expect(all.keyValues.map(\.key) == ["a", "b", "c", "d", "e"].map(\.bytes))
        #expect(all.count == 5 && !all.more)
        let limited = replica.range(.init(.all, limit: 2))!
        #expect(limited.keyValues.count == 2 && limited.more && limited.count == 5)
        let counted = replica.range(.init(.keys(from: "b".bytes, before: "d".bytes), countOnly: true))!
        #expect(counted == RangeReply(keyValues: [], more: false, count: 2))
        #expect(replica.range(.init(.from("d".bytes), keysOnly: true))!.keyValues.map(\.value) == [[], []])
        let newest = replica.range(.init(.all, limit: 1, sort: .init(by: .modRevision, .descending)))!
        #expect(newest.keyValues.map(\.key) == ["a".bytes] && newest.more)
        let late = replica.range(.init(.all, minimumCreateRevision: Revision(5)))!
        #expect(late.keyValues.map(\.key) == ["d".bytes, "e".bytes])
        let small = replica.range(.init(.all, maximumBytes: 1))!
        #expect(small.keyValues.count == 1 && small.more)
    }

    @Test func `revisions of the future and below the compacted one are refused`() {
        var replica = Replica()
        for value in 1...5 { replica.put("a", String(value)) }
        #expect(replica.run(.compact(through: Revision(7))) == .refused(.futureRevision(current: Revision(6))))
        #expect(replica.run(.compact(through: Revision(4))) == .compacted(through: Revision(4)))
        #expect(replica.run(.compact(through: Revision(4))) == .refused(.compacted(at: Revision(4))))
        #expect(replica.get("a", at: Revision(4)) == "3")
        #expect(
            replica.machine.answer(.range(.init(.all, revision: Revision(3)))).result
                == .refused(.compacted(at: Revision(4))))
        #expect(
            replica.machine.answer(.range(.init(.all, revision: Revision(7)))).result
                == .refused(.futureRevision(current: Revision(6))))
    }

    @Test func `forgotten history is given back entry by entry`() {
        var replica = Replica()
        for value in 0..<200 { replica.put("a", String(value)) }
        replica.run(.compact(through: Revision(200)))
        #expect(replica.machine.keyspace.log.count > 100)
        for _ in 0..<40 { replica.run(.registerClient) }
        #expect(replica.machine.keyspace.log.count == 2)
        #expect(replica.machine.keyspace.superseded.count == 1)
        #expect(replica.get("a", at: Revision(200)) == "198")
    }

    @Test(
        arguments: [
            (Command.Put(key: [], value: []), InvalidCommand.emptyKey),
            (Command.Put(key: [UInt8](repeating: 1, count: Limits.keyBytes + 1), value: []), .keyTooLong(4097)),
            (Command.Put(key: [1], value: [UInt8](repeating: 1, count: Limits.valueBytes + 1)), .valueTooLong(57345)),
        ])
    func `a put beyond the limits is refused before proposing`(put: Command.Put, reason: InvalidCommand) {
        #expect(throws: reason) { try Command.put(put).validate() }
    }

    @Test func `plain writes keep away from locks and elections`() {
        var replica = Replica()
        #expect(replica.put("_lock/a/0123456789abcdef", "") == .refused(.reservedKey))
        #expect(replica.put("_election/", "") == .refused(.reservedKey))
        #expect(replica.run(.delete(.init(.key("_lock/a".bytes)))) == .refused(.reservedKey))
        #expect(replica.run(.delete(.init(.all))) == .refused(.reservedKey))
        #expect(replica.run(.delete(.init(.prefix("_loc".bytes)))) == .refused(.reservedKey))
        #expect(
            replica.run(.transaction(.init(success: [.delete(.init(.from("_".bytes)))]))) == .refused(.reservedKey))
        #expect(replica.put("_locks", "") == .put(PutReply()))
        #expect(replica.machine.revision == Revision(2))
    }

    @Test func `ranges overlap exactly when a key can be in both`() {
        let ranges: [KeyRange] = [
            .key("b".bytes), .key("c".bytes), .all, .from("b".bytes), .prefix("b".bytes),
            .keys(from: "a".bytes, before: "b".bytes), .keys(from: "b".bytes, before: "c".bytes),
            .keys(from: "c".bytes, before: "b".bytes),
        ]
        let keys = ["", "a", "aa", "b", "b\0", "ba", "c", "cc"].map(\.bytes)
        for left in ranges {
            for right in ranges {
                let shared = keys.contains { left.contains($0) && right.contains($0) }
                #expect(left.overlaps(right) == shared, "\(left) \(right)")
            }
        }
        #expect(KeyRange.prefix([1, 0xff]).end == .before([2]))
        #expect(KeyRange.prefix([0xff, 0xff]).end == .unbounded)
        #expect(KeyRange.prefix("ab".bytes).asPrefix == "ab".bytes)
        #expect(KeyRange.from("ab".bytes).asPrefix == nil)
    }
}

@Suite struct TransactionTests {
    @Test func `compares choose the branch, and the branch is one revision`() {
        var replica = Replica()
        replica.put("a", "1")
        let swap = Transaction(
            compares: [Compare(.key("a".bytes), .equal, .value("1".bytes)), .absent("b".bytes)],
            success: [
                .put(.init(key: "a".bytes, value: "2".bytes, returnsPrevious: true)),
                .put(.init(key: "b".bytes, value: "3".bytes)), .range(.init(.all)),
            ],
            failure: [.range(.init(.key("a".bytes)))])
        guard case .transaction(let first) = replica.run(.transaction(swap)) else { return wrongAnswer() }
        #expect(first.succeeded)
        #expect(replica.machine.revision == Revision(3))
        #expect(replica.output.events.map(\.revision) == [Revision(3), Revision(3)])
        guard case .range(let seen) = first.replies[2] else { return wrongAnswer() }
        #expect(seen.keyValues.map(\.value) == ["2".bytes, "3".bytes])
        guard case .transaction(let second) = replica.run(.transaction(swap)) else { return wrongAnswer() }
        #expect(!second.succeeded)
        #expect(replica.machine.revision == Revision(3))
    }

    @Test(
        arguments: [
            (Compare(.key("a".bytes), .equal, .version(2)), true),
            (Compare(.key("a".bytes), .greater, .modRevision(Revision(2))), true),
            (Compare(.key("a".bytes), .less, .createRevision(Revision(2))), false),
            (Compare(.key("a".bytes), .notEqual, .session(nil)), false),
            (Compare(.key("z".bytes), .equal, .value([])), false),
            (Compare(.key("z".bytes), .notEqual, .value([])), false),
            (Compare(.key("z".bytes), .equal, .version(0)), true),
            (Compare(.prefix("".bytes), .greater, .version(0)), true),
            (Compare(.prefix("".bytes), .equal, .version(2)), false),
            (Compare(.prefix("zz".bytes), .equal, .version(99)), false),
            (Compare(.prefix("zz".bytes), .equal, .version(0)), true),
            (Compare(.prefix("zz".bytes), .less, .modRevision(Revision(1))), true),
            (Compare(.prefix("zz".bytes), .notEqual, .value([])), false),
            (Compare(.keys(from: "b".bytes, before: "a".bytes), .equal, .createRevision(.zero)), true),
            (.present("b".bytes), true), (.absent("b".bytes), false),
        ])
    func `each compare looks at what it names`(compare: Compare, holds: Bool) {
        var replica = Replica()
        replica.put("a", "1")
        replica.put("a", "2")
        replica.put("b", "1")
        let result = replica.machine.answer(.transaction(.init(compares: [compare]))).result
        #expect(result == .transaction(TransactionReply(succeeded: holds, replies: [])))
    }

    @Test func `inner transactions compare with the state before the outer one`() {
        var replica = Replica()
        let inner = Transaction(
            compares: [.absent("a".bytes)], success: [.put(.init(key: "b".bytes, value: "yes".bytes))],
            failure: [.put(.init(key: "b".bytes, value: "no".bytes))])
        replica.run(
            .transaction(.init(success: [.put(.init(key: "a".bytes, value: [])), .transaction(inner)])))
        #expect(replica.get("b") == "yes")
    }

    @Test func `a transaction that cannot be done changes nothing`() {
        var replica = Replica()
        let before = replica.machine.stateHash
        let missing = SessionID(99)
        #expect(
            replica.run(
                .transaction(
                    .init(success: [
                        .put(.init(key: "a".bytes, value: [])),
                        .put(.init(key: "b".bytes, value: [], session: missing)),
                    ]))) == .refused(.sessionNotFound(missing)))
        #expect(
            replica.run(
                .transaction(
                    .init(success: [
                        .put(.init(key: "a".bytes, value: [])), .range(.init(.all, revision: Revision(9))),
                    ]))) == .refused(.futureRevision(current: Revision(1))))
        #expect(replica.machine.revision == Revision(1))
        #expect(replica.machine.stateHash != before, "the applied index is part of the state")
    }

    @Test func `an answer too large takes the whole transaction back`() {
        var replica = Replica()
        for key in 0..<30 {
            replica.run(.put(.init(key: "k\(key)".bytes, value: [UInt8](repeating: 1, count: 50_000))))
        }
        let greedy = Transaction(success: [.put(.init(key: "a".bytes, value: [])), .range(.init(.prefix("k".bytes)))])
        #expect(replica.run(.transaction(greedy)) == .refused(.replyTooLarge))
        #expect(replica.get("a") == nil)
        #expect(replica.output.events.isEmpty)
        #expect(replica.machine.revision == Revision(31))
        replica.put("b", "")
        #expect(replica.machine.revision == Revision(32))
    }

    @Test func `one branch cannot change a key twice`() {
        let put = Transaction.Operation.put(.init(key: "a".bytes, value: []))
        for operations in [
            [put, put], [put, .delete(.init(.prefix("a".bytes)))], [put, .transaction(.init(failure: [put]))],
            [.transaction(.init(success: [put])), .transaction(.init(failure: [.delete(.init(.key("a".bytes)))]))],
            [.transaction(.init(success: [put, .delete(.init(.all))]))],
        ] {
            #expect(throws: InvalidCommand.duplicateKey) {
                try Command.transaction(.init(success: operations)).validate()
            }
        }
        #expect(throws: Never.self) {
            try Command.transaction(.init(success: [.transaction(.init(success: [put], failure: [put]))])).validate()
            try Command.transaction(.init(success: [put], failure: [put])).validate()
            let either = Transaction(success: [put], failure: [.delete(.init(.prefix("a".bytes)))])
            try Command.transaction(.init(success: [.transaction(either), .range(.init(.all))])).validate()
            try Command.transaction(either).validate()
        }
    }
}
