/// What one node says about the cluster, in the words of the command's output.
struct ClusterStatus: Equatable, Sendable {
    struct Member: Equatable, Sendable {
        var name: String
        var id: String
        /// `leader`, `follower`, `candidate` or `learner`; empty when the answering node does not know.
        var role: String
        var isVoter: Bool
        var isReachable: Bool
        var appliedIndex: UInt64
        var matchIndex: UInt64
        var version: String
        var address: String
        var zone: String
        var endpoint: String
    }

    var clusterID: String
    /// Empty when the node knows none.
    var leader: String
    var term: UInt64
    var commitIndex: UInt64
    var appliedIndex: UInt64
    var revision: UInt64
    var members: [Member]
    var answeredBy: String
    var outboxPending: UInt64
    var catalog: String

    var json: JSON {
        .fields([
            "cluster_id": .string(clusterID),
            "leader": leader.isEmpty ? .null : .string(leader),
            "term": .unsigned(term),
            "commit_index": .unsigned(commitIndex),
            "applied_index": .unsigned(appliedIndex),
            "revision": .unsigned(revision),
            "answered_by": .string(answeredBy),
            "catalog": catalog.isEmpty ? .null : .string(catalog),
            "outbox_pending": .unsigned(outboxPending),
            "members": .array(members.map(\.json)),
        ])
    }

    var text: String {
        var table = Table("name", "role", "voter", "reachable", "applied", "match", "version", "address", "zone")
        for member in members {
            table.add(
                member.name, member.role, member.isVoter ? "yes" : "no", member.isReachable ? "yes" : "no",
                "\(member.appliedIndex)", "\(member.matchIndex)", member.version, member.address, member.zone)
        }
        let lead = leader.isEmpty ? "no leader" : "leader \(leader)"
        return "cluster \(clusterID)  \(lead)  term \(term)  commit \(commitIndex)  revision \(revision)\n\(table.text)"
    }
}

extension ClusterStatus.Member {
    var json: JSON {
        .fields([
            "name": .string(name),
            "id": .string(id),
            "role": role.isEmpty ? .null : .string(role),
            "voter": .bool(isVoter),
            "reachable": .bool(isReachable),
            "applied_index": .unsigned(appliedIndex),
            "match_index": .unsigned(matchIndex),
            "version": .string(version),
            "address": .string(address),
            "zone": .string(zone),
            "endpoint": .string(endpoint),
        ])
    }
}
