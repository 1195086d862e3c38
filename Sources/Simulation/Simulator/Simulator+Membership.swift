import EsperTypes
import RaftCore

/// The operator: asks for changes of membership at random moments, whatever else is going on.
extension Simulator {
    /// Another request, now and then; after the faults only what ends a joint configuration that does not end by itself.
    func changeMembership() throws(SimulationFailure) {
        guard let membership = plan.membership else { return }
        clock.schedule(
            .membership,
            after: isHealed ? UInt64(membership.interval) : UInt64(random.int(in: 0...membership.interval * 2)))
        guard let leader = currentLeader else { return }
        if mutant == .removedNodesCampaign { try removedNodesCampaign(against: nodes[leader]) }
        let configuration = nodes[leader].raft.configuration
        if isHealed {
            guard configuration.isJoint, !configuration.autoLeave, mutant != .forgetsToLeave else { return }
            // A joint configuration may last: it serves everybody first.
            guard workload.clients.allSatisfy(\.isDone), holders.allSatisfy(\.isDone) else { return }
            ask(nodes[leader], .leaveJoint)
            return
        }
        let target = random.chance(1, in: 12) ? random.int(in: 0...plan.nodes - 1) : leader
        if configuration.isJoint, mutant != .forgetsToLeave, random.chance(1, in: 2) {
            ask(nodes[target], .leaveJoint)
            return
        }
        var autoLeave = !random.chance(membership.explicitLeavePercent, in: 100)
        if mutant == .forgetsToLeave { autoLeave = false }
        ask(nodes[target], .change(drawChanges(configuration), autoLeave: autoLeave))
    }

    private func ask(_ node: Node, _ request: ConfigurationRequest) {
        if case .change(let changes, let autoLeave) = request,
            let next = try? Changer(node.raft.configuration).enterJoint(autoLeave: autoLeave, changes)
        {
            let damaged = Set(nodes.filter(isImpaired).map(\.id))
            guard Self.isRecoverable(next, without: damaged) else { return }
            askedFor[UInt64(counters.membershipRequests + 1)] = next
        }
        counters.membershipRequests += 1
        say("n\(node.index + 1) is asked: \(request)")
        receive(node, .event(.changeConfiguration(token: UInt64(counters.membershipRequests), request)))
    }

    /// Mostly sensible: strangers become learners, learners voters, and the cluster keeps about its size.
    private func drawChanges(_ configuration: Configuration) -> [ConfigurationChange] {
        var strangers = nodes.map(\.id).filter { !configuration.contains($0) }
        var learners = configuration.learners
        var voters = configuration.incoming
        func take(_ from: inout [NodeID]) -> NodeID? {
            guard let node = random.pick(from) else { return nil }
            from.removeAll { $0 == node }
            return node
        }
        var changes: [ConfigurationChange] = []
        for _ in 0..<random.int(in: 1...3) {
            switch random.int(in: 0...9) {
            case 0...2: if let node = take(&strangers) { changes.append(.addLearner(node)) }
            case 3...5: if let node = take(&learners) { changes.append(.addVoter(node)) }
            case 6: if let node = take(&voters) { changes.append(.remove(node)) }
            case 7: if let node = take(&voters) { changes.append(.demote(node)) }
            case 8: if let node = take(&learners) { changes.append(.remove(node)) }
            default:
                if let new = take(&learners), let old = take(&voters) { changes.append(.replace(old, with: new)) }
            }
        }
        return changes
    }

    func configurationOutcome(_ outcome: ConfigurationOutcome, of token: UInt64, at node: Node) {
        // From here on it is in a log, or nowhere.
        askedFor[token] = nil
        switch outcome {
        case .done: counters.membershipChanges += 1
        case .accepted, .refused, .unknown: break
        }
        trace.mix(token)
        say("n\(node.index + 1) answers request \(token): \(outcome)")
    }
}
