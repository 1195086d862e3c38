import EsperTypes

/// The answers to one round of (pre-)votes. The first answer of a voter counts.
struct VoteTally: Sendable {
    private var answers: [(voter: NodeID, isGranted: Bool)] = []

    mutating func removeAll() { answers.removeAll(keepingCapacity: true) }

    mutating func record(_ voter: NodeID, _ isGranted: Bool) {
        guard answer(of: voter) == nil else { return }
        answers.append((voter, isGranted))
    }

    func answer(of voter: NodeID) -> Bool? {
        for answer in answers where answer.voter == voter { return answer.isGranted }
        return nil
    }

    func result(_ quorum: JointQuorum) -> VoteResult { quorum.result(answer) }
}
