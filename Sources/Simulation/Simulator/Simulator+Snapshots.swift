import CacheCore
import EsperTypes
import RaftCore
import RaftStorage

/// Snapshots: of the own state, sent to others, received and restored.
extension Simulator {
    func snapshotIfDue(_ node: Node) {
        let isDue = plan.snapshotAfter.map { node.appliedSinceSnapshot >= $0 } ?? false
        guard isDue || node.repair.isDue(at: node.clock.local(clock.now)), !node.isSnapshotRunning,
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
        var retainFrom = basis.id.index.rawValue > retain ? basis.id.index.rawValue - retain : 1
        // After damage nothing before the new snapshot is kept, so that the damaged files go.
        if node.repair.snapshotBegins(), mutant != .repairsKeepLog { retainFrom = basis.id.index.rawValue + 1 }
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
            let isStored = try atFiles(of: node) { () throws(StorageError) in try node.disk.store(descriptor, bytes) }
            // One that fails is made up for by the next.
            guard isStored ?? false else { return node.repair.snapshotFailed(at: node.clock.local(clock.now)) }
            node.repair.snapshotWritten()
            noteRepair(of: node)
            guard mutant != .compactsBeforeSnapshot else { return }
            receive(node, .event(.snapshotTaken(descriptor, retainFrom: LogIndex(retainFrom))))
        case .received(let descriptor, let offset, let bytes, let isLast):
            if !isHealed, random.chance(1, in: 100) {
                receive(node, .event(.snapshotWriteFailed(descriptor)))
                return
            }
            let receipt = try atFiles(of: node) { () throws(StorageError) in
                try node.disk.receive(descriptor, offset: offset, bytes: bytes, isLast: isLast)
            }
            guard let receipt else { return }
            switch receipt {
            case .written(let through): receive(node, .event(.snapshotChunkWritten(descriptor, through: through)))
            case .installed:
                receive(node, .event(.snapshotInstalled(descriptor)))
                passedDelicatePoint(node)
            case .failed: receive(node, .event(.snapshotWriteFailed(descriptor)))
            }
        case .unreadable(let descriptor, let peer, let error):
            receive(node, .event(.snapshotReadFailed(to: peer, descriptor)))
            if error.isDamage { counters.damagesRead += 1 }
            node.repair.readFailed(
                error, isNewest: descriptor == node.raft.newestSnapshot(), at: node.clock.local(clock.now))
            snapshotIfDue(node)
        }
    }

    func readChunk(
        _ node: Node, _ to: NodeID, _ descriptor: SnapshotDescriptor, _ offset: UInt64, _ maximumBytes: Int
    ) throws(SimulationFailure) {
        let bytes: [UInt8]
        do throws(StorageError) {
            if let read = mutant?.readsSnapshot(descriptor, of: node) {
                bytes = read
            } else {
                bytes = try node.disk.snapshot(descriptor)
            }
        } catch {
            if error.code == .corrupted { try finds(error, at: node) }
            return work(node, .unreadable(descriptor, to: to, error))
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
        guard let restored = try load(descriptor, at: node) else { return }
        node.replica.restore(restored, forgetsWatchers: mutant == .watchesForgetRestore)
        node.names?.applied(through: descriptor.index, node.replica.state, isRestored: true)
        say("n\(node.index + 1) restored its state at \(descriptor.id)")
        node.appliedSinceSnapshot = 0
        step(node, .applied(through: descriptor.index), now)
    }

    /// Reads a snapshot back.
    ///
    /// - Returns: nil when it cannot be read any more; the node stops then, and its next start finds out what is left.
    func load(_ descriptor: SnapshotDescriptor, at node: Node) throws(SimulationFailure) -> Replica? {
        let bytes: [UInt8]
        do throws(StorageError) { bytes = try node.disk.snapshot(descriptor) } catch {
            guard error.code != .snapshotMissing else {
                throw SimulationFailure(
                    .driverContract, "n\(node.index + 1) has no snapshot \(descriptor.id) to restore")
            }
            if error.isDamage { try finds(error, at: node) }
            say("n\(node.index + 1) stops: \(error)")
            clock.schedule(.stop(node: node.index, life: node.life), after: 0)
            return nil
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
