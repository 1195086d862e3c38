import EsperTypes
import RaftCore
import Testing

/// Raft §7; dissertation §5.
@Suite struct SnapshotTests {
    let ada = LoneNode.ada
    let bob = LoneNode.bob

    /// A cluster whose leader has cut its log while one follower was away.
    private func clusterWithStraggler(
        bytes: Int = 5000, options: RaftOptions = RaftOptions()
    ) -> (Cluster, leader: NodeID, straggler: NodeID) {
        var options = options
        options.snapshotChunkBytes = 1000
        let cluster = Cluster(3, options: options)
        let leader = cluster.elect()
        #expect(cluster.run { cluster.hasConverged })
        let straggler = cluster.followers(of: leader)[0]
        cluster.crash(straggler)
        cluster.run(for: .milliseconds(50))
        cluster.turn(cluster[leader], [.linkDown(straggler)])
        cluster.propose(20, on: leader)
        #expect(cluster.run { cluster[leader].appliedIndex == cluster[leader].status.last.index })
        cluster.takeSnapshot(on: leader, bytes: bytes)
        return (cluster, leader, straggler)
    }

    @Test func `a durable snapshot cuts the log`() {
        let cluster = Cluster(3)
        let leader = cluster.elect()
        cluster.propose(20, on: leader)
        #expect(cluster.run { cluster.hasConverged })
        let descriptor = cluster.takeSnapshot(on: leader, retaining: 5)
        #expect(cluster[leader].status.first == LogIndex(descriptor.index.rawValue - 4))
        #expect(cluster[leader].batches.last?.compaction?.snapshot == descriptor)
        cluster.propose(3, on: leader)
        #expect(cluster.run { cluster.hasConverged })
    }

    /// What makes up for a damaged log, when nothing was applied since the last one.
    @Test func `a snapshot in the place of the last one lets go of the log that the last one kept`() {
        let cluster = Cluster(3)
        let leader = cluster.elect()
        cluster.propose(20, on: leader)
        #expect(cluster.run { cluster.hasConverged })
        let first = cluster.takeSnapshot(on: leader, retaining: 5)
        let second = cluster.takeSnapshot(on: leader)
        #expect(second == first)
        #expect(cluster[leader].status.first == first.index.next)
        #expect(cluster[leader].batches.last?.compaction == Compaction(snapshot: first, through: first.id))
        // Once more changes nothing, and writes nothing; other bytes for the same state take the place of those that were named.
        let writes = cluster[leader].batches.count
        cluster.takeSnapshot(on: leader)
        #expect(cluster[leader].batches.count == writes)
        let third = cluster.takeSnapshot(on: leader, bytes: 101)
        #expect(cluster[leader].status.snapshot == third)
        #expect(cluster[leader].batches.last?.compaction == Compaction(snapshot: third, through: first.id))
        cluster.propose(3, on: leader)
        #expect(cluster.run { cluster.hasConverged })
    }

    @Test func `a follower whose next entry is gone receives the snapshot in chunks`() {
        let (cluster, leader, straggler) = clusterWithStraggler()
        var chunks: [UInt64] = []
        cluster.tap = { message, _, _ in if case .installSnapshot(let chunk) = message { chunks.append(chunk.offset) } }
        cluster.restart(straggler)
        cluster.turn(cluster[leader], [.linkUp(straggler)])
        #expect(cluster.run { cluster.hasConverged })
        #expect(chunks == [0, 1000, 2000, 3000, 4000])
        #expect(cluster[straggler].restoredSnapshots == [cluster[leader].status.snapshot!.id])
    }

    @Test func `the leader serves while a snapshot is on its way (C39)`() {
        let (cluster, leader, straggler) = clusterWithStraggler(bytes: 200_000)
        cluster.restart(straggler)
        cluster.turn(cluster[leader], [.linkUp(straggler)])
        for _ in 0..<20 {
            let token = cluster.propose(on: leader)[0]
            cluster.run(for: .milliseconds(20))
            #expect(cluster[leader].appliedIndex >= cluster[leader].appended[token]!.index)
        }
        #expect(cluster.leader == leader)
        #expect(cluster.run { cluster.hasConverged })
    }

    @Test func `lost chunks are sent again and a transfer goes on where it was`() {
        let (cluster, leader, straggler) = clusterWithStraggler()
        var count = 0
        cluster.drops = { message, _, _ in
            switch message {
            case .installSnapshot, .installSnapshotResponse:
                count += 1
                return count % 3 == 0
            default: return false
            }
        }
        cluster.restart(straggler)
        cluster.turn(cluster[leader], [.linkUp(straggler)])
        #expect(cluster.run(within: .seconds(20)) { cluster.hasConverged })
    }

    @Test func `a follower that restarts in the middle starts the transfer over`() {
        let (cluster, leader, straggler) = clusterWithStraggler()
        cluster.restart(straggler)
        cluster.turn(cluster[leader], [.linkUp(straggler)])
        #expect(cluster.run { cluster[straggler].receivedSnapshot.count >= 2000 })
        cluster.crash(straggler)
        cluster.restart(straggler)
        #expect(cluster.run(within: .seconds(5)) { cluster.hasConverged })
    }

    @Test func `a follower that kept a part over its restart says where to go on`() throws {
        let descriptor = SnapshotDescriptor(
            id: id(1, 50), configuration: Configuration(voters: [LoneNode.me, ada, bob]), sizeBytes: 3000, checksum: 7)
        func chunk(_ descriptor: SnapshotDescriptor, _ offset: UInt64) -> Message {
            .installSnapshot(
                InstallSnapshot(
                    term: Term(1), session: SessionNonce(4), descriptor: descriptor, offset: offset,
                    bytes: [UInt8](repeating: 1, count: 1000), isLast: offset == 2000))
        }
        var lone = LoneNode(receiving: PartialSnapshot(descriptor: descriptor, writtenBytes: 2000))
        let answers = lone.receive(chunk(descriptor, 1000)).sends.compactMap { send in
            if case .installSnapshotResponse(let response) = send.message { response.outcome } else { nil }
        }
        #expect(answers == [.received(id: descriptor.id, nextOffset: 2000)])
        let written = lone.receive(chunk(descriptor, 2000)).contains { effect in
            if case .writeSnapshotChunk(descriptor, 2000, _, true) = effect { true } else { false }
        }
        #expect(written)
        // Another snapshot has nothing to do with the part.
        var other = descriptor
        other.checksum = 8
        lone = LoneNode(receiving: PartialSnapshot(descriptor: descriptor, writtenBytes: 2000))
        #expect(!lone.receive(chunk(other, 2000)).contains { if case .writeSnapshotChunk = $0 { true } else { false } })
    }

    @Test func `a snapshot superseded while it travels is followed by the newest one`() {
        var options = RaftOptions()
        options.maximumRetainedBytes = 0
        let (cluster, leader, straggler) = clusterWithStraggler(options: options)
        cluster.restart(straggler)
        cluster.turn(cluster[leader], [.linkUp(straggler)])
        #expect(cluster.run { cluster[straggler].receivedSnapshot.count >= 2000 })
        let first = cluster[leader].status.snapshot!.id
        cluster.propose(10, on: leader)
        #expect(cluster.run { cluster[leader].appliedIndex == cluster[leader].status.last.index })
        cluster.takeSnapshot(on: leader, bytes: 1500)
        #expect(cluster.run { cluster.hasConverged })
        #expect(cluster[straggler].restoredSnapshots == [first, cluster[leader].status.snapshot!.id])
    }

    @Test func `a follower that was away gets the newest snapshot, not the one that was the newest when it went`() {
        let (cluster, leader, straggler) = clusterWithStraggler()
        // While its link is down no snapshot is kept up with, but one has been chosen for it.
        cluster.run(for: .seconds(1))
        cluster.propose(20, on: leader)
        #expect(cluster.run { cluster[leader].appliedIndex == cluster[leader].status.last.index })
        cluster.takeSnapshot(on: leader, bytes: 1500)
        cluster.restart(straggler)
        cluster.turn(cluster[leader], [.linkUp(straggler)])
        #expect(cluster.run { cluster.hasConverged })
        #expect(cluster[straggler].restoredSnapshots == [cluster[leader].status.snapshot!.id])
    }

    @Test func `the log keeps what a follower needs after the snapshot on its way (C42)`() {
        let (cluster, leader, straggler) = clusterWithStraggler()
        cluster.restart(straggler)
        cluster.turn(cluster[leader], [.linkUp(straggler)])
        #expect(cluster.run { cluster[straggler].receivedSnapshot.count >= 2000 })
        let sent = cluster[leader].status.snapshotsInUse[0]
        cluster.propose(10, on: leader)
        #expect(cluster.run { cluster[leader].appliedIndex == cluster[leader].status.last.index })
        cluster.takeSnapshot(on: leader)
        #expect(cluster[leader].status.first == sent.index.next)
        #expect(cluster.run { cluster.hasConverged })
        #expect(cluster[straggler].restoredSnapshots == [sent.id])
    }

    @Test func `a leader that has cut its whole log still brings over an unknown follower (C19)`() {
        let (cluster, leader, straggler) = clusterWithStraggler(bytes: 10)
        #expect(cluster[leader].status.first > cluster[leader].status.last.index)
        cluster.restart(straggler)
        // Idle otherwise, and nobody tells the leader of the link.
        #expect(cluster.run { cluster.hasConverged })
    }

    @Test func `one write commits an installation, and the state machine follows it (C41)`() {
        var lone = LoneNode()
        let descriptor = Self.descriptor(id(1, 50), bytes: 3)
        let asked = lone.receive(Self.chunk(descriptor, [1, 2, 3]))
        #expect(asked.contains(.writeSnapshotChunk(descriptor, offset: 0, bytes: [1, 2, 3], isLast: true)))
        _ = lone.turn(.snapshotChunkWritten(descriptor, through: 3))
        let installed = lone.turn(.snapshotInstalled(descriptor))
        #expect(installed.batches.map(\.installedSnapshot) == [descriptor])
        #expect(!installed.contains(.restoreStateMachine(descriptor)))
        let answer = installed.sends.last { if case .installSnapshotResponse = $0.message { true } else { false } }
        #expect(answer?.after == installed.batches[0].sequence)
        let durable = lone.sync()
        #expect(durable.contains(.restoreStateMachine(descriptor)))
        // Restoring takes its time: what comes meanwhile is kept, not applied.
        _ = lone.receive(append(term: 1, previous: id(1, 50), [entry(1, 51)], commit: 51))
        #expect(lone.sync().applied.isEmpty)
        #expect(lone.turn(.applied(through: descriptor.index)).applied == [entry(1, 51)])
    }

    @Test func `an own entry of another term at the snapshot's index drops the whole log (C40)`() {
        var lone = LoneNode(
            hardState: HardState(term: Term(2)), entries: [entry(1, 1), entry(1, 2), entry(2, 3), entry(2, 4)])
        let descriptor = Self.descriptor(id(1, 3), bytes: 1)
        _ = lone.receive(Self.chunk(descriptor, [1], term: 3))
        let installed = lone.turn(.snapshotInstalled(descriptor))
        #expect(installed.batches[0].truncateFrom == LogIndex(1))
        #expect(lone.node.status.last == id(1, 3))
        #expect(lone.node.status.first == LogIndex(4))
        let next = lone.sync() + lone.receive(append(term: 3, previous: id(1, 3), [entry(3, 4)]))
        #expect(next.contains { if case .persist = $0 { true } else { false } })
    }

    @Test func `a snapshot that the log already covers is not transferred (§7)`() {
        var lone = LoneNode(
            hardState: HardState(term: Term(1)), entries: [entry(1, 1), entry(1, 2), entry(1, 3)])
        let descriptor = Self.descriptor(id(1, 2), bytes: 9)
        let effects = lone.receive(Self.chunk(descriptor, [1]))
        #expect(!effects.contains { if case .writeSnapshotChunk = $0 { true } else { false } })
        #expect(lone.node.status.commit == LogIndex(2))
        #expect(lone.node.status.last == id(1, 3))
        let answers = effects.sends.compactMap {
            if case .installSnapshotResponse(let response) = $0.message { response.outcome } else { nil }
        }
        #expect(answers == [.installed(through: LogIndex(2))])
    }

    @Test func `the configuration of an installed snapshot is in force (C36)`() {
        let stale = Configuration(voters: [LoneNode.me, ada])
        var lone = LoneNode(configuration: stale)
        let configuration = Configuration(voters: [LoneNode.me, ada, bob, NodeID(4)])
        let descriptor = SnapshotDescriptor(
            id: id(1, 9), configuration: configuration, configurationIndex: LogIndex(7), sizeBytes: 1, checksum: 0)
        _ = lone.receive(Self.chunk(descriptor, [1]))
        let installed = lone.turn(.snapshotInstalled(descriptor))
        #expect(installed.contains(.configurationChanged(configuration, at: LogIndex(7))))
        #expect(lone.node.status.configuration == configuration)
    }

    @Test func `a damaged snapshot is forgotten and asked for again`() {
        var lone = LoneNode()
        let descriptor = Self.descriptor(id(1, 9), bytes: 2)
        _ = lone.receive(Self.chunk(descriptor, [1]))
        _ = lone.turn(.snapshotChunkWritten(descriptor, through: 1))
        _ = lone.turn(.snapshotWriteFailed(descriptor))
        let again = lone.receive(Self.chunk(descriptor, [1]))
        #expect(again.contains(.writeSnapshotChunk(descriptor, offset: 0, bytes: [1], isLast: false)))
    }

    @Test func `an unreadable snapshot is replaced by the newest, and not retried at once`() {
        let (cluster, leader, straggler) = clusterWithStraggler()
        cluster.restart(straggler)
        var effects: [Effect] = []
        cluster[leader].node.step(.linkUp(straggler), at: cluster.now, into: &effects)
        let descriptor = cluster[leader].status.snapshot!
        #expect(
            cluster.run {
                cluster[leader].status.peers[0].state == .snapshot
                    || cluster[leader].status.peers[1].state == .snapshot
            })
        cluster[leader].node.step(.snapshotReadFailed(to: straggler, descriptor), at: cluster.now, into: &effects)
        effects = []
        cluster[leader].node.flush(at: cluster.now, into: &effects)
        #expect(!effects.contains { if case .readSnapshotChunk = $0 { true } else { false } })
        #expect(cluster.run { cluster.hasConverged })
    }

    @Test func `chunks leave no faster than the rate allows`() {
        var options = RaftOptions()
        options.snapshotBytesPerSecond = 50_000
        let (cluster, _, straggler) = clusterWithStraggler(bytes: 10_000, options: options)
        var sent: [Instant] = []
        cluster.tap = { message, _, _ in if case .installSnapshot = message { sent.append(cluster.now) } }
        cluster.restart(straggler)
        #expect(cluster.run { cluster.hasConverged })
        #expect(sent.count >= 10)
        for (earlier, later) in zip(sent.prefix(10), sent.prefix(10).dropFirst()) {
            #expect(later - earlier >= .milliseconds(20))
        }
    }

    @Test func `a restart finds snapshot and tail and goes on`() {
        let cluster = Cluster(3)
        let leader = cluster.elect()
        cluster.propose(20, on: leader)
        #expect(cluster.run { cluster.hasConverged })
        for id in cluster.ids { cluster.takeSnapshot(on: id, retaining: 7) }
        cluster.propose(4, on: leader)
        #expect(cluster.run { cluster.hasConverged })
        for id in cluster.ids { cluster.crash(id) }
        for id in cluster.ids { cluster.restart(id) }
        #expect(cluster[leader].status.snapshot != nil)
        #expect(cluster.run { cluster.hasConverged })
        #expect(cluster[leader].applied.filter { $0.isCommand }.count == 24)
    }

    // MARK: Helpers

    private static func descriptor(_ id: EntryID, bytes: UInt64) -> SnapshotDescriptor {
        SnapshotDescriptor(
            id: id, configuration: Configuration(voters: [LoneNode.me, LoneNode.ada, LoneNode.bob]), sizeBytes: bytes,
            checksum: 0)
    }

    private static func chunk(
        _ descriptor: SnapshotDescriptor, _ bytes: [UInt8], offset: UInt64 = 0, term: UInt64 = 1
    ) -> Message {
        .installSnapshot(
            InstallSnapshot(
                term: Term(term), session: SessionNonce(1), descriptor: descriptor, offset: offset, bytes: bytes,
                isLast: offset + UInt64(bytes.count) == descriptor.sizeBytes))
    }
}
