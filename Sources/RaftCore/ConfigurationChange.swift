public import EsperTypes

/// One wish about who votes and who listens. Several are carried out at once or not at all.
public enum ConfigurationChange: Hashable, Sendable {
    /// Send the log to this node, without a vote.
    case addLearner(NodeID)
    /// Give this learner a vote.
    case addVoter(NodeID)
    /// Take this voter's vote and go on sending it the log.
    case demote(NodeID)
    /// Take this node out, voter or learner.
    case remove(NodeID)
    /// Give the vote of a voter that leaves to a learner: `addVoter` and `remove` in one.
    case replace(NodeID, with: NodeID)
}

/// What the leader is asked to do about the configuration; see ``Event/changeConfiguration(token:_:)``.
public enum ConfigurationRequest: Hashable, Sendable {
    /// Changes of voters go through joint consensus (dissertation §4.3). With `autoLeave` the leader leaves it by
    /// itself, and so does whoever leads after it; otherwise ``leaveJoint`` has to be asked for.
    case change([ConfigurationChange], autoLeave: Bool)
    /// Let the new voters decide alone.
    case leaveJoint
}

/// What became of a request; see ``Effect/configurationChange(token:_:)``.
public enum ConfigurationOutcome: Hashable, Sendable {
    /// Its first configuration stands in this leader's log and is in force here. Followed by `done` or `unknown`.
    case accepted(EntryID)
    /// Nothing was appended, and nothing will be.
    case refused(ConfigurationRefusal)
    /// The configuration asked for is committed, at this index. After a change that leaves by itself this is the
    /// configuration that is left over; after one that does not, the joint one.
    case done(Configuration, at: LogIndex)
    /// Leadership ended in between: the change may take effect or not. The configuration of the next leader tells.
    case unknown
}

/// Why the configuration was not changed.
public enum ConfigurationRefusal: Error, Hashable, Sendable {
    /// Ask this node instead, when it is known.
    case notLeader(hint: NodeID?)
    /// The leader has not committed an entry of its own term yet: an unfinished change of the term before may come to
    /// light until then. Passes by itself.
    case termNotCommitted
    /// The configuration at this index is not committed yet.
    case changePending(LogIndex)
    /// Joint consensus has to be left first.
    case joint
    /// There is no joint consensus to leave.
    case notJoint
    /// Leadership is being handed over.
    case transferring
    /// The leader's disk hangs.
    case storageStalled
    /// The driver paused admission.
    case paused
    /// The leader's disk is full, and the change before, if there was one, is committed.
    case storageFull
    /// The changes leave everything as it is.
    case unchanged
    /// Two of the changes are about this node.
    case repeated(NodeID)
    /// The change is about a node that is no member.
    case notMember(NodeID)
    /// A vote is to be taken or handed on, and this node has none.
    case notVoter(NodeID)
    /// Only a learner can be given a vote: a new node is a learner first (dissertation §4.2.1).
    case notLearner(NodeID)
    /// A learner that is to be added, or takes a vote over, has one.
    case alreadyVoter(NodeID)
    /// Nobody would be left to vote.
    case noVoters
    /// More than ``Configuration/maximumMembers``.
    case tooManyMembers
    /// The learner's log ends more than ``RaftOptions/maximumPromotionLag`` entries before the leader's.
    case notCaughtUp(NodeID)
    /// The learner has not answered within an election timeout.
    case notHeard(NodeID)
    /// One of the majorities that would decide has not answered within an election timeout; these did not.
    case quorumNotHeard([NodeID])
}
