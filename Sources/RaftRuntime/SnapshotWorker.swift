import Coordination
import EsperTypes
import NIOCore
import NIOPosix
import RaftCore
import RaftStorage

/// The one thread that writes and reads snapshot files, so that neither the core loop nor the log waits for them.
final class SnapshotWorker: Sendable {
    private let store: SnapshotStore
    private let pool: NIOThreadPool

    init(store: SnapshotStore) {
        self.store = store
        pool = NIOThreadPool(numberOfThreads: 1)
        pool.start()
    }

    func submit(_ work: @escaping @Sendable () -> Void) {
        pool.submit { state in if state == .active { work() } }
    }

    func shutdown() async throws { try await pool.shutdownGracefully() }

    func write(_ state: StateMachine, _ basis: SnapshotBasis) throws(StorageError) -> SnapshotDescriptor {
        let writer = try store.begin(basis)
        do throws(StorageError) {
            var encoder = SnapshotEncoder(state)
            while let chunk = encoder.next() { try writer.append(chunk) }
            return try writer.finish(stateHash: encoder.stateHash ?? 0)
        } catch {
            writer.abandon()
            throw error
        }
    }

    func read(
        _ descriptor: SnapshotDescriptor, at offset: UInt64, maximumBytes: Int
    ) throws(StorageError) -> (bytes: [UInt8], isLast: Bool) {
        let reader = try store.open(descriptor)
        defer { reader.close() }
        return try reader.read(at: offset, maximumBytes: maximumBytes)
    }

    func receive(
        _ descriptor: SnapshotDescriptor, offset: UInt64, bytes: [UInt8], isLast: Bool
    ) throws(StorageError) -> UInt64 {
        try store.receive(descriptor, offset: offset, bytes: bytes, isLast: isLast)
    }

    func prune(keeping descriptors: [SnapshotDescriptor]) throws(StorageError) {
        try store.prune(keeping: descriptors)
    }

    /// The deadlines are set up here too: for a million sessions that takes longer than a heartbeat may.
    func restore(_ descriptor: SnapshotDescriptor) throws(StorageError) -> (state: StateMachine, sessions: SessionClock)
    {
        let state = try StateMachine(restoring: descriptor, from: store)
        return (state, SessionClock(sessions: state.sessionGrants, at: NodeClock.now()))
    }
}
