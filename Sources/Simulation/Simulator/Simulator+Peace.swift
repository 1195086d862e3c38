import EsperTypes
import RaftCore

/// The end of faults: what ceases, and what stays broken for good.
extension Simulator {
    /// All faults end for good: from here on the cluster has to recover.
    func heal() throws(SimulationFailure) {
        say("all faults end")
        isHealed = true
        let severed = links().filter { link in
            link.from < link.to
                && (network.isCut(from: link.from, to: link.to) || network.isCut(from: link.to, to: link.from))
        }
        network.heal()
        faults.active = [:]
        faults.diskStalledUntil = [:]
        for node in nodes {
            node.disk.files?.repair()
            node.clock.setRate(nil, at: clock.now)
            resume(node)
            if !node.isUp { try restart(node) }
        }
        scar()
        for watcher in watchers.indices { connect(watcher) }
        // Nobody is told of the others: what got lost on them has to be made up for without.
        for link in severed { openLink(link.from, link.to) }
    }

    /// One thing may stay broken for good: the rest has a quorum and must do without it.
    func scar() {
        guard plan.nodes > 2, plan.membership == nil, !nodes.contains(where: isImpaired) else { return }
        let node = chaos.int(in: 0...plan.nodes - 1)
        if plan.activeFaults.contains(.hungDisk) {
            faults.hungDisk = node
            faults.diskStalledUntil[node] = .max
            note("hung disk", "n\(node + 1)", until: nil)
        } else if plan.activeFaults.contains(.lostLink) {
            let other = (node + chaos.int(in: 1...plan.nodes - 1)) % plan.nodes
            faults.lostLink = (node, other)
            network.cut(from: node, to: other)
            if chaos.chance(2, in: 3) { network.cut(from: other, to: node) }
            closeLink(node, other, told: chaos.chance(1, in: 2))
            note("lost link", "n\(node + 1)→n\(other + 1)", until: nil)
        }
    }

    /// Whether nobody expects the node to keep up: its disk hangs, or it has no link with the leader.
    func isExcused(_ node: Int, under leader: Int) -> Bool {
        nodes[node].isLost || node == faults.hungDisk || network.isCut(from: node, to: leader)
            || network.isCut(from: leader, to: node)
    }
}
