import EsperTypes
import RaftCore

/// A few nodes on one virtual clock, with a network and disks that do as they are told.
///
/// After every turn each node's invariants hold, and those of the cluster: one leader a term, committed entries never
/// change, everyone applies the same.
final class Cluster {
    final class Member {
        let id: NodeID
        var node: RaftNode
        var disk: TestDisk
        var isUp = true
        var isPaused = false
        var heldSends: [(message: Message, to: NodeID, after: WriteSequence)] = []
        var applied: [Entry] = []
        var appliedIndex = LogIndex.zero
        var readable: [UInt64: LogIndex] = [:]
        var refused: [UInt64: RefusalReason] = [:]
        var appended: [UInt64: EntryID] = [:]
        var roles: [RoleChange] = []
        var transferFailures: [TransferFailure] = []
        var configurations: [Configuration] = []
        var outcomes: [UInt64: [ConfigurationOutcome]] = [:]
        var receivedSnapshot: [UInt8] = []
        var restoredSnapshots: [EntryID] = []
        var batches: [WriteBatch] = []

        init(id: NodeID, node: RaftNode, disk: TestDisk) {
            self.id = id
            self.node = node
            self.disk = disk
        }

        var status: RaftStatus { node.status }
    }

    private struct Delivery {
        var at: Instant
        var from: NodeID
        var to: NodeID
        var message: Message
    }

    let options: RaftOptions
    private(set) var now = Instant(nanoseconds: 1_000_000_000)
    private(set) var members: [Member] = []
    private var deliveries: [Delivery] = []
    private var cut: Set<[NodeID]> = []
    private var lives: UInt64 = 0
    private var leaders: [Term: NodeID] = [:]
    private var committed: [EntryID] = [.zero]
    private var snapshots: [EntryID: [Entry]] = [:]
    private var nextToken: UInt64 = 1
    private(set) var delivered = 0

    var networkDelay: Duration = .microseconds(500)
    var diskDelay: Duration = .microseconds(200)
    /// Whether a closed or cut link is noticed (a close), or just silent.
    var announcesLinks = false
    /// Drops a message when it says so.
    var drops: (Message, NodeID, NodeID) -> Bool = { _, _, _ in false }
    /// Added to the network's delay: reorders.
    var jitter: () -> Duration = { .zero }
    /// How often a message arrives.
    var copies: () -> Int = { 1 }
    /// Messages that passed, for tests that replay old ones.
    var tap: (Message, NodeID, NodeID) -> Void = { _, _, _ in }
    var seed: UInt64

    init(
        _ size: Int, configuration: Configuration? = nil, options: RaftOptions = RaftOptions(), seed: UInt64 = 7,
        restored: [RestoredState] = []
    ) {
        self.options = options
        self.seed = seed
        let ids = (1...size).map { NodeID(UInt64($0)) }
        let configuration = configuration ?? Configuration(voters: ids)
        for (position, id) in ids.enumerated() {
            // Who is no founder knows nobody until a leader tells.
            var disk = TestDisk(configuration: configuration.contains(id) ? configuration : .none)
            if position < restored.count { disk.restore(restored[position]) }
            members.append(Member(id: id, node: makeNode(id, disk), disk: disk))
        }
    }

    private func makeNode(_ id: NodeID, _ disk: TestDisk) -> RaftNode {
        lives += 1
        return RaftNode(
            options: options, id: id, restored: disk.restored, seed: seed &* 1000 &+ lives, at: now)
    }

    subscript(id: NodeID) -> Member { members[Int(id.rawValue) - 1] }

    var ids: [NodeID] { members.map(\.id) }

    // MARK: Time

    /// The next moment something happens.
    private var nextMoment: Instant {
        var moment = deliveries.first?.at ?? .distantFuture
        for member in members where member.isUp && !member.isPaused {
            moment = min(moment, member.node.nextDeadline, member.disk.nextCompletion)
        }
        return moment
    }

    func run(for duration: Duration) {
        let end = now + duration
        _ = run(until: { false }, before: end)
        now = end
    }

    /// - Returns: whether it came true in time.
    @discardableResult
    func run(within duration: Duration = .seconds(3), until isReached: () -> Bool) -> Bool {
        run(until: isReached, before: now + duration)
    }

    private func run(until isReached: () -> Bool, before end: Instant) -> Bool {
        var turns = 0
        while !isReached() {
            let moment = nextMoment
            guard moment <= end else { return false }
            now = max(now, moment)
            turnOfEvents()
            turns += 1
            precondition(turns < 1_000_000, "the cluster does not come to rest")
        }
        return true
    }

    private func turnOfEvents() {
        for member in members where member.isUp && !member.isPaused {
            var events: [Event] = []
            if let sequence = member.disk.complete(at: now) { events.append(.persisted(through: sequence)) }
            var rest: [Delivery] = []
            for delivery in deliveries {
                if delivery.to == member.id, delivery.at <= now {
                    delivered += 1
                    events.append(.received(delivery.message, from: delivery.from))
                } else {
                    rest.append(delivery)
                }
            }
            deliveries = rest
            if member.node.nextDeadline <= now { events.append(.deadlineReached) }
            if !events.isEmpty {
                turn(member, events)
                releaseHeldSends(of: member)
            }
        }
        deliveries.removeAll { !self[$0.to].isUp && $0.at <= now }
    }

    private func releaseHeldSends(of member: Member) {
        let released = member.heldSends.filter { $0.after <= member.disk.durable }
        member.heldSends.removeAll { $0.after <= member.disk.durable }
        for send in released { transmit(send.message, from: member.id, to: send.to) }
    }

    // MARK: Turns

    func turn(_ member: Member, _ events: [Event]) {
        var effects: [Effect] = []
        for event in events {
            member.node.step(event, at: now, into: &effects)
            member.node.checkInvariants()
        }
        var followUps: [Event] = []
        member.node.flush(at: now, into: &effects)
        member.node.checkInvariants()
        for effect in effects { perform(effect, of: member, &followUps) }
        check(member)
        if !followUps.isEmpty { turn(member, followUps) }
    }

    private func perform(_ effect: Effect, of member: Member, _ followUps: inout [Event]) {
        switch effect {
        case .persist(let batch):
            member.batches.append(batch)
            member.disk.write(batch, doneAt: now + diskDelay)
        case .send(let message, let to, let after):
            if let after {
                member.heldSends.append((message, to, after))
            } else {
                transmit(message, from: member.id, to: to)
            }
        case .apply(let entries): apply(entries, of: member, &followUps)
        case .proposalsAppended(let tokens, let first):
            for (offset, token) in tokens.enumerated() {
                member.appended[token] = EntryID(term: first.term, index: first.index.advanced(by: offset))
            }
        case .proposalsRefused(let tokens, let reason), .readRefused(let tokens, let reason):
            for token in tokens { member.refused[token] = reason }
        case .readReady(let tokens, let index):
            precondition(index <= member.appliedIndex, "a read is ready at \(index), applied is \(member.appliedIndex)")
            for token in tokens { member.readable[token] = index }
        case .roleChanged(let change):
            member.roles.append(change)
        case .transferFailed(_, let failure): member.transferFailures.append(failure)
        case .readSnapshotChunk(let to, let descriptor, let offset, let maximumBytes):
            let file = Self.file(of: descriptor)
            let end = min(Int(offset) + maximumBytes, file.count)
            followUps.append(
                .snapshotChunkRead(
                    to: to, descriptor, offset: offset, bytes: Array(file[Int(offset)..<end]),
                    isLast: end == file.count))
        case .writeSnapshotChunk(let descriptor, let offset, let bytes, let isLast):
            if offset == 0 { member.receivedSnapshot = [] }
            precondition(Int(offset) == member.receivedSnapshot.count, "a hole in the received snapshot")
            member.receivedSnapshot += bytes
            followUps.append(.snapshotChunkWritten(descriptor, through: offset + UInt64(bytes.count)))
            if isLast {
                precondition(member.receivedSnapshot == Self.file(of: descriptor), "the snapshot was damaged")
                followUps.append(.snapshotInstalled(descriptor))
            }
        case .restoreStateMachine(let descriptor):
            member.applied = snapshots[descriptor.id]!
            member.appliedIndex = descriptor.index
            member.restoredSnapshots.append(descriptor.id)
            followUps.append(.applied(through: descriptor.index))
        case .discard: break
        case .configurationChange(let token, let outcome): member.outcomes[token, default: []].append(outcome)
        case .configurationChanged(let configuration, _): member.configurations.append(configuration)
        }
    }

    private func apply(_ entries: [Entry], of member: Member, _ followUps: inout [Event]) {
        for entry in entries {
            precondition(entry.index == member.appliedIndex.next, "\(member.id) applies \(entry.id) out of order")
            precondition(
                member.disk.pending.allSatisfy { !$0.batch.entries.contains(entry) },
                "\(member.id) applies \(entry.id) before it is durable")
            let position = Int(entry.index.rawValue)
            if position < committed.count {
                precondition(committed[position] == entry.id, "\(entry.id) replaces committed \(committed[position])")
            } else {
                committed.append(entry.id)
            }
            member.applied.append(entry)
            member.appliedIndex = entry.index
        }
        followUps.append(.applied(through: member.appliedIndex))
    }

    private func transmit(_ message: Message, from: NodeID, to: NodeID) {
        guard !cut.contains([from, to]), self[to].isUp, !drops(message, from, to) else { return }
        tap(message, from, to)
        for _ in 0..<copies() {
            let delivery = Delivery(at: now + networkDelay + jitter(), from: from, to: to, message: message)
            let place = deliveries.lastIndex { $0.at <= delivery.at }.map { $0 + 1 } ?? 0
            deliveries.insert(delivery, at: place)
        }
    }

    /// Election safety (§5.2) and the order of the committed log.
    private func check(_ member: Member) {
        let status = member.node.status
        guard status.role == .leader else { return }
        if let other = leaders[status.term] {
            precondition(other == member.id, "\(other) and \(member.id) both lead term \(status.term)")
        }
        leaders[status.term] = member.id
        // Leader completeness (§5.4): whatever was ever applied stands in its log. A deposed leader that does not know
        // yet may lack what was committed since.
        guard leaders.keys.max() == status.term else { return }
        for id in committed.dropFirst() where id.index >= status.first {
            guard let entry = member.node.entry(at: id.index) else {
                preconditionFailure("leader \(member.id) of \(status.term) lacks committed \(id)")
            }
            precondition(entry.id == id, "leader \(member.id) has \(entry.id), committed is \(id)")
        }
    }

    // MARK: Faults

    func cut(_ one: NodeID, _ other: NodeID) {
        cutOneWay(from: one, to: other)
        cutOneWay(from: other, to: one)
        if announcesLinks {
            turn(self[one], [.linkDown(other)])
            turn(self[other], [.linkDown(one)])
        }
    }

    func cutOneWay(from: NodeID, to: NodeID) { cut.insert([from, to]) }

    func isolate(_ id: NodeID) {
        for other in ids where other != id { cut(id, other) }
    }

    func heal() {
        let links = cut
        cut = []
        guard announcesLinks else { return }
        for link in links.sorted(by: { $0[0] == $1[0] ? $0[1] < $1[1] : $0[0] < $1[0] }) where self[link[0]].isUp {
            turn(self[link[0]], [.linkUp(link[1])])
        }
    }

    /// Kills a process: what is not on its disk is gone; its links close when links are announced.
    func crash(_ id: NodeID) {
        let member = self[id]
        member.isUp = false
        member.disk.crash()
        member.heldSends = []
        deliveries.removeAll { $0.to == id }
        guard announcesLinks else { return }
        // A close comes after everything that was sent before it.
        deliveries.removeAll { $0.from == id }
        for other in members where other.id != id && other.isUp { turn(other, [.linkDown(id)]) }
    }

    func restart(_ id: NodeID) {
        let member = self[id]
        member.isUp = true
        member.isPaused = false
        member.node = makeNode(id, member.disk)
        let snapshot = member.disk.snapshot
        member.applied = snapshot.map { snapshots[$0.id]! } ?? []
        member.appliedIndex = snapshot?.index ?? .zero
        guard announcesLinks else { return }
        for other in members where other.id != id && other.isUp {
            turn(other, [.linkUp(id)])
            turn(member, [.linkUp(other.id)])
        }
    }

    // MARK: Asking

    var leader: NodeID? {
        members.filter { $0.isUp && !$0.isPaused && $0.node.status.role == .leader }
            .max { $0.node.status.term < $1.node.status.term }?.id
    }

    /// Runs until somebody leads whom a majority follows and who can serve.
    func elect() -> NodeID {
        run(within: .seconds(10)) {
            guard let leader else { return false }
            let status = self[leader].status
            return status.commit == status.last.index && status.last.term == status.term
        }
        guard let leader else { preconditionFailure("nobody was elected") }
        return leader
    }

    func followers(of leader: NodeID) -> [NodeID] { ids.filter { $0 != leader } }

    @discardableResult
    func propose(_ count: Int = 1, on id: NodeID, bytes: Int = 8, from origin: NodeID? = nil) -> [UInt64] {
        let tokens = (0..<count).map { nextToken + UInt64($0) }
        nextToken += UInt64(count)
        let proposals = tokens.map { token in
            Proposal(
                token: token, payload: (0..<bytes).map { $0 < 8 ? UInt8(truncatingIfNeeded: token >> ($0 * 8)) : 0 },
                origin: origin)
        }
        turn(self[id], [.propose(proposals)])
        return tokens
    }

    @discardableResult
    func read(on id: NodeID) -> UInt64 {
        let token = nextToken
        nextToken += 1
        turn(self[id], [.read([token])])
        return token
    }

    func deliver(_ message: Message, from: NodeID, to: NodeID) {
        turn(self[to], [.received(message, from: from)])
    }

    /// Whether all running members have applied the same log to the same end.
    var hasConverged: Bool {
        guard let leader else { return false }
        let status = self[leader].status
        let running = members.filter { $0.isUp && status.configuration.contains($0.id) }
        let last = status.last
        return running.allSatisfy { $0.appliedIndex == last.index && $0.status.last == last }
    }

    // MARK: Snapshots

    static func file(of descriptor: SnapshotDescriptor) -> [UInt8] {
        (0..<Int(descriptor.sizeBytes)).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ Int(descriptor.index.rawValue)) }
    }

    @discardableResult
    func takeSnapshot(on id: NodeID, bytes: Int = 100, retaining: Int = 0) -> SnapshotDescriptor {
        let member = self[id]
        let basis = member.node.snapshotBasis(at: member.appliedIndex)!
        let descriptor = SnapshotDescriptor(
            id: basis.id, configuration: basis.configuration, configurationIndex: basis.configurationIndex,
            sizeBytes: UInt64(bytes), checksum: 0)
        snapshots[descriptor.id] = member.applied
        let retainFrom = LogIndex(descriptor.index.next.rawValue - UInt64(retaining))
        turn(member, [.snapshotTaken(descriptor, retainFrom: retainFrom)])
        return descriptor
    }

    /// Asks a node for a change of the configuration.
    ///
    /// - Returns: the token of its outcomes.
    @discardableResult
    func change(_ changes: [ConfigurationChange], autoLeave: Bool = true, on id: NodeID) -> UInt64 {
        change(.change(changes, autoLeave: autoLeave), on: id)
    }

    @discardableResult
    func change(_ request: ConfigurationRequest, on id: NodeID) -> UInt64 {
        let token = nextToken
        nextToken += 1
        turn(self[id], [.changeConfiguration(token: token, request)])
        return token
    }

    /// Puts a configuration in force, against all rules.
    func force(_ configuration: Configuration, on id: NodeID) {
        var effects: [Effect] = []
        self[id].node.appendConfiguration(configuration, at: now, into: &effects)
        turn(self[id], [])
    }
}
