import Coordination
import EsperTypes
import Logging
import PeerTransport
import RaftCore
import RaftStorage

// Who the members are and where: the replicated table, and the newest copy of it that any node has told this one.
extension NodeCore {
    /// The state's table has changed, or is another one.
    func membersApplied() {
        learn(state.members)
        maintainMembers()
    }

    /// What the own state and the saved copy know at the start: members, and who was removed.
    func recallMembers() {
        guard !book.isEmpty else { return }
        transport.updateMembers(Self.peers(members, book), firstUnassigned: book.nextID)
        if book.hasForgotten(id) { exclude(.removed) }
    }

    /// Takes a table over if it is newer than what is known. One from a peer is ahead of the own state when this node was
    /// away: who leads now may be none of those it knew.
    private func learn(_ table: MemberTable) {
        guard table.version > book.version, !table.isEmpty else { return }
        let hadForgottenUs = book.hasForgotten(id)
        book = table
        members = table.records.map { ClusterMember($0) }
        saveMembers(table)
        transport.updateMembers(Self.peers(members, table), firstUnassigned: table.nextID)
        let question = PeerQuestion.members(table).encoded()
        for member in members where member.id != id { transport.send(.ask(0, question), to: member.id) }
        reports = reports.filter { table.record($0.key) != nil }
        heard = heard.filter { table.record($0.key) != nil }
        logger.info("members changed", metadata: ["raft.index": "\(table.version)", "members": "\(members.count)"])
        if table.hasForgotten(id), !hadForgottenUs { exclude(.removed) }
        noteReadiness()
        scheduleTurn()
    }

    /// For the next start, which finds its state empty and may find none of the members that the settings list.
    private func saveMembers(_ table: MemberTable) {
        let (directory, logger) = (directory, logger)
        snapshotWorker.submit {
            do throws(StorageError) {
                try directory.saveMembers(table.encoded())
            } catch {
                logger.warning("the members were not saved", metadata: ["error": "\(error)"])
            }
        }
    }

    func membersTold(_ table: MemberTable) { learn(table) }

    /// The settings' list until the cluster has a table.
    static func peers(_ members: [ClusterMember], _ table: MemberTable) -> [PeerMember] {
        members.map { member in
            PeerMember(
                id: member.id, name: member.name, host: member.peerHost, port: member.peerPort,
                incarnation: table.record(member.id)?.incarnation)
        }
    }

    func tellMembers(to peer: NodeID) {
        guard !book.isEmpty else { return }
        transport.send(.ask(0, PeerQuestion.members(book).encoded()), to: peer)
    }

    // MARK: - What the leader keeps true

    /// Proposes what the table lacks: its founders, who has joined, who has left, the first life of each disk. All of
    /// it can be proposed twice, by several leaders, and late.
    func maintainMembers() {
        guard role == .leader, appliedTerm == term else { return }
        tableProposals.removeAll { proposals[$0] == nil }
        guard tableProposals.isEmpty else { return }
        if state.members.isEmpty { return proposeFounders() }
        let status = raft.status
        guard !status.isConfigurationPending, !status.configuration.isJoint else { return }
        let lives = Dictionary(
            transport.status.compactMap { peer in peer.incarnation.map { (peer.id, $0) } } + [(id, incarnation)],
            uniquingKeysWith: { first, _ in first })
        for record in state.members.records {
            let isMember = status.configuration.contains(record.id)
            if record.isEnrolled, !isMember {
                proposeForTable(.forgetMember(record.id))
            } else if isMember {
                let life = record.incarnation == nil ? lives[record.id] : nil
                guard !record.isEnrolled || life != nil else { continue }
                proposeForTable(.noteMember(record.id, isEnrolled: true, incarnation: life))
            }
        }
    }

    /// The settings' list, of which every founder has the same.
    func proposeFounders() {
        let configuration = raft.status.configuration
        let founders = members.filter { configuration.contains($0.id) }.compactMap(MemberRecord.init)
        guard !founders.isEmpty else { return }
        proposeForTable(.foundMembers(founders))
    }

    private func proposeForTable(_ command: Command) {
        if let number = propose(command) { tableProposals.append(number) }
    }

    // MARK: - Exclusion

    func excluded(by peer: NodeID, _ exclusion: Exclusion) {
        guard !isStopped else { return }
        exclude(exclusion)
    }

    private func exclude(_ exclusion: Exclusion) {
        guard self.exclusion != exclusion else { return }
        self.exclusion = exclusion
        logger.error("this node is no member", metadata: ["reason": "\(Readiness.excluded(exclusion).reason ?? "")"])
        if exclusion == .removed {
            step(.excluded)
            turnAway()
        }
        noteReadiness()
    }

    /// Nobody will answer this node any more, whoever has asked it can ask another one, and is not to be sent to whom it took for the
    /// leader: that one may be out too.
    private func turnAway() {
        let now = NodeClock.now()
        leader = nil
        position.publish(hasLeader: false, at: now)
        endWatchesAndWaits(Self.removed)
        expireRequests(now, isHopeless: true)
        scheduleTurn()
    }

    static let removed = "this node was removed from the cluster"
}

extension ClusterMember {
    init(_ record: MemberRecord) {
        self.init(
            id: record.id, name: record.name, peerHost: record.peer.host, peerPort: record.peer.port,
            apiAddress: record.api.description, zone: record.zone)
    }
}

extension MemberRecord {
    /// Nil when the member cannot be reached where it is said to be, as in a cluster of one for tests.
    fileprivate init?(_ member: ClusterMember) {
        guard let api = HostPort(member.apiAddress), member.peerPort > 0 else { return nil }
        self.init(
            id: member.id, name: member.name, peer: HostPort(host: member.peerHost, port: member.peerPort), api: api,
            zone: member.zone)
    }
}
