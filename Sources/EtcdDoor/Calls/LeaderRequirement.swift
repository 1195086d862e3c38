import EsperTypes
import GRPCTransport
import NIOCore
import RaftRuntime

/// Streams whose clients want to be told, rather than to wait, when their node has lost its leader: they sent
/// ``metadataKey``, as etcd's clients do for every watch and keep-alive of a recipe.
///
/// A call that asks for it is refused where no leader is known. A stream that is open ends after ``patience`` without
/// one: streams cost more to open again than questions. Confined to its lane's loop.
///
/// Source: etcd 3.5, server/etcdserver/api/v3rpc/interceptor.go.
final class LeaderRequirement {
    static let metadataKey = "hasleader"
    private static let wanted = "true"
    /// etcd waits for three election timeouts, which are of a second unless configured. Ours are shorter, but clients
    /// that were written for etcd are not to lose their streams to elections that etcd's would have outlived.
    private static let shortestPatience = Duration.seconds(3)
    /// How often it is looked at while there are such streams, for each time of patience.
    private static let looks = 6

    private unowned let lane: EtcdLane
    private let patience: Duration
    /// Those that have ended since are found out at the next look.
    private var callers: Set<Caller> = []
    private var timer: Scheduled<Void>?

    init(_ lane: EtcdLane) {
        self.lane = lane
        patience = max(lane.node.electionTimeout * 3, Self.shortestPatience)
    }

    /// Whether a call asks for it.
    static func isAsked(by call: InboundCall) -> Bool { call.metadata[metadataKey] == wanted }

    /// Whether a request of the gateway asks for it, by a field of the name `Grpc-Metadata-hasleader`.
    static func isAsked(by metadata: [String: String]) -> Bool { metadata[metadataKey] == wanted }

    /// - Throws: ``EtcdFailure/noLeader``.
    func check() throws(EtcdFailure) {
        if lane.node.leaderless != nil { throw .noLeader }
    }

    /// From now on the stream ends with the node's leader.
    func add(_ caller: Caller) {
        callers.insert(caller)
        scheduleLook()
    }

    private func scheduleLook() {
        guard timer == nil else { return }
        let bound = NIOLoopBound(self, eventLoop: lane.eventLoop)
        timer = lane.eventLoop.scheduleTask(in: .nanoseconds((patience / Self.looks).nanoseconds)) {
            bound.value.look()
        }
    }

    private func look() {
        timer = nil
        callers = callers.filter(lane.isOpen)
        guard !callers.isEmpty else { return }
        guard let leaderless = lane.node.leaderless, leaderless >= patience else { return scheduleLook() }
        for caller in callers { lane.abandon(caller, .noLeader) }
        callers = []
        lane.endTurn()
    }
}
