import Coordination
public import RaftRuntime

/// What somebody has to propose for the names of the cache now and then, and the leader does: it collects bindings whose time
/// is over, and forgets tombstones that the catalog has seen.
///
/// Every command is judged where it is applied, so that two keepers, or one with an old picture, do no harm.
public final class NameKeeper: Sendable {
    private let node: NodeHandle

    private static let principal = "node/cache"
    private static let timeout = Duration.seconds(5)
    private static let interval = Duration.seconds(1)
    /// Commands of one round, so that a million names that expire together do not fill the log by themselves.
    private static let commandsPerRound = 64

    public init(_ node: NodeHandle) { self.node = node }

    /// Until the task is cancelled.
    public func run() async {
        while !Task.isCancelled {
            await keep()
            // Fails when it is cancelled, which ends the loop.
            try? await Task.sleep(for: Self.interval, clock: .continuous)
        }
    }

    private func keep() async {
        for _ in 0..<Self.commandsPerRound {
            guard !Task.isCancelled, let state = await leadersState(),
                let command = state.cacheChore(now: NodeClock.wallNanoseconds())
            else { return }
            let body = await node.call(.command(.cache(command), nil), principal: Self.principal, timeout: Self.timeout)
            // Refused, or nobody leads: the next round tries again.
            guard case .command(let reply) = body, case .cache = reply.result else { return }
        }
    }

    /// Nil when this node does not lead, or does not answer.
    private func leadersState() async -> StateMachine? {
        guard await node.leads(within: Self.timeout),
            case .stateCopy(let copy) = await node.call(
                .stateCopy(linearizable: false), principal: Self.principal, timeout: Self.timeout)
        else { return nil }
        return copy.state
    }
}

extension NodeHandle {
    /// Whether this node leads, as far as it knows; false when it does not answer in time. For chores that one node at a time
    /// should do and two may.
    public func leads(within timeout: Duration) async -> Bool {
        guard case .status(let status) = await call(.status, principal: "node/cache", timeout: timeout) else {
            return false
        }
        return status.leader == status.answeredBy
    }
}
