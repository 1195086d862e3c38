import ClusterSupport
import EsperProtocol
import EsperTypes
import TestSupport

/// Asks every node what it knows, over connections that are kept.
actor Observatory {
    private let cluster: LocalCluster
    private var doors: [String: NodeDoor] = [:]

    init(_ cluster: LocalCluster) { self.cluster = cluster }

    /// The connection to a node, made anew when it is gone.
    func door(_ name: String) async throws -> NodeDoor {
        if let door = doors[name], door.isUsable { return door }
        let door = try await NodeDoor.open(name, of: cluster)
        doors[name] = door
        return door
    }

    /// - Returns: nil when the node does not answer at once.
    func status(of name: String) async -> ProtoStatusResponse? {
        guard let door = try? await door(name) else { return nil }
        return try? await door.status(within: .milliseconds(500))
    }

    /// The node that says of itself that it leads; of several, that of the highest term.
    ///
    /// - Parameter excluded: nodes that are not asked, because they cannot answer or should not be believed.
    func leader(except excluded: [String] = [], within limit: Duration = .seconds(30)) async throws -> String {
        try await eventually("a leader that is not among \(excluded)", within: limit) {
            var best: (term: UInt64, name: String)?
            for member in cluster.members where !excluded.contains(member.name) {
                guard let status = await status(of: member.name), status.leader == member.name else { continue }
                if status.term > best?.term ?? 0 { best = (status.term, member.name) }
            }
            return best?.name
        }
    }

    /// Waits until a node follows the leader, or leads, and has applied everything that was committed when we began.
    func waitUntilCaughtUp(_ name: String) async throws {
        let leader = try await leader()
        let committed = await status(of: leader)?.commitIndex ?? 0
        var last: ProtoStatusResponse?
        do {
            try await until("\(name) to catch up") {
                guard let status = await self.status(of: name) else { return false }
                last = status
                return !status.leader.isEmpty && status.appliedIndex >= committed
            }
        } catch {
            let said =
                last.map {
                    "leader '\($0.leader)', term \($0.term), commit \($0.commitIndex), applied \($0.appliedIndex)"
                } ?? "nothing"
            let known = await status(of: leader)?.members.map { "\($0.name) \($0.role) match \($0.matchIndex)" } ?? []
            throw WaitedInVain(
                "\(name) did not catch up with \(leader) at \(committed); it says \(said); \(leader) says \(known): \(error)"
            )
        }
    }
}
