import EsperTypes
import RaftCore

/// Faults of links: cut, closed, lossy.
extension Simulator {
    func links() -> [(from: Int, to: Int)] {
        (0..<plan.nodes).flatMap { from in (0..<plan.nodes).compactMap { from == $0 ? nil : (from, $0) } }
    }

    func linksOf(_ node: Int) -> [(from: Int, to: Int)] {
        links().filter { $0.from == node || $0.to == node }
    }

    func linksAcross() -> [(from: Int, to: Int)] {
        let sides = (0..<plan.nodes).map { _ in chaos.chance(1, in: 2) }
        return links().filter { sides[$0.from] != sides[$0.to] }
    }

    func cut(_ kind: String, _ cuts: [(from: Int, to: Int)]) {
        guard !cuts.isEmpty else { return }
        let end = clock.now + duration()
        let closes = chaos.chance(1, in: 3)
        for link in cuts {
            network.cut(from: link.from, to: link.to)
            if closes { closeLink(link.from, link.to, told: true) }
        }
        note(kind, cuts.map { "n\($0.from + 1)→n\($0.to + 1)" }.joined(separator: " "), until: end)
        begin(ActiveFaults.Fault(cuts: cuts), endingAt: end)
    }

    func begin(_ fault: ActiveFaults.Fault, endingAt end: UInt64) {
        faults.active[faults.nextNumber] = fault
        clock.schedule(.endOfFault(faults.nextNumber), at: end)
        faults.nextNumber += 1
    }

    func endFault(_ number: Int) {
        guard var fault = faults.active.removeValue(forKey: number) else { return }
        if let (one, other) = fault.flapping, fault.flips > 0 {
            fault.flips -= 1
            if fault.cuts.isEmpty {
                fault.cuts = [(one, other), (other, one)]
                for link in fault.cuts { network.cut(from: link.from, to: link.to) }
                closeLink(one, other, told: true)
            } else {
                mend(fault)
                fault.cuts = []
            }
            faults.active[number] = fault
            clock.schedule(.endOfFault(number), after: UInt64(chaos.int(in: 1_000_000...100_000_000)))
            return
        }
        mend(fault)
    }

    func mend(_ fault: ActiveFaults.Fault) {
        network.extraLossPerMille -= fault.lossPerMille
        if let node = fault.clockRate { nodes[node].clock.setRate(nil, at: clock.now) }
        if let node = fault.fullDisk { nodes[node].disk.files?.setFreeBytes(nil) }
        for link in fault.cuts {
            network.mend(from: link.from, to: link.to)
            openLink(link.from, link.to)
        }
        say("a fault ends")
    }

    func flap(_ node: Int) {
        guard plan.nodes > 1 else { return }
        let other = (node + chaos.int(in: 1...plan.nodes - 1)) % plan.nodes
        note("flap", "n\(node + 1)–n\(other + 1)", until: nil)
        let fault = ActiveFaults.Fault(cuts: [], flapping: (node, other), flips: chaos.int(in: 2...12))
        begin(fault, endingAt: clock.now)
    }

    func loseMore() {
        let loss = chaos.int(in: 50...600)
        let end = clock.now + duration()
        network.extraLossPerMille += loss
        note("loss", "\(loss)‰", until: end)
        begin(ActiveFaults.Fault(cuts: [], lossPerMille: loss), endingAt: end)
    }

    /// Links are cut one by one and mended in another order.
    func swizzle() {
        note("swizzle", "", until: nil)
        for node in 0..<plan.nodes where chaos.chance(1, in: 2) {
            let cuts = linksOf(node)
            for link in cuts { network.cut(from: link.from, to: link.to) }
            begin(ActiveFaults.Fault(cuts: cuts), endingAt: clock.now + duration())
        }
    }

    func resetLink(_ one: Int, _ other: Int) {
        guard one != other else { return }
        note("link reset", "n\(one + 1)–n\(other + 1)", until: nil)
        closeLink(one, other, told: true)
        openLink(one, other)
    }

    /// A connection closes; its two ends hear of it after a moment, or not at all.
    func closeLink(_ one: Int, _ other: Int, told: Bool) {
        network.reset(one, other)
        guard told else { return }
        for (node, peer) in [(one, other), (other, one)] where nodes[node].isUp {
            clock.schedule(
                .link(node: node, life: nodes[node].life, peer: peer, isUp: false),
                after: UInt64(chaos.int(in: 10_000...5_000_000)))
        }
    }

    func openLink(_ one: Int, _ other: Int) {
        guard nodes[one].isUp, nodes[other].isUp, !network.isCut(from: one, to: other),
            !network.isCut(from: other, to: one)
        else { return }
        for (node, peer) in [(one, other), (other, one)] {
            clock.schedule(
                .link(node: node, life: nodes[node].life, peer: peer, isUp: true),
                after: UInt64(chaos.int(in: 6_000_000...40_000_000)))
        }
    }
}
