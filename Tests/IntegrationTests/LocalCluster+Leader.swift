import ClusterSupport
import TestSupport

extension LocalCluster {
    /// Whether the node says that it leads.
    func leads(_ name: String) async throws -> Bool {
        let port = member(name).probePort
        return try await onThread { Probe.get("/metrics", port: port)?.body.contains("\nesper_raft_is_leader 1") }
            ?? false
    }

    func leader(otherThan excluded: String? = nil) async throws -> String {
        try await eventually("a leader") {
            for name in members.map(\.name) where name != excluded { if try await leads(name) { return name } }
            return nil
        }
    }
}
