import EsperTypes
import RaftCore
import RaftStorage

/// Bits that rot under nodes that run on: who finds them, and what becomes of them.
extension Simulator {
    /// A pass at a time, as long after the one before as the plan says.
    func scheduleScrub(_ node: Node) {
        guard let interval = plan.scrubInterval, node.disk.files != nil else { return }
        clock.schedule(.scrub(node: node.index, life: node.life), after: UInt64(interval))
    }

    func scrub(_ node: Node) throws(SimulationFailure) {
        scheduleScrub(node)
        guard !node.isPaused, let files = node.disk.files else { return }
        let report = files.scrub(node.raft.newestSnapshot())
        counters.scrubs += 1
        for damage in report.damages where damage.isDamage {
            counters.damagesScrubbed += 1
            try finds(damage, at: node)
        }
        receive(node, .scrubbed(report))
    }

    /// A node that runs says that something is damaged, and it is.
    func finds(_ damage: StorageError, at node: Node) throws(SimulationFailure) {
        say("n\(node.index + 1) finds \(damage)")
        guard node.disk.files?.isDecayed(damage.path) ?? false else {
            throw SimulationFailure(.durability, "n\(node.index + 1) calls a sound file damaged: \(damage)")
        }
    }

    /// What had rotted under a node that runs may have been replaced.
    func noteRepair(of node: Node) {
        guard node.disk.isRidOfRot() else { return }
        counters.repairs += 1
        say("n\(node.index + 1) has nothing damaged any more")
    }

    /// Whether something damaged is left that the scrub should have seen to.
    func neglectsDamage(_ node: Node) -> Bool {
        guard plan.scrubInterval != nil, node.disk.isRotten, let files = node.disk.files else { return false }
        if let known = node.neglect, known.operations == files.operations { return known.isFound }
        let damage = files.findNeglectedDamage(node.raft.newestSnapshot())
        node.neglect = (files.operations, damage != nil)
        return damage != nil
    }
}
