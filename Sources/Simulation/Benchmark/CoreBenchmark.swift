import EsperTypes
import RaftCore

/// How many proposals the consensus core takes: three nodes in one thread, with a disk and a network that cost nothing.
package struct CoreBenchmark {
    private let ids = [NodeID(1), NodeID(2), NodeID(3)]
    private var nodes: [RaftNode]
    private var now = Instant(nanoseconds: 1)
    private var inbox: [[Event]] = [[], [], []]
    private var effects: [Effect] = []
    private var applied = 0

    /// Elects a leader.
    package init() {
        nodes = [NodeID(1), NodeID(2), NodeID(3)].map { [ids, now] id in
            RaftNode(
                id: id, restored: RestoredState(configuration: Configuration(voters: ids)), seed: id.rawValue, at: now)
        }
        while leader == nil {
            now = nodes.map(\.nextDeadline).reduce(.distantFuture, min)
            for position in nodes.indices where nodes[position].nextDeadline <= now {
                inbox[position].append(.deadlineReached)
            }
            for _ in 0..<20 { turnAll() }
        }
    }

    private var leader: Int? { nodes.firstIndex { $0.currentRole == .leader } }

    /// Proposes `rounds` batches and lets the cluster settle.
    ///
    /// - Returns: how many proposals all nodes together applied: three times as many as were made, if nothing was lost.
    package mutating func run(rounds: Int, batch: Int, payloadBytes: Int) -> Int {
        guard let leader else { preconditionFailure("nobody leads") }
        applied = 0
        let payload = [UInt8](repeating: 7, count: payloadBytes)
        let proposals = (0..<UInt64(batch)).map { Proposal(token: $0, payload: payload) }
        for round in 1...max(rounds, 1) {
            inbox[leader].append(.propose(proposals))
            turnAll()
            if round.isMultiple(of: 1000) { compact() }
        }
        for _ in 0..<4 { turnAll() }
        now = now + RaftOptions().heartbeatInterval
        for _ in 0..<4 { turnAll() }
        return applied
    }

    private mutating func turnAll() {
        for position in nodes.indices { turn(position) }
    }

    /// What an effect asks for is an event of the next turn.
    private mutating func turn(_ position: Int) {
        effects.removeAll(keepingCapacity: true)
        for event in inbox[position] { nodes[position].step(event, at: now, into: &effects) }
        inbox[position].removeAll(keepingCapacity: true)
        nodes[position].flush(at: now, into: &effects)
        for effect in effects {
            switch effect {
            case .persist(let batch): inbox[position].append(.persisted(through: batch.sequence))
            case .send(let message, let to, _):
                inbox[Int(to.rawValue) - 1].append(.received(message, from: ids[position]))
            case .apply(let entries):
                applied += entries.count { $0.isCommand }
                inbox[position].append(.applied(through: entries[entries.count - 1].index))
            default: break
            }
        }
    }

    private mutating func compact() {
        for position in nodes.indices {
            let index = nodes[position].status.applied
            guard let basis = nodes[position].snapshotBasis(at: index) else { continue }
            let descriptor = SnapshotDescriptor(
                id: basis.id, configuration: basis.configuration, configurationIndex: basis.configurationIndex,
                sizeBytes: 1, checksum: 0)
            nodes[position].step(.snapshotTaken(descriptor, retainFrom: index.next), at: now, into: &effects)
        }
    }
}
