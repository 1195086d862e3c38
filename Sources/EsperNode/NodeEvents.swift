import CacheCore
import Catalog
import Coordination
import EsperTypes
import GRPCTransport
import Glibc
import Logging
import Observability
import RaftRuntime
import RaftStorage
import RedisDoor
import Synchronization

/// What the runtime tells the rest of the node.
final class NodeEvents: NodeObserver {
    private struct State {
        var term: Term?
        var projector: OutboxProjector?
        var redisDoor: RedisDoor?
    }

    private let state = Mutex(State())
    private let logger: Logger
    private let raft: HealthReporter
    private let states: HealthReporter
    private let probe: HealthRegistry

    /// - Parameter probe: what `grpc.health.v1` answers; it says what `/ready` says.
    init(_ logger: Logger, _ health: Health, _ probe: HealthRegistry) {
        self.logger = logger
        self.probe = probe
        raft = health.component("raft", reason: Readiness.noLeader.reason)
        states = health.component("state", state: .ok)
        probe.set(.notServing)
    }

    /// From now on the projector hears of leadership and records, beginning with how things stand.
    ///
    /// It is told under the lock, so that no older news overtakes newer.
    func attach(_ projector: OutboxProjector) {
        state.withLock { state in
            state.projector = projector
            projector.leadershipChanged(state.term)
        }
    }

    /// From now on the door hears of changed names; of those before nobody can say which it missed.
    func attach(_ redisDoor: RedisDoor) {
        state.withLock { $0.redisDoor = redisDoor }
        redisDoor.changedAll()
    }

    func leadershipChanged(_ term: Term?) {
        state.withLock { state in
            state.term = term
            state.projector?.leadershipChanged(term)
        }
    }

    func readinessChanged(_ readiness: Readiness) {
        if let reason = readiness.reason { raft.failing(reason) } else { raft.ok() }
        probe.set(readiness == .ready ? .serving : .notServing)
    }

    func outboxGrew() { state.withLock { $0.projector }?.outboxGrew() }

    func namesChanged(_ names: [NamedBinding]?) {
        guard let door = state.withLock({ $0.redisDoor }) else { return }
        if let names {
            door.changed(names.lazy.map { (name: $0.name, version: $0.binding.version) })
        } else {
            door.changedAll()
        }
    }

    func statesCompared(difference: String?) {
        if let difference { states.degraded(difference) } else { states.ok() }
    }

    /// What this node would answer from now on is not what the cluster has agreed on.
    func stateDiverged(_ difference: StateDifference) {
        let hashes = difference.hashes
        logger.critical(
            "this node's state is not that of the majority: the node stops, and has to rejoin with an empty data directory",
            metadata: [
                "raft.index": "\(difference.index)", "state.own": "\(hashes.own)", "state.majority": "\(hashes.other)",
            ])
        LogSink.standardError.flush()
        _exit(70)
    }

    /// A node whose log has failed must not go on: nothing it says about durability would be true.
    func storageFailed(_ error: StorageError) {
        logger.critical("the log failed; the node stops", metadata: ["error": "\(error)"])
        LogSink.standardError.flush()
        _exit(74)
    }
}
