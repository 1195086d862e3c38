import RaftCore

extension SimulationPlan: CustomStringConvertible {
    public var description: String {
        let names = Faults.named.filter { activeFaults.contains($0.kind) }.map(\.name)
        return """
            seed \(seed): \(nodes) nodes\(membership.map { ", \($0.founders) of them founders" } ?? ""), heartbeat \(raft.heartbeatInterval), election \(raft.electionTimeout), \
            network \(network.isOrdered ? "ordered" : "unordered") loss \(network.lossPerMille)‰ \
            duplicates \(network.duplicatePerMille)‰ spikes \(network.spikePerMille)‰, \
            \(workload.clients) clients on \(workload.keys) keys, \
            snapshots \(snapshotAfter.map { "after \($0)" } ?? "never"), faults \(names.joined(separator: " "))
            """
    }
}
