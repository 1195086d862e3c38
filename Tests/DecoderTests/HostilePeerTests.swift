import Coordination
import EsperTypes
import Foundation
import PeerTransport
import RaftCore
import TestSupport
import Testing

/// What a peer with a right certificate may say once its own memory, disk or program has gone wrong: whatever can be
/// decoded may also be acted upon.
///
/// `ESPER_FUZZ_SEEDS=20000` makes a long run of it (docs/TESTING.md).
@Suite(.timeLimit(.minutes(60))) struct HostilePeerTests {
    private static let seeds = ProcessInfo.processInfo.environment["ESPER_FUZZ_SEEDS"].flatMap { UInt64($0) } ?? 100

    @Test func `a node takes in whatever the frames of its peers say`() {
        var delivered = 0
        var leaders = 0
        for seed in 0..<Self.seeds {
            var cluster = HostileCluster(seed: seed)
            for _ in 0..<1000 { cluster.step() }
            delivered += cluster.forgeries
            leaders += cluster.elections
        }
        // Neither is everything refused, nor is a cluster of liars without any life.
        #expect(
            delivered > 20 * Int(Self.seeds) && leaders > Int(Self.seeds), "\(delivered) forgeries, \(leaders) leaders")
    }

    @Test func `a state machine applies whatever an entry says`() {
        let entries = Subject.envelopes
        var malformed = 0
        for seed in 0..<Self.seeds * 5 {
            var machine = Subject.sampleState
            for number in 0..<40 as Range<UInt64> {
                var output = ApplyOutput()
                let payload = entries.bytes(seed: seed * 40 + number)
                machine.apply(index: machine.applied.index.next, term: Term(2), payload: payload, into: &output)
                malformed += output.malformedEntries.count
            }
            Self.exercise(machine)
        }
        #expect(malformed > 0 && malformed < Int(Self.seeds) * 5 * 40, "\(malformed) are malformed")
    }

    @Test func `a state machine goes on from whatever a snapshot says`() {
        var accepted = 0
        for seed in 0..<Self.seeds * 20 {
            guard let machine = Subject.state(of: Subject.snapshots.bytes(seed: seed)) else { continue }
            accepted += 1
            Self.exercise(machine)
        }
        #expect(accepted > 0)
    }

    /// Every sort of command, then a snapshot.
    private static func exercise(_ state: StateMachine) {
        var machine = state
        for payload in Subject.envelopes.samples {
            var output = ApplyOutput()
            machine.apply(index: machine.applied.index.next, term: Term(3), payload: payload, into: &output)
        }
        for _ in SnapshotEncoder(machine) {}
    }
}

/// Three nodes whose messages are altered on their way, as bytes, and sealed again.
private struct HostileCluster {
    private struct Member {
        var node: RaftNode
        var machine = StateMachine()
        var written = WriteSequence.zero
        var durable = WriteSequence.zero
        var waiting: [(message: Message, to: NodeID, after: WriteSequence)] = []
        var snapshots: [SnapshotDescriptor: [UInt8]] = [:]
        var received: [UInt8] = []
    }

    /// Altered messages that were delivered.
    private(set) var forgeries = 0
    private(set) var elections = 0
    private var dice: SeededGenerator
    private var now = Instant(nanoseconds: 1_000_000_000)
    private var members: [Member]
    private var onTheWay: [(body: [UInt8], from: NodeID, to: NodeID)] = []
    private var token: UInt64 = 0

    init(seed: UInt64) {
        dice = SeededGenerator(seed: seed)
        var options = RaftOptions()
        options.maximumAppendBytes = 500
        options.snapshotChunkBytes = 400
        options.readLease = Bool.random(using: &dice) ? .milliseconds(40) : .zero
        options.holderLease = Bool.random(using: &dice) ? .milliseconds(100) : .zero
        let configuration = Configuration(voters: [NodeID(1), NodeID(2), NodeID(3)])
        members = (1...3).map { [now] number in
            Member(
                node: RaftNode(
                    options: options, id: NodeID(number), restored: RestoredState(configuration: configuration),
                    seed: seed << 2 | number, at: now))
        }
    }

    mutating func step() {
        let position = Int.random(in: 0..<members.count, using: &dice)
        switch Int.random(in: 0..<40, using: &dice) {
        case 0...3:
            now = max(now, members.map(\.node.nextDeadline).min() ?? now) + .nanoseconds(1)
            for each in members.indices { turn(each, [.deadlineReached]) }
        case 4:
            let samples = Subject.envelopes.samples
            token += 1
            turn(position, [.propose([Proposal(token: token, payload: samples.randomElement(using: &dice) ?? [])])])
        case 5:
            token += 1
            turn(position, [.read([token])])
        case 6: turn(position, [.transferLeadership(to: nil)])
        case 7: takeSnapshot(position)
        case 8:
            token += 1
            let change: ConfigurationChange =
                Bool.random(using: &dice) ? .addLearner(NodeID(4)) : .remove(NodeID(4))
            turn(position, [.changeConfiguration(token: token, .change([change], autoLeave: true))])
        case 9: turn(position, [Bool.random(using: &dice) ? .linkDown(NodeID(2)) : .linkUp(NodeID(2))])
        case 10...13:
            members[position].durable = members[position].written
            turn(position, [.persisted(through: members[position].written)])
        default: deliver()
        }
    }

    private mutating func deliver() {
        guard !onTheWay.isEmpty else { return }
        var (body, from, to) = onTheWay.remove(at: Int.random(in: 0..<min(8, onTheWay.count), using: &dice))
        let isForged = Int.random(in: 0..<6, using: &dice) == 0
        if isForged { alter(&body) }
        guard case .peer(.raft(let message))? = Wire.frame(of: body) else { return }
        if isForged { forgeries += 1 }
        turn(Int(to.rawValue) - 1, [.received(message, from: from)])
    }

    private mutating func alter(_ body: inout [UInt8]) {
        guard body.count > 9, Bool.random(using: &dice) else {
            ByteMutator(others: Wire.bodies, maximumStretch: 16).mutate(&body, using: &dice)
            return
        }
        // A number somewhere, at or near the edge of what it can be.
        let bit = UInt64.random(in: 0...64, using: &dice)
        let value = (bit == 64 ? 0 : 1 << bit) &- UInt64.random(in: 0...2, using: &dice)
        let offset = Int.random(in: 1...body.count - 8, using: &dice)
        for byte in 0..<8 { body[offset + byte] = UInt8(truncatingIfNeeded: value >> UInt64(8 * byte)) }
    }

    // MARK: One node

    private mutating func turn(_ position: Int, _ events: [Event]) {
        var events = events
        while !events.isEmpty {
            var effects: [Effect] = []
            for event in events { members[position].node.step(event, at: now, into: &effects) }
            members[position].node.flush(at: now, into: &effects)
            events = []
            for effect in effects { perform(effect, of: position, &events) }
            release(position)
        }
    }

    private mutating func perform(_ effect: Effect, of position: Int, _ events: inout [Event]) {
        switch effect {
        case .persist(let batch): members[position].written = batch.sequence
        case .send(let message, let to, let after):
            members[position].waiting.append((message, to, after ?? .zero))
        case .apply(let entries):
            for entry in entries { apply(entry, to: position) }
            if let last = entries.last { events.append(.applied(through: last.index)) }
        case .roleChanged(let change): if change.role == .leader { elections += 1 }
        case .readSnapshotChunk(let to, let descriptor, let offset, let maximumBytes):
            guard let content = members[position].snapshots[descriptor], offset <= content.count else {
                events.append(.snapshotReadFailed(to: to, descriptor))
                return
            }
            let piece = Array(content[Int(offset)...].prefix(maximumBytes))
            events.append(
                .snapshotChunkRead(
                    to: to, descriptor, offset: offset, bytes: piece, isLast: Int(offset) + piece.count == content.count
                ))
        case .writeSnapshotChunk(let descriptor, let offset, let bytes, let isLast):
            if offset == 0 { members[position].received = [] }
            members[position].received += bytes
            events.append(receive(descriptor, isLast, on: position, through: offset + UInt64(bytes.count)))
        case .restoreStateMachine(let descriptor):
            restore(descriptor, on: position)
            events.append(.applied(through: descriptor.index))
        case .proposalsAppended, .proposalsRefused, .readReady, .readRefused, .transferFailed, .discard,
            .configurationChange, .configurationChanged:
            break
        }
    }

    private mutating func release(_ position: Int) {
        let (from, durable) = (members[position].node.id, members[position].durable)
        let waiting = members[position].waiting
        members[position].waiting = waiting.filter { $0.after > durable }
        for (message, to, after) in waiting where after <= durable && to.rawValue <= members.count {
            onTheWay.append((Wire.body(of: message), from, to))
        }
    }

    private mutating func apply(_ entry: Entry, to position: Int) {
        // After a snapshot that says one thing and holds another there is nothing to follow.
        guard entry.index == members[position].machine.applied.index.next else { return }
        var output = ApplyOutput()
        switch entry.kind {
        case .command, .guardedCommand:
            members[position].machine.apply(
                index: entry.index, term: entry.term, payload: entry.payload, into: &output)
        case .noop, .configuration: members[position].machine.skip(index: entry.index, term: entry.term)
        }
    }

    private mutating func takeSnapshot(_ position: Int) {
        let applied = members[position].machine.applied.index
        guard applied <= members[position].node.status.applied,
            let basis = members[position].node.snapshotBasis(at: applied)
        else { return }
        let content = SnapshotEncoder(members[position].machine).flatMap { $0 }
        let descriptor = SnapshotDescriptor(
            id: basis.id, configuration: basis.configuration, configurationIndex: basis.configurationIndex,
            sizeBytes: UInt64(content.count), checksum: CRC32C.checksum(content))
        members[position].snapshots[descriptor] = content
        turn(position, [.snapshotTaken(descriptor, retainFrom: applied)])
    }

    private mutating func receive(
        _ descriptor: SnapshotDescriptor, _ isLast: Bool, on position: Int, through: UInt64
    ) -> Event {
        guard isLast else { return .snapshotChunkWritten(descriptor, through: through) }
        let content = members[position].received
        guard CRC32C.checksum(content) == descriptor.checksum else { return .snapshotWriteFailed(descriptor) }
        members[position].snapshots[descriptor] = content
        return .snapshotInstalled(descriptor)
    }

    private mutating func restore(_ descriptor: SnapshotDescriptor, on position: Int) {
        var decoder = SnapshotDecoder()
        guard let content = members[position].snapshots[descriptor], (try? decoder.feed(content)) != nil,
            let machine = try? decoder.finish()
        else { return }
        members[position].machine = machine
    }
}
