public import EsperTypes

extension RaftNode {
    /// What this node knows to be committed.
    public var committed: LogIndex { commit }

    /// Whether the driver may apply through this entry by itself, beyond what was handed over: it is committed and durable here,
    /// and so is everything before it.
    public func mayApplyAhead(through id: EntryID) -> Bool {
        restoring == nil && pendingRestore == nil && id.index > scheduled && id.index <= min(commit, log.durable)
            && log.holds(id)
    }

    /// - Complexity: O(members).
    public var status: RaftStatus {
        RaftStatus(
            id: id, role: role, term: hardState.term, vote: hardState.vote, leader: leader, first: log.first,
            last: log.last, durable: log.durable, commit: commit, applied: applied, snapshot: snapshot,
            configuration: log.configuration.configuration, configurationIndex: log.configuration.index,
            isConfigurationPending: log.configuration.index > commit,
            logBytes: log.payloadBytes, uncommittedBytes: uncommittedBytes,
            waitingReads: reads.waitingCount + forwardedReads.count, transferTarget: transfer?.target,
            isStorageStalled: isDriverStalled || lastStallAttempt != nil,
            snapshotsInUse: peers.compactMap { $0.transfer?.descriptor },
            peers: peers.filter { !$0.isDeparting }.map { peer in
                RaftStatus.Peer(
                    id: peer.id, state: peer.state, match: peer.match, next: peer.next,
                    inFlightAppends: peer.inflights.count, inFlightBytes: peer.inflights.bytes,
                    snapshotOffset: peer.transfer?.acknowledged, lastContact: peer.hasAnswered ? peer.lastContact : nil,
                    isLinkDown: peer.isLinkDown, isCaughtUp: isCaughtUp(peer),
                    isHeard: isHeard(peer.id, at: lastInstant))
            })
    }

    /// The role, term and leader, without the cost of the whole status.
    public var currentRole: Role { role }
    public var currentTerm: Term { hardState.term }
    public var currentLeader: NodeID? { leader }
    public var commitIndex: LogIndex { commit }
    public var lastIndex: LogIndex { log.last.index }
    /// The configuration in force, and the entry that brought it; zero for the first one.
    public var configuration: Configuration { log.configuration.configuration }
    public var configurationIndex: LogIndex { log.configuration.index }

    /// Whether this node abstains from elections until it holds again what it may have lost.
    public var isQuarantined: Bool { quarantine != nil }

    /// Payload bytes the log holds in memory; what the driver's compaction policy looks at.
    public var logBytes: Int { log.payloadBytes }

    /// The entry at an index, while the log holds it.
    public func entry(at index: LogIndex) -> Entry? {
        guard index >= log.first, index <= log.last.index else { return nil }
        return log.entries[log.offset(of: index)]
    }
}
