import CacheCore
import EsperTypes
import RaftCore

/// Snapshots: of the own state, sent to others, received and restored.
extension Simulator {
    func snapshotIfDue(_ node: Node) {
        guard let after = plan.snapshotAfter, node.appliedSinceSnapshot >= after, !node.isSnapshotRunning,
            let basis = node.raft.basis(at: node.replica.applied)
        else { return }
        node.isSnapshotRunning = true
        node.appliedSinceSnapshot = 0
        let (bytes, stateHash) = node.replica.snapshot()
        let isStale = mutant == .snapshotsFirstConfiguration
        var descriptor = SnapshotDescriptor(
            id: basis.id, configuration: isStale ? founders : basis.configuration,
            configurationIndex: isStale ? .zero : basis.configurationIndex, sizeBytes: 0, checksum: 0)
        descriptor.describe(bytes, stateHash: stateHash)
        let retain = UInt64(plan.retainedEntries)
        let retainFrom = basis.id.index.rawValue > retain ? basis.id.index.rawValue - retain : 1
        counters.snapshots += 1
        work(node, .snapshot(descriptor, bytes: bytes, retainFrom: retainFrom))
        if mutant == .compactsBeforeSnapshot {
            receive(node, .event(.snapshotTaken(descriptor, retainFrom: LogIndex(retainFrom))))
        }
    }

    /// The worker does one thing after the other and takes its time.
    func work(_ node: Node, _ result: WorkerResult) {
        let start = max(clock.now, node.workerFreeAt)
        node.workerFreeAt = start + UInt64(random.int(in: 20_000...2_000_000))
        clock.schedule(.worked(node: node.index, life: node.life, result), at: node.workerFreeAt)
    }

    func worked(_ node: Node, life: UInt32, _ result: WorkerResult) throws(SimulationFailure) {
        guard node.life == life, node.isUp else { return }
        switch result {
        case .event(let event): receive(node, .event(event))
        case .snapshot(var descriptor, var bytes, let retainFrom):
            node.isSnapshotRunning = false
            if mutant == .snapshotsAheadOfIndex {
                let newer = node.replica.snapshot()
                bytes = newer.bytes
                descriptor.describe(bytes, stateHash: newer.stateHash)
            }
            // One that fails is made up for by the next.
            let isStored = node.disk.store(descriptor, bytes)
            guard try !crashIfDead(node), isStored, mutant != .compactsBeforeSnapshot else { return }
            receive(node, .event(.snapshotTaken(descriptor, retainFrom: LogIndex(retainFrom))))
        case .received(let descriptor, let offset, let bytes, let isLast):
            if !isHealed, random.chance(1, in: 100) {
                receive(node, .event(.snapshotWriteFailed(descriptor)))
                return
            }
            let receipt = node.disk.receive(descriptor, offset: offset, bytes: bytes, isLast: isLast)
            if try crashIfDead(node) { return }
            switch receipt {
            case .written(let through): receive(node, .event(.snapshotChunkWritten(descriptor, through: through)))
            case .installed:
                receive(node, .event(.snapshotInstalled(descriptor)))
                passedDelicatePoint(node)
            case .failed: receive(node, .event(.snapshotWriteFailed(descriptor)))
            }
        }
    }

    func readChunk(
        _ node: Node, _ to: NodeID, _ descriptor: SnapshotDescriptor, _ offset: UInt64, _ maximumBytes: Int
    ) {
        guard let bytes = node.disk.snapshot(descriptor), offset <= UInt64(bytes.count) else {
            work(node, .event(.snapshotReadFailed(to: to, descriptor)))
            return
        }
        let end = min(bytes.count, Int(offset) + maximumBytes)
        let chunk = Array(bytes[Int(offset)..<end])
        work(
            node,
            .event(
                .snapshotChunkRead(
                    to: to, descriptor, offset: offset, bytes: chunk, isLast: end == bytes.count)))
    }

    func restoreMachine(
        _ node: Node, _ descriptor: SnapshotDescriptor, _ now: Instant
    ) throws(SimulationFailure) {
        node.replica.restore(try load(descriptor, at: node), forgetsWatchers: mutant == .watchesForgetRestore)
        node.names?.applied(through: descriptor.index, node.replica.state, isRestored: true)
        say("n\(node.index + 1) restored its state at \(descriptor.id)")
        node.appliedSinceSnapshot = 0
        step(node, .applied(through: descriptor.index), now)
    }

    /// Reads a snapshot back.
    func load(_ descriptor: SnapshotDescriptor, at node: Node) throws(SimulationFailure) -> Replica {
        guard let bytes = node.disk.snapshot(descriptor) else {
            throw SimulationFailure(.driverContract, "n\(node.index + 1) has no snapshot \(descriptor.id) to restore")
        }
        let replica = try Replica(snapshot: bytes, at: node.clock.local(clock.now))
        guard replica.applied == descriptor.index, replica.stateHash == descriptor.stateHash else {
            throw SimulationFailure(.stateHash, "n\(node.index + 1) restored \(descriptor.id) to another state")
        }
        try oracles.state(at: descriptor.index, chain: replica.chain, of: node.index)
        try oracles.configurations.check(descriptor, of: node.index)
        return replica
    }
}

extension SnapshotDescriptor {
    mutating func describe(_ bytes: [UInt8], stateHash: UInt64) {
        sizeBytes = UInt64(bytes.count)
        checksum = CRC32C.checksum(bytes)
        self.stateHash = stateHash
    }
}
