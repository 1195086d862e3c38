import EsperTypes
import RaftCore
import RaftStorage

extension Mutant {
    /// Whether the mistake makes the core contradict itself.
    var breaksCore: Bool {
        switch self {
        case .switchesWithoutJoint, .leavesJointEarly, .stacksChanges, .changesBeforeOwnTerm, .addsNodesNeverStarted:
            true
        default: false
        }
    }

    /// Whether only the model of the disk can make it: the real files would not.
    var isOfTheDiskModel: Bool {
        switch self {
        case .losesSyncedEntries, .losesVote, .rejoinsWiped, .tearsCompaction, .keepsLogUnderSnapshot,
            .oldAppendsTruncate:
            true
        default: false
        }
    }

    /// Whether synchronizing what is at the path is forgotten.
    func forgetsToSynchronize(_ path: String) -> Bool {
        switch self {
        case .storesUnsynced: path.contains("/snapshots/local-")
        case .installsUnsynced: path.contains("/snapshots/received-")
        case .forgetsSnapshotNames: path.hasSuffix("/snapshots")
        case .forgetsSegmentNames: path.hasSuffix("/log")
        // Groups are written durably one by one, and a new segment has another name until it is synced.
        case .trustsUnsyncedTail: path.hasSuffix(".segment")
        default: false
        }
    }

    /// Whether the node goes on after this as if nothing had happened.
    func hides(_ error: StorageError) -> Bool {
        switch self {
        case .goesOnAfterFailedSync: error.code == .inputOutput
        case .acknowledgesWhatDidNotFit: error.code == .outOfSpace
        default: false
        }
    }

    /// What is read of a snapshot in place of what was checked; nil when it is read as it should be.
    func readsSnapshot(_ descriptor: SnapshotDescriptor, of node: SimulatedNode) -> [UInt8]? {
        self == .servesDamage ? node.disk.files?.readUnchecked(descriptor) : nil
    }

    /// Whether the message leaves although its write is not durable.
    func releases(_ message: Message) -> Bool {
        switch (self, message) {
        case (.votesBeforeDurable, .requestVoteResponse): true
        case (.acknowledgementsBeforeDurable, .appendEntriesResponse): true
        default: false
        }
    }

    /// What is sent in place of a message; nil is nothing.
    func forges(
        _ message: Message, from: SimulatedNode, to: SimulatedNode
    ) -> Message? {
        let configuration = to.raft.configuration
        switch (self, message) {
        case (.commitsOldTermsByCounting, .appendEntries(var append)):
            append.commit = max(append.commit, from.agreedByCounting)
            return .appendEntries(append)
        case (.commitsByMaximum, .appendEntries(var append)):
            let status = from.raft.status
            append.commit = max(append.commit, status.durable, status.peers.map(\.match).max() ?? .zero)
            return .appendEntries(append)
        case (.neverSendsSnapshots, .installSnapshot): return nil
        case (.servesDamage, .installSnapshot(var chunk)):
            guard let bytes = readsSnapshot(chunk.descriptor, of: from) else { return message }
            chunk.descriptor.checksum = CRC32C.checksum(bytes)
            return .installSnapshot(chunk)
        case (.probesOnce, .appendEntries(let append)):
            return append.entries.isEmpty && from.probes(to.id, behind: append.previous.index) ? nil : message
        case (.heartbeatsNameTheEnd, .appendEntries(var append)):
            if append.entries.isEmpty { append.previous = from.raft.status.last }
            return .appendEntries(append)
        case (.refusesFormerLeaders, .preVoteResponse(var response)):
            if to.hasLed { response.isGranted = false }
            return .preVoteResponse(response)
        case (.demotedConfirmNoReads, .appendEntriesResponse(var response)):
            if configuration.isJoint, !configuration.incoming.contains(from.id) { response.readSequence = .zero }
            return .appendEntriesResponse(response)
        case (.learnersRefuseVotes, .preVoteResponse(var response)):
            if !from.raft.configuration.isVoter(from.id) { response.isGranted = false }
            return .preVoteResponse(response)
        case (.learnersRefuseVotes, .requestVoteResponse(var response)):
            if !from.raft.configuration.isVoter(from.id) { response.isGranted = false }
            return .requestVoteResponse(response)
        case (.electionsWithoutPreVote, .preVoteResponse(var response)):
            response.isGranted = true
            return .preVoteResponse(response)
        case (.electionsWithoutPreVote, .requestVote(var request)):
            request.isTransfer = true
            return .requestVote(request)
        case (.claimsMissingEntries, .appendEntriesResponse(var response)):
            guard case .conflict(let previous, _) = response.outcome else { return message }
            response.outcome = .matched(durable: previous.index, received: previous.index)
            return .appendEntriesResponse(response)
        case (.grantsEveryVote, .requestVoteResponse(var response)):
            response.isGranted = true
            return .requestVoteResponse(response)
        case (.votesHideLeases, .requestVoteResponse(var response)):
            response.holderWait = .zero
            return .requestVoteResponse(response)
        case (.countsRemovedLeader, .appendEntriesResponse(var response)):
            // One voter's word stands for the leader's own disk.
            guard to.raft.currentRole == .leader, !configuration.isVoter(to.id), configuration.voters.first == from.id
            else { return message }
            response.claim(to.raft.status.durable)
            return .appendEntriesResponse(response)
        case (.ignoresOldVoters, .appendEntriesResponse(var response)):
            guard to.raft.currentRole == .leader, configuration.isJoint, !configuration.incoming.contains(from.id)
            else { return message }
            response.claim(to.raft.status.last.index)
            return .appendEntriesResponse(response)
        case (.ignoresOldVoters, .requestVoteResponse(var response)):
            guard configuration.isJoint, !configuration.incoming.contains(from.id) else { return message }
            response.isGranted = true
            return .requestVoteResponse(response)
        default:
            return message
        }
    }

    /// What a node makes of a message that arrives; nil is nothing.
    func receives(_ message: Message, at node: SimulatedNode) -> Message? {
        switch (self, message) {
        case (.ignoresOldTerms, .preVoteRequest(let request)):
            return request.term <= node.raft.currentTerm ? nil : message
        case (.ignoresOldTerms, .requestVote), (.ignoresOldTerms, .appendEntries):
            return message.term < node.raft.currentTerm ? nil : message
        // It asks whether it would be elected, and nobody says so while the leader lives.
        case (.ordersAskFirst, .timeoutNow): return nil
        case (.lateAnswersConfirmReads, .appendEntriesResponse(var response)):
            guard node.raft.currentRole == .leader, response.term == node.raft.currentTerm else { return message }
            response.readSequence = node.raft.readRound
            return .appendEntriesResponse(response)
        default:
            return message
        }
    }
}

extension SimulatedNode {
    /// Whether this leader looks where the follower's log agrees, at or behind an entry that it is not known to have.
    fileprivate func probes(_ follower: NodeID, behind index: LogIndex) -> Bool {
        raft.status.peers.contains { $0.id == follower && $0.state == .probe && $0.match < index }
    }

    /// What the quorums of its configuration have on disk, as this leader knows it, whatever its term.
    fileprivate var agreedByCounting: LogIndex {
        let status = raft.status
        let reached = status.configuration.quorum.reached { voter in
            voter == id ? status.durable : status.peers.first { $0.id == voter }?.match ?? .zero
        }
        return reached ?? .zero
    }
}

extension AppendEntriesResponse {
    fileprivate mutating func claim(_ index: LogIndex) {
        guard case .matched = outcome else { return }
        outcome = .matched(durable: index, received: index)
    }
}
