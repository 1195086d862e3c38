import Coordination
import EsperTypes
import Testing

@Suite struct MemberTests {
    private func new(_ name: String, port: Int, zone: String = "") -> NewMember {
        NewMember(
            name: name, peer: HostPort(host: "h", port: port), api: HostPort(host: "h", port: port + 1), zone: zone)
    }

    private func founded(_ count: Int = 3) -> Replica {
        var replica = Replica()
        replica.run(.foundMembers(founders(count)))
        return replica
    }

    private func founders(_ count: Int) -> [MemberRecord] {
        (1...count).map { number in
            let new = new("n\(number)", port: 7400 + 10 * number)
            return MemberRecord(id: NodeID(UInt64(number)), name: new.name, peer: new.peer, api: new.api)
        }
    }

    private func names(_ replica: Replica) -> [String] { replica.machine.members.records.map(\.name) }

    @Test func `founders are recorded once, whoever comes second`() {
        var replica = founded()
        #expect(names(replica) == ["n1", "n2", "n3"])
        #expect(replica.machine.members.records.allSatisfy { $0.isEnrolled })
        #expect(replica.machine.members.nextID == NodeID(4))
        #expect(replica.output.membersChanged)
        #expect(replica.run(.foundMembers(founders(5))) == .refused(.membersFounded))
        #expect(!replica.output.membersChanged)
        #expect(names(replica) == ["n1", "n2", "n3"])
    }

    @Test func `an ID is never given twice`() {
        var replica = founded()
        #expect(replica.run(.admitMember(new("n4", port: 7500))) == .memberAdmitted(NodeID(4)))
        #expect(replica.run(.forgetMember(NodeID(4))) == .recorded)
        #expect(replica.machine.members.hasForgotten(NodeID(4)))
        #expect(!replica.machine.members.hasForgotten(NodeID(5)))
        #expect(replica.run(.forgetMember(NodeID(4))) == .refused(.memberNotFound(NodeID(4))))
        #expect(replica.run(.admitMember(new("n4", port: 7500))) == .memberAdmitted(NodeID(5)))
    }

    @Test func `admitting again before it joined answers the same, afterwards the name is taken`() {
        var replica = founded()
        let node = new("n4", port: 7500, zone: "east")
        #expect(replica.run(.admitMember(node)) == .memberAdmitted(NodeID(4)))
        #expect(replica.run(.admitMember(node)) == .memberAdmitted(NodeID(4)))
        #expect(replica.run(.admitMember(new("n4", port: 7600))) == .refused(.memberNameTaken(by: NodeID(4))))
        replica.run(.noteMember(NodeID(4), isEnrolled: true, incarnation: nil))
        #expect(replica.run(.admitMember(node)) == .refused(.memberNameTaken(by: NodeID(4))))
    }

    @Test func `addresses are one node's, and members are bounded`() {
        var replica = founded()
        #expect(replica.run(.admitMember(new("n9", port: 7420))) == .refused(.memberAddressTaken(by: NodeID(2))))
        for number in 4...CoordinationLimits.members {
            replica.run(.admitMember(new("n\(number)", port: 8000 + 10 * number)))
        }
        #expect(replica.run(.admitMember(new("more", port: 20_000))) == .refused(.tooManyMembers))
    }

    @Test func `the first life of a disk is kept to`() {
        var replica = founded()
        replica.run(.noteMember(NodeID(2), isEnrolled: false, incarnation: Incarnation(7)))
        #expect(replica.output.membersChanged)
        replica.run(.noteMember(NodeID(2), isEnrolled: false, incarnation: Incarnation(8)))
        #expect(!replica.output.membersChanged)
        #expect(replica.machine.members.record(NodeID(2))?.incarnation == Incarnation(7))
        #expect(
            replica.run(.noteMember(NodeID(9), isEnrolled: true, incarnation: nil))
                == .refused(.memberNotFound(NodeID(9))))
    }

    @Test(arguments: [
        NewMember(name: "", peer: .init(host: "h", port: 1), api: .init(host: "h", port: 2)),
        NewMember(
            name: String(repeating: "n", count: 65), peer: .init(host: "h", port: 1), api: .init(host: "h", port: 2)),
        NewMember(name: "n", peer: .init(host: "", port: 1), api: .init(host: "h", port: 2)),
        NewMember(name: "n", peer: .init(host: "h", port: 0), api: .init(host: "h", port: 2)),
        NewMember(name: "n", peer: .init(host: "h", port: 1), api: .init(host: "h", port: 65_536)),
        NewMember(
            name: "n", peer: .init(host: "h", port: 1), api: .init(host: "h", port: 2),
            zone: String(repeating: "z", count: 65)),
    ])
    func `what no node can be called or reached at is invalid`(member: NewMember) {
        #expect(throws: InvalidCommand.self) { try Command.admitMember(member).validate() }
    }

    @Test func `the table goes through a snapshot`() throws {
        var replica = founded()
        replica.run(.admitMember(new("n4", port: 7500, zone: "east")))
        replica.run(.noteMember(NodeID(1), isEnrolled: true, incarnation: Incarnation(5)))
        replica.run(.forgetMember(NodeID(3)))
        let copy = try restored(replica.machine, piece: 7)
        #expect(copy.members == replica.machine.members)
        #expect(copy.stateHash == replica.machine.stateHash)
        #expect(copy.members.version == replica.machine.applied.index)
        var other = replica
        other.machine.members = MemberTable()
        #expect(other.machine.stateHash != replica.machine.stateHash)
    }

    @Test func `every change is in the audit trail with who made it`() {
        var replica = Replica()
        replica.principal = "client/operator"
        replica.run(.foundMembers(founders(2)))
        replica.run(.admitMember(new("n3", port: 7500, zone: "east")))
        replica.run(.forgetMember(NodeID(1)))
        let records = replica.machine.outboxRecords(after: .zero, limit: 10)
        #expect(records.map(\.subject) == ["n1", "n2", "n3", "n1"])
        #expect(records.allSatisfy { $0.kind == .membershipChanged && $0.actor == "client/operator" })
        #expect(
            records.map { $0.fields.first { $0.name == "change" }?.value }
                == ["voter_added", "voter_added", "admitted", "forgotten"])
        #expect(records[2].fields.contains(.init("zone", "east")))
    }
}
