import EsperTypes

/// Computes the next configuration, by the rules that keep any two consecutive ones from deciding apart.
///
/// Every majority of one configuration meets every majority of the next: in ``simple(_:)`` because at most one voter
/// changes (dissertation §4.1), with ``enterJoint(autoLeave:_:)`` and ``leaveJoint()`` because a joint configuration
/// needs the majorities of both halves (§4.3). When a step may be taken is for ``RaftNode`` to say.
///
/// Changes are carried out in their order and are idempotent here: adding a voter that votes, or removing a stranger,
/// changes nothing.
public struct Changer: Hashable, Sendable {
    public enum Failure: Error, Hashable, Sendable {
        /// A joint configuration can only be left.
        case alreadyJoint
        case notJoint
        /// Without voters there is nothing to be joint with.
        case noVotersToJoin
        case removesAllVoters
        /// Several voters change without joint consensus.
        case changesSeveralVoters
    }

    public let configuration: Configuration

    public init(_ configuration: Configuration) { self.configuration = configuration }

    /// One step without joint consensus: at most one voter comes or goes. May begin from no voters at all.
    public func simple(_ changes: [ConfigurationChange]) throws(Failure) -> Configuration {
        guard !configuration.isJoint else { throw .alreadyJoint }
        var draft = Draft(configuration)
        try draft.apply(changes)
        guard draft.incoming.symmetricDifference(configuration.incoming).count <= 1 else {
            throw .changesSeveralVoters
        }
        return draft.configuration(autoLeave: false)
    }

    /// The joint configuration: the voters as they are, and as the changes make them.
    public func enterJoint(autoLeave: Bool, _ changes: [ConfigurationChange]) throws(Failure) -> Configuration {
        guard !configuration.isJoint else { throw .alreadyJoint }
        guard !configuration.incoming.isEmpty else { throw .noVotersToJoin }
        var draft = Draft(configuration)
        draft.outgoing = draft.incoming
        try draft.apply(changes)
        return draft.configuration(autoLeave: autoLeave)
    }

    /// What is left when the old voters have no say any more.
    public func leaveJoint() throws(Failure) -> Configuration {
        guard configuration.isJoint else { throw .notJoint }
        return Configuration(
            voters: configuration.incoming, learners: configuration.learners + configuration.learnersNext)
    }

    /// A configuration in the making.
    private struct Draft {
        var incoming: Set<NodeID>
        var outgoing: Set<NodeID> = []
        var learners: Set<NodeID>
        var learnersNext: Set<NodeID> = []

        init(_ configuration: Configuration) {
            incoming = Set(configuration.incoming)
            learners = Set(configuration.learners)
        }

        mutating func apply(_ changes: [ConfigurationChange]) throws(Failure) {
            for change in changes {
                switch change {
                case .addVoter(let node): makeVoter(node)
                case .addLearner(let node), .demote(let node): makeLearner(node)
                case .remove(let node): remove(node)
                case .replace(let old, let new):
                    makeVoter(new)
                    remove(old)
                }
            }
            if incoming.isEmpty { throw .removesAllVoters }
        }

        private mutating func makeVoter(_ node: NodeID) {
            learners.remove(node)
            learnersNext.remove(node)
            incoming.insert(node)
        }

        /// A voter of the old half steps back only when the joint configuration is left: until then it votes.
        private mutating func makeLearner(_ node: NodeID) {
            remove(node)
            if outgoing.contains(node) { learnersNext.insert(node) } else { learners.insert(node) }
        }

        private mutating func remove(_ node: NodeID) {
            incoming.remove(node)
            learners.remove(node)
            learnersNext.remove(node)
        }

        func configuration(autoLeave: Bool) -> Configuration {
            // Sorted by the initialiser: the order of a set never gets out.
            Configuration(
                voters: Array(incoming), outgoing: Array(outgoing), learners: Array(learners),
                learnersNext: Array(learnersNext), autoLeave: autoLeave)
        }
    }
}
