import EsperClient

extension ClusterView {
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
            "pending_change": pendingChange.isEmpty ? .null : .string(pendingChange),
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
        let change = pendingChange.isEmpty ? "" : "\nchange of members under way: \(pendingChange)"
        return "cluster \(clusterID)  \(lead)  term \(term)  commit \(commitIndex)  revision \(revision)\(change)\n"
            + table.text
    }

    /// What a change of is news.
    var essence: [String] {
        ["\(leader) \(term)"] + members.map { "\($0.name) \($0.role) \($0.isVoter) \($0.isReachable)" }
    }
}

extension ClusterView.Member {
    fileprivate var json: JSON {
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
