public import EsperTypes

/// The leader's side of ``HolderLease``: who may hold a lease, and until when at the most.
///
/// A guarded entry is committed only when every one of them has it on disk, or cannot have a lease any more. That goes for
/// leases of earlier leaders too: a new leader begins with every node that may have one, and which entries are guarded stands in the
/// log. Whatever else a quorum has is committed at once, up to the first guarded entry that has to wait.
///
/// A leader can tell what it promises only while nobody else can have been elected. So leases rest on a *confirmation*: at some
/// moment a quorum still followed it. Whoever is elected later was elected after that moment, and counts the whole length from
/// its election; all leases that rest on the confirmation end within that length of it, by the slowest clock here and the fastest there.
struct Roster: Sendable {
    struct Holder: Hashable, Sendable {
        var node: NodeID
        /// On the leader's clock.
        var until: Instant
    }

    private(set) var holders: [Holder] = []
    /// When a quorum last followed for certain.
    private(set) var confirmedAt: Instant?
    /// Since when that has gone on.
    private(set) var confirmedSince: Instant?
    /// Since when a commit that a quorum has waits for somebody here.
    private(set) var heldSince: Instant?
    /// What a quorum had at two moments: whoever keeps up has the earlier one.
    private var mark: (index: LogIndex, since: Instant)?
    private(set) var keepingUp = LogIndex.zero
    /// Commits that had to wait, for metrics.
    private(set) var held: UInt64 = 0
    /// What holders took to have a change, since somebody last asked.
    private(set) var acknowledgements: [Duration] = []
    /// Of those that nobody takes; a turn brings one of each peer at the most.
    private static let maximumAcknowledgements = 64

    mutating func add(_ node: NodeID, until: Instant) {
        for position in holders.indices where holders[position].node == node {
            holders[position].until = max(holders[position].until, until)
            return
        }
        holders.append(Holder(node: node, until: until))
    }

    mutating func remove(where isGone: (Holder) -> Bool) { holders.removeAll(where: isGone) }

    mutating func confirmed(at moment: Instant, length: Duration) {
        if confirmedAt.map({ moment - $0 > length }) ?? true { confirmedSince = moment }
        confirmedAt = max(confirmedAt ?? .zero, moment)
    }

    mutating func agreed(on index: LogIndex, at now: Instant, patience: Duration) {
        guard let mark else { return mark = (index, now) }
        guard now - mark.since >= patience else { return }
        keepingUp = mark.index
        self.mark = (index, now)
    }

    mutating func isHeld(_ isHeld: Bool, at now: Instant) {
        guard isHeld else { return heldSince = nil }
        guard heldSince == nil else { return }
        heldSince = now
        held += 1
    }

    func mayHold(_ node: NodeID, at now: Instant) -> Bool {
        holders.contains { $0.node == node && $0.until > now }
    }

    mutating func acknowledged(after time: Duration) {
        if acknowledgements.count < Self.maximumAcknowledgements { acknowledgements.append(time) }
    }

    mutating func takeAcknowledgements() -> [Duration] {
        defer { acknowledgements.removeAll(keepingCapacity: true) }
        return acknowledgements
    }

    /// When the first of them cannot have a lease any more.
    var nextEnd: Instant? {
        holders.isEmpty ? nil : holders.reduce(.distantFuture) { min($0, $1.until) }
    }
}

extension RaftNode {
    /// How long leases may last altogether: as long as a quorum has said that its votes make their candidate wait. Whoever leads next has the
    /// vote of somebody in that quorum, whatever its own options are.
    var rosterLength: Duration {
        let length = quorum.reached { [id, peers, own = options.holderLease] node -> Duration in
            if node == id { return own }
            guard let peer = peers.first(where: { $0.id == node }), peer.hasAnswered else { return .zero }
            return peer.holderWait
        }
        return min(options.holderLease, length ?? .zero)
    }

    /// How long this node, once elected, counts leases of earlier leaders; see ``HolderLease``.
    public var holderWait: Duration { max(options.holderLease, election.holderWait) }

    /// What a holder may count on from the confirmation on: a length less what clocks differ by.
    var grantableLength: Duration {
        let length = rosterLength
        return length - length * max(2 * options.clockDriftPermille, Self.leaseMarginPermille) / 1000
            - Self.leaseMargin
    }

    private static let leaseMarginPermille = 50
    private static let leaseMargin: Duration = .milliseconds(10)

    /// Begins with everybody who may have a lease of an earlier leader. Before the first commit of a cluster nobody has.
    ///
    /// They are in a configuration of this log, from the last one on that is known to be committed: a lease went only to a member of a committed
    /// configuration, which every later leader has; and what leaves a member out is guarded, so that once it is committed that member has it, and with it
    /// has dropped its lease, or has none any more.
    mutating func beginRoster(at now: Instant) {
        roster = Roster()
        guard holderWait > .zero, log.last.index > .zero else { return }
        // Who was left out by an entry that is committed has that, or holds no lease any more.
        let inForce = log.configurations.lastIndex { $0.index <= commit } ?? 0
        for record in log.configurations[inForce...] {
            for member in record.configuration.members where member != id && !hasLeftItself(member) {
                roster.add(member, until: now + holderWait)
            }
        }
    }

    /// Whether the node is known to have made the entry that leaves it out, as a leader that is removed does. Then it holds no lease any
    /// more: whoever is left out drops it with that entry.
    private func hasLeftItself(_ node: NodeID) -> Bool {
        let record = log.configuration
        guard let lastFollowed, lastFollowed.leader == node else { return false }
        return !record.configuration.contains(node) && log.term(at: record.index) == lastFollowed.term
    }

    /// How far a commit may go of what a quorum has: to before the first guarded entry that some holder lacks.
    mutating func allowedByHolders(_ agreed: LogIndex, at now: Instant) -> LogIndex {
        if options.holderLease > .zero { roster.agreed(on: agreed, at: now, patience: options.holderLease / 16) }
        guard !roster.holders.isEmpty else { return agreed }
        let record = log.configuration
        roster.remove { [peers] holder in
            if holder.until <= now { return true }
            // Whoever has the entry that leaves it out holds no lease any more.
            guard !record.configuration.contains(holder.node) else { return false }
            return peers.first { $0.id == holder.node }.map { $0.match >= record.index } ?? false
        }
        var everybodys = agreed
        for holder in roster.holders {
            everybodys = min(everybodys, peerIndex(holder.node).map { peers[$0].match } ?? .zero)
        }
        // Whoever is elected by the voters of a new configuration waits as long as those have said.
        let length = rosterLength
        if let record = log.configurations.first(where: { $0.index > commit }),
            roster.holders.contains(where: { $0.until > now + length })
        {
            everybodys = min(everybodys, record.index.previous)
        }
        // What is committed is seen already: each entry is looked at once, and the one that commits wait for again.
        let lacking = log.firstGuarded(from: max(everybodys, commit).next, through: agreed)
        let allowed = lacking?.previous ?? agreed
        roster.isHeld(allowed < agreed, at: now)
        return allowed
    }

    /// The grant that goes with an append to a follower, if it asked for one and is fit to hold it.
    mutating func grant(to position: Int, at now: Instant) -> LeaseGrant? {
        let request = peers[position].leaseRequest
        guard request != 0 else { return nil }
        guard options.holderLease > .zero, commit >= termStart, let confirmed = roster.confirmedAt,
            peers[position].state == .replicate, !peers[position].isDeparting,
            peers[position].match >= roster.keepingUp, isKnownToLaterLeaders(peers[position].id)
        else { return nil }
        let milliseconds = (grantableLength - (now - confirmed)).nanoseconds / 1_000_000
        guard milliseconds > 0 else { return nil }
        peers[position].leaseRequest = 0
        roster.add(peers[position].id, until: confirmed + rosterLength)
        return LeaseGrant(request: request, length: .milliseconds(milliseconds), base: commit)
    }

    /// Whether the node is a member, and no leader to come can lack the entry that made it one.
    private func isKnownToLaterLeaders(_ node: NodeID) -> Bool {
        log.configuration.configuration.contains(node)
            && log.configurations.last { $0.index <= commit }?.configuration.contains(node) == true
    }

    /// Whether a quorum is to be asked whether it still follows, though nobody waits to read.
    func isConfirmationDue(at now: Instant) -> Bool {
        guard options.holderLease > .zero else { return false }
        return roster.confirmedAt.map { now - $0 >= options.holderLease / 4 } ?? true
    }

    /// When the roster has something to do by itself.
    var rosterDeadline: Instant {
        var deadline = Instant.distantFuture
        if roster.heldSince != nil, let end = roster.nextEnd, end > lastInstant { deadline = end }
        if options.holderLease > .zero, commit >= termStart, reads.round == nil {
            deadline = min(deadline, (roster.confirmedAt ?? lastInstant) + options.holderLease / 4)
        }
        return deadline
    }

    /// Who may hold a lease of this leader or an earlier one, and until when.
    package var leaseHolders: [(node: NodeID, until: Instant)] { roster.holders.map { ($0.node, $0.until) } }

    /// Commits that waited for a holder, and since when one does.
    public var commitsHeldByRoster: UInt64 { roster.held }
    public var commitHeldSince: Instant? { roster.heldSince }

    /// How long holders took from the append of a change, which makes what it touches unsure to them, until they had it on disk. One
    /// append to each of them is measured at a time. Each is told once.
    public mutating func takeHolderAcknowledgements() -> [Duration] { roster.takeAcknowledgements() }

    /// Begins to measure an append to a holder.
    mutating func noteInvalidation(of position: Int, through index: LogIndex, at now: Instant) {
        guard peers[position].invalidation == nil, roster.mayHold(peers[position].id, at: now) else { return }
        peers[position].invalidation = (index, now)
    }

    /// A holder may have what it was sent.
    mutating func noteAcknowledgement(by position: Int, at now: Instant) {
        guard let sent = peers[position].invalidation, peers[position].match >= sent.through else { return }
        peers[position].invalidation = nil
        // Without a lease it made nobody wait.
        if roster.mayHold(peers[position].id, at: now) { roster.acknowledged(after: now - sent.at) }
    }

    // MARK: Mistakes that tests make on purpose

    package mutating func forgetHolders(where isGone: (NodeID) -> Bool = { _ in true }) {
        roster.remove { isGone($0.node) }
    }
}
