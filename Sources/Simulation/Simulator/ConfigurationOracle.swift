import EsperTypes
import RaftCore

/// The rules of membership (dissertation §4), judged from outside.
///
/// Committed configurations form one line in which each is a legal step from the one before; a leader takes a step only when
/// the one before and an entry of its own term are committed; every node computes with the last configuration of its log;
/// who leads was elected by the quorums of the configuration in force.
struct ConfigurationOracle {
    private struct Committed {
        var index: LogIndex
        var configuration: Configuration
    }

    private var committed: [Committed]

    init(founders: Configuration) { committed = [Committed(index: .zero, configuration: founders)] }

    var last: Configuration { committed[committed.count - 1].configuration }

    /// An entry was committed for the first time.
    mutating func commits(_ entry: Entry, by node: Int) throws(SimulationFailure) {
        guard entry.kind == .configuration else { return }
        guard let next = try? Configuration(decoding: entry.payload), last.allows(next) else {
            throw SimulationFailure(
                .configurationSafety, "n\(node + 1) commits \(entry.id), which is no step from \(last)")
        }
        committed.append(Committed(index: entry.index, configuration: next))
    }

    /// A snapshot of committed state names the configuration that was in force at its end.
    func check(_ descriptor: SnapshotDescriptor, of node: Int) throws(SimulationFailure) {
        guard let record = committed.last(where: { $0.index <= descriptor.index }),
            record.index == descriptor.configurationIndex, record.configuration == descriptor.configuration
        else {
            throw SimulationFailure(
                .configurationSafety,
                "n\(node + 1) has a snapshot at \(descriptor.id) with \(descriptor.configuration) of "
                    + "\(descriptor.configurationIndex)")
        }
    }

    /// Looks at a node after a turn; costs nothing while its configuration stays.
    func check(_ node: SimulatedNode, founders: Configuration) throws(SimulationFailure) {
        let isLeader = node.seen.role == .leader
        defer { node.ledTerm = isLeader ? node.seen.term : nil }
        let index = node.seen.configurationIndex
        if node.lastConfiguration?.index == index, node.lastConfiguration?.configuration == node.seen.configuration {
            return
        }
        let configuration = node.seen.configuration
        defer { node.lastConfiguration = (index, configuration) }
        try checkLog(of: node, founders: founders)
        guard isLeader, node.ledTerm == node.seen.term, let known = node.lastConfiguration else { return }
        let commit = node.seen.commit
        guard known.index <= commit, node.raft.find(commit).map({ $0.term == node.seen.term }) ?? true
        else {
            throw SimulationFailure(
                .configurationSafety,
                "n\(node.index + 1) appends \(configuration) at \(index) with commit \(commit), before it is "
                    + "\(known.configuration) of \(known.index)")
        }
        guard known.configuration.allows(configuration) else {
            throw SimulationFailure(
                .configurationSafety,
                "n\(node.index + 1) appends \(configuration), which is no step from \(known.configuration)")
        }
    }

    /// The configuration in force is the last one of the log, or the snapshot's before it, or the first one.
    private func checkLog(
        of node: SimulatedNode, founders: Configuration
    ) throws(SimulationFailure) {
        let status = node.raft.status
        var expected = status.snapshot?.configuration ?? node.founding(founders)
        var index = status.last.index
        while let entry = node.raft.find(index), index > status.snapshot?.index ?? .zero {
            if entry.kind == .configuration, let found = try? Configuration(decoding: entry.payload) {
                expected = found
                break
            }
            index = index.previous
        }
        guard status.configuration == expected else {
            throw SimulationFailure(
                .configurationSafety,
                "n\(node.index + 1) computes with \(status.configuration), its log says \(expected)")
        }
    }

    /// Whoever leads has the votes of the quorums of its configuration, on their disks; who has voted in a later term
    /// since may have given one.
    func checkVotes(
        of leader: SimulatedNode, among nodes: [SimulatedNode]
    ) throws(SimulationFailure) {
        let term = leader.raft.currentTerm
        let result = leader.raft.configuration.quorum.result { voter in
            let hardState = nodes.first { $0.id == voter }?.disk.image.hardState ?? HardState()
            return hardState.term > term || hardState.term == term && hardState.vote == leader.id
        }
        guard result == .won else {
            throw SimulationFailure(
                .electionSafety,
                "n\(leader.index + 1) leads term \(term) without the votes of \(leader.raft.configuration)")
        }
    }
}

extension Configuration {
    /// Whether the other may follow this one: the same voters, or joint consensus entered or left.
    fileprivate func allows(_ next: Configuration) -> Bool {
        switch (isJoint, next.isJoint) {
        case (false, false): next.incoming == incoming
        case (false, true): next.outgoing == incoming
        case (true, false): next == (try? Changer(self).leaveJoint())
        case (true, true): false
        }
    }
}

extension SimulatedNode {
    /// What the node knew in the beginning.
    func founding(_ founders: Configuration) -> Configuration { founders.contains(id) ? founders : .none }
}
