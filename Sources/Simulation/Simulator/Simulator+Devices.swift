import EsperTypes
import RaftCore

/// Faults of disks and clocks.
extension Simulator {
    func stallDisk(_ node: Node) {
        let end = clock.now + duration()
        faults.diskStalledUntil[node.index] = end
        note("disk stall", "n\(node.index + 1)", until: end)
    }

    func fillDisk(_ node: Node) {
        guard let files = node.disk.files else { return }
        let end = clock.now + duration()
        files.setFreeBytes(chaos.int(in: 0...8192))
        note("full disk", "n\(node.index + 1)", until: end)
        begin(ActiveFaults.Fault(cuts: [], fullDisk: node.index), endingAt: end)
    }

    func changeRate(_ node: Node) {
        let end = clock.now + duration()
        let rate = chaos.int(in: -SimulationPlan.maximumDrift...SimulationPlan.maximumDrift)
        node.clock.setRate(rate, at: clock.now)
        note("clock rate", "n\(node.index + 1) \(rate) ppm", until: end)
        begin(ActiveFaults.Fault(cuts: [], clockRate: node.index), endingAt: end)
    }

    /// As when a machine wakes up: its clock went on, and it did nothing. The wall clock is set to anything.
    func leapClock(_ node: Node) {
        let leap = chaos.int(in: 0...2_000_000_000)
        node.clock.leap(
            by: UInt64(leap), wallBy: chaos.int(in: -3_600_000_000_000...3_600_000_000_000), at: clock.now)
        oracles.sessions.clockLeapt(at: clock.now)
        note("clock leap", "n\(node.index + 1) by \(leap / 1_000_000) ms", until: nil)
        scheduleTurn(node)
    }

    /// Something stored long ago cannot be read any more. A node that runs on has to find out by itself, one that restarts at its start.
    ///
    /// Only on so few nodes at once that the others have everything, see docs/SIMULATION.md.
    func rot(_ node: Node) throws(SimulationFailure) {
        let damaged = Set(nodes.filter { $0 === node || isImpaired($0) }.map(\.id))
        guard isRecoverable(without: damaged), let path = node.disk.rot() else { return }
        counters.rots += 1
        note("bit rot", "n\(node.index + 1) \(path)", until: nil)
        if chaos.chance(1, in: 2) { try crash(node) }
    }

    /// Whether damaged copies stay a minority of both halves of every configuration that is in force somewhere, or that somebody has
    /// been asked for.
    private func isRecoverable(without damaged: Set<NodeID>) -> Bool {
        let configurations = nodes.map(\.raft.configuration) + [oracles.configurations.last] + Array(askedFor.values)
        return configurations.allSatisfy { Self.isRecoverable($0, without: damaged) }
    }

    /// A change that leaves no healthy majority is one that no operator may ask for.
    static func isRecoverable(_ configuration: Configuration, without damaged: Set<NodeID>) -> Bool {
        [configuration.incoming, configuration.outgoing].allSatisfy { voters in
            let lost = voters.count { damaged.contains($0) }
            return lost == 0 || lost * 2 < voters.count
        }
    }

    func isImpaired(_ node: Node) -> Bool {
        node.isLost || node.disk.isRotten || node.disk.damaged != nil || node.raft.isQuarantined
    }
}
