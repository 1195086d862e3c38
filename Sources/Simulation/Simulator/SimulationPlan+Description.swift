import RaftCore

extension SimulationPlan: CustomStringConvertible {
    public var description: String {
        let names = Faults.named.filter { activeFaults.contains($0.kind) }.map(\.name)
        return """
            seed \(seed): \(nodes) nodes\(membership.map { ", \($0.founders) of them founders" } ?? ""), heartbeat \(raft.heartbeatInterval), election \(raft.electionTimeout)\(raft.readLease > .zero ? ", reads by leases of \(raft.readLease)" : "")\(raft.holderLease > .zero ? ", holders' leases of \(raft.holderLease)\(leaseShares == [100] ? "" : " × \(leaseShares) %")" : ""), \
            network \(network.isOrdered ? "ordered" : "unordered") loss \(network.lossPerMille)‰ \
            duplicates \(network.duplicatePerMille)‰ spikes \(network.spikePerMille)‰, \
            \(workload.clients) clients on \(workload.keys) keys, \
            \(housekeeping.map { "history of \($0.keptRevisions) revisions, " } ?? "")snapshots \(snapshotAfter.map { "after \($0)" } ?? "never"), \
            \(scrubInterval.map { "a scrub after \($0 / Self.millisecond) ms" } ?? "no scrub"), faults \(names.joined(separator: " "))
            """
    }
}
