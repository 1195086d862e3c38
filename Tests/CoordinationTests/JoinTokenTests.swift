import Coordination
import EsperTypes
import Testing

@Suite struct JoinTokenTests {
    private static let second: UInt64 = 1_000_000_000

    private let secret = [UInt8](repeating: 1, count: 32)
    private let id = JoinTokenID(7)

    private func node(_ name: String, port: Int = 7500) -> NewMember {
        NewMember(
            name: name, peer: HostPort(host: "h", port: port), api: HostPort(host: "h", port: port + 1))
    }

    private func founded() -> Replica {
        var replica = Replica()
        replica.principal = "client/operator"
        let founder = node("n1", port: 7400)
        replica.run(
            .foundMembers([MemberRecord(id: NodeID(1), name: "n1", peer: founder.peer, api: founder.api)]))
        return replica
    }

    private func token(uses: Int = 1, node name: String = "", ttl: Duration = .seconds(60)) -> Command {
        .createJoinToken(NewJoinToken(id: id, secretDigest: secret, nodeName: name, uses: uses, ttl: ttl))
    }

    private func redeem(
        _ member: NewMember, key: UInt8 = 9, secret: [UInt8]? = nil, token: JoinTokenID? = nil
    ) -> Command {
        .redeemJoinToken(
            JoinTokenRedemption(
                token: token ?? id, secretDigest: secret ?? self.secret, keyDigest: [UInt8](repeating: key, count: 32),
                member: member))
    }

    @Test func `of two nodes that race for the last use one gets it, and its ID`() {
        var replica = founded()
        #expect(replica.run(token(), time: 5) == .joinTokenCreated(expires: 60 * Self.second + 5))
        #expect(replica.run(redeem(node("n2"), key: 1)) == .joinTokenRedeemed(NodeID(2)))
        #expect(replica.output.membersChanged)
        #expect(replica.run(redeem(node("n3", port: 7600), key: 2)) == .refused(.joinTokenUsedUp))
        #expect(replica.machine.members.record(named: "n3") == nil)
        #expect(replica.machine.members.record(named: "n2")?.isEnrolled == false)
        // The winner, asking again after a lost answer, is who it was; with another key it is not.
        #expect(replica.run(redeem(node("n2"), key: 1)) == .joinTokenRedeemed(NodeID(2)))
        #expect(replica.run(redeem(node("n2"), key: 2)) == .refused(.joinTokenUsedUp))
        #expect(replica.run(redeem(node("n2", port: 7700), key: 1)) == .refused(.memberNameTaken(by: NodeID(2))))
        #expect(replica.machine.joinTokens.record(id)?.used.map(\.name) == ["n2"])
    }

    @Test func `a token of several uses gives no name and no address twice`() {
        var replica = founded()
        replica.run(token(uses: 3))
        #expect(replica.run(redeem(node("n1"))) == .refused(.memberNameTaken(by: NodeID(1))))
        #expect(replica.run(redeem(node("n2", port: 7400))) == .refused(.memberAddressTaken(by: NodeID(1))))
        #expect(replica.run(redeem(node("n2"))) == .joinTokenRedeemed(NodeID(2)))
        #expect(replica.run(redeem(node("n2"), key: 3)) == .refused(.memberNameTaken(by: NodeID(2))))
        #expect(replica.run(redeem(node("n3", port: 7600))) == .joinTokenRedeemed(NodeID(3)))
        // What was refused was not counted.
        #expect(replica.machine.joinTokens.record(id)?.used.count == 2)
    }

    @Test func `a member is known by its key, by whichever token, until it is a member no more`() {
        var replica = founded()
        replica.run(token())
        replica.run(redeem(node("n2"), key: 1))
        replica.run(.noteMember(NodeID(2), isEnrolled: true, incarnation: nil))
        let later = JoinTokenID(8)
        replica.run(
            .createJoinToken(NewJoinToken(id: later, secretDigest: secret, uses: 1, ttl: .seconds(10))))
        #expect(replica.run(redeem(node("n2"), key: 1, token: later)) == .joinTokenRedeemed(NodeID(2)))
        #expect(replica.run(redeem(node("n2"), key: 2, token: later)) == .refused(.memberNameTaken(by: NodeID(2))))
        #expect(replica.machine.joinTokens.record(later)?.used == [])
        replica.run(.forgetMember(NodeID(2)))
        #expect(replica.machine.joinTokens.keys == [])
        #expect(replica.run(redeem(node("n2"), key: 1, token: later)) == .joinTokenRedeemed(NodeID(3)))
    }

    @Test func `without the secret nothing is learnt of a token`() {
        var replica = founded()
        replica.run(token())
        var wrong = secret
        wrong[31] ^= 1
        #expect(replica.run(redeem(node("n2"), secret: wrong)) == .refused(.joinTokenUnknown))
        #expect(replica.run(redeem(node("n2"), token: JoinTokenID(8))) == .refused(.joinTokenUnknown))
        replica.run(.revokeJoinToken(id))
        #expect(replica.run(redeem(node("n2"), secret: wrong)) == .refused(.joinTokenUnknown))
        #expect(replica.run(redeem(node("n2"))) == .refused(.joinTokenRevoked))
        #expect(replica.run(.revokeJoinToken(JoinTokenID(8))) == .refused(.joinTokenUnknown))
    }

    @Test func `a token ends at its time, by the clock of the entry that presents it`() {
        var replica = founded()
        replica.run(token(ttl: .seconds(2)), time: Self.second)
        #expect(replica.run(redeem(node("n2")), time: 3 * Self.second) == .refused(.joinTokenExpired))
        replica.run(token(ttl: .seconds(2)))
        #expect(replica.machine.joinTokens.records.count == 1)
    }

    @Test func `a token for one node lets no other in`() {
        var replica = founded()
        replica.run(token(node: "n5"))
        #expect(replica.run(redeem(node("n2"))) == .refused(.joinTokenOfAnother))
        #expect(replica.run(redeem(node("n5"))) == .joinTokenRedeemed(NodeID(2)))
    }

    @Test func `tokens are bounded, and those that have expired make room`() {
        var replica = founded()
        func new(_ number: Int) -> Command {
            .createJoinToken(
                NewJoinToken(id: JoinTokenID(UInt64(number)), secretDigest: secret, uses: 1, ttl: .seconds(10)))
        }
        for number in 1...CoordinationLimits.joinTokens { replica.run(new(number), time: Self.second) }
        #expect(replica.run(new(999), time: 2 * Self.second) == .refused(.tooManyJoinTokens))
        #expect(replica.run(new(1), time: 3 * Self.second) == .joinTokenCreated(expires: 11 * Self.second))
        #expect(replica.run(new(999), time: 11 * Self.second) == .joinTokenCreated(expires: 21 * Self.second))
        #expect(replica.machine.joinTokens.records.count == 1)
        let other = NewJoinToken(
            id: JoinTokenID(999), secretDigest: [UInt8](repeating: 2, count: 32), uses: 1, ttl: .seconds(1))
        #expect(replica.run(.createJoinToken(other)) == .refused(.joinTokenExists))
    }

    @Test(arguments: [
        NewJoinToken(id: JoinTokenID(1), secretDigest: [1], uses: 1, ttl: .seconds(60)),
        NewJoinToken(id: JoinTokenID(1), secretDigest: [UInt8](repeating: 1, count: 32), uses: 0, ttl: .seconds(60)),
        NewJoinToken(id: JoinTokenID(1), secretDigest: [UInt8](repeating: 1, count: 32), uses: 65, ttl: .seconds(60)),
        NewJoinToken(
            id: JoinTokenID(1), secretDigest: [UInt8](repeating: 1, count: 32), uses: 1, ttl: .milliseconds(999)),
        NewJoinToken(
            id: JoinTokenID(1), secretDigest: [UInt8](repeating: 1, count: 32), uses: 1, ttl: .seconds(8 * 86400)),
        NewJoinToken(
            id: JoinTokenID(1), secretDigest: [UInt8](repeating: 1, count: 32),
            nodeName: String(repeating: "n", count: 65), uses: 1, ttl: .seconds(60)),
    ])
    func `terms that no token has are invalid`(token: NewJoinToken) {
        #expect(throws: InvalidCommand.self) { try Command.createJoinToken(token).validate() }
    }

    @Test func `tokens go through a snapshot, and their uses with them`() throws {
        var replica = founded()
        replica.run(token(uses: 2, node: "n2"))
        replica.run(redeem(node("n2")))
        replica.run(
            .createJoinToken(
                NewJoinToken(id: JoinTokenID(8), secretDigest: secret, uses: 1, ttl: .seconds(1))))
        replica.run(.revokeJoinToken(JoinTokenID(8)))
        let copy = try restored(replica.machine, piece: 7)
        #expect(copy.joinTokens == replica.machine.joinTokens)
        #expect(copy.stateHash == replica.machine.stateHash)
        var other = replica
        other.run(.revokeJoinToken(id))
        #expect(other.machine.stateHash != replica.machine.stateHash)
    }

    @Test func `the audit trail has who made a token, who ended it and who came by it`() {
        var replica = founded()
        replica.run(token())
        replica.principal = "join-token/0000000000000007"
        replica.run(redeem(node("n2")))
        replica.run(redeem(node("n2")))
        replica.principal = "client/other"
        replica.run(.revokeJoinToken(id))
        let records = replica.machine.outboxRecords(after: .zero, limit: 10).dropFirst()
        #expect(
            records.map(\.kind) == [
                .joinTokenCreated, .joinTokenUsed, .membershipChanged, .joinTokenUsed, .joinTokenRevoked,
            ])
        #expect(
            records.map(\.actor)
                == [
                    "client/operator", "join-token/0000000000000007", "join-token/0000000000000007",
                    "join-token/0000000000000007", "client/other",
                ])
        #expect(records.first?.subject == "0000000000000007")
        #expect(!records.contains { $0.fields.contains { $0.value.contains("0101") } })
    }
}
