package import EsperTypes
import Coordination
import RaftCore

/// What the runtimes of two nodes say to each other, as bytes; for the tests of its decoders.
package enum PeerWords {
    /// A question read and written again.
    package static func question(_ bytes: [UInt8]) throws(DecodingError) -> [UInt8] {
        try PeerQuestion(decoding: bytes).encoded()
    }

    /// An answer read and written again.
    package static func answer(_ bytes: [UInt8]) throws(DecodingError) -> [UInt8] {
        try PeerAnswer(decoding: bytes).encoded()
    }

    /// One question of each kind.
    package static var questionSamples: [[UInt8]] {
        var table = StateMachine()
        var output = ApplyOutput()
        let founders = [
            MemberRecord(
                id: NodeID(1), name: "n1", peer: HostPort(host: "127.0.0.1", port: 1),
                api: HostPort(host: "127.0.0.1", port: 2), zone: "a"),
            MemberRecord(
                id: NodeID(2), name: "n2", peer: HostPort(host: "127.0.0.1", port: 3),
                api: HostPort(host: "127.0.0.1", port: 4), zone: ""),
        ]
        let envelope = Envelope(
            time: 1, proposal: ProposalID(origin: NodeID(1), boot: 1, number: 1), request: nil, principal: "node/n1",
            command: .foundMembers(founders))
        table.apply(index: LogIndex(1), term: Term(1), payload: envelope.encoded(), into: &output)
        let order = MembershipOrder(
            changes: [
                .add(
                    NewMember(
                        name: "n4", peer: HostPort(host: "127.0.0.1", port: 5),
                        api: HostPort(host: "127.0.0.1", port: 6), zone: "b")), .promote("n4"),
                .replace("n1", with: "n4"), .demote("n2"), .remove("n2"),
            ], known: ["n2": NodeID(2)], isRepeat: true, principal: "client/alice", patience: .seconds(5))
        let questions: [PeerQuestion] = [
            .keepAlive(SessionID(4)), .timeToLive(SessionID(5), withKeys: true), .transferLeadership(to: NodeID(2)),
            .transferLeadership(to: nil),
            .report(
                NodeReport(
                    role: .leader, isLearner: false, term: Term(3), applied: LogIndex(9), durable: LogIndex(8),
                    version: "0.1.0", isStorageFull: true)),
            .members(table.members), .changeMembers(order), .setAside(true),
            .marks(
                format: 1, [StateMark(index: LogIndex(1024), hash: 7), StateMark(index: LogIndex(2048), hash: .max)]),
            .certify(CertificationRequest(certificateRequest: [0x30, 3, 1, 2, 3], certificatePEM: "certificate")),
        ]
        return questions.map { $0.encoded() }
    }

    /// One answer of each kind.
    package static var answerSamples: [[UInt8]] {
        let answers: [PeerAnswer] = [
            .keptAlive(ttl: .seconds(3)), .timeToLive(granted: .seconds(3), remaining: .zero), .sessionNotFound,
            .notLeader, .done, .transferFailed(.timedOut),
            .membersChanged(MembershipReply(index: LogIndex(7), members: [NodeID(4), NodeID(5)])),
            .refused(.changeRefused, "räder"), .certified("certificate"), .notCertified("no_authority", "räder"),
        ]
        return answers.map { $0.encoded() }
    }
}
