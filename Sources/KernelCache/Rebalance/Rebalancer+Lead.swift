import CacheCore
import EsperTypes
import Logging
import RaftRuntime
import Synchronization

// What the leader does for all.
extension Rebalancer {
    private static let askLimit = Duration.seconds(1)
    private static let proposalLimit = Duration.seconds(5)

    /// Twice a second, and when a report or the map brings news.
    func lead() async {
        var (steppedAt, seen): (Instant?, MapEpoch?) = (nil, nil)
        while !Task.isCancelled {
            let now = NodeClock.now()
            let isDue =
                steppedAt.map { now - $0 >= parts.options.nodeLease / 4 } ?? true
                || parts.names.appliedMap?.epoch != seen
                || state.withLock { state in
                    defer { state.hasNews = false }
                    return state.hasNews
                }
            if isDue {
                (steppedAt, seen) = (now, parts.names.appliedMap?.epoch)
                await step()
            }
            await pause(at: leading)
        }
    }

    private func step() async {
        let asked = NodeClock.now()
        let deadline = asked + Self.askLimit
        guard let leadership = await parts.names.leadership(deadline: deadline), leadership.leader == me else {
            return state.withLock { $0.term = nil }
        }
        begin(leadership.term)
        // No answer: nothing is confirmed, and leases run out.
        guard let read = try? await parts.names.confirmedMap(deadline: deadline) as ShardMap?? else { return }
        let map = read ?? nil
        // Still the leader of the same term: so it was all the time, and the quorum that was asked followed it.
        guard let after = await parts.names.leadership(deadline: deadline), after.leader == me,
            after.term == leadership.term
        else { return }
        for command in decide(map, asked: asked) {
            do throws(CacheFailure) {
                _ = try await parts.names.propose(
                    command, principal: nil, deadline: NodeClock.now() + Self.proposalLimit)
            } catch {
                // The next step finds out what became of it.
                parts.logger.debug("a change of the shard map was not made", metadata: ["error": "\(error)"])
                return
            }
        }
    }

    /// A new leader begins with nothing: what it needs is in the map and in the next reports.
    private func begin(_ term: UInt64) {
        state.withLock { state in
            guard state.term != term else { return }
            state.term = term
            state.book = LeaseBook(length: parts.options.nodeLease)
            state.driver = RebalanceDriver(options: parts.options.moves)
            state.said = [:]
        }
    }

    private func decide(_ map: ShardMap?, asked: Instant) -> [MapCommand] {
        let now = NodeClock.now()
        let enrolled = parts.placements.members
        return state.withLock { state in
            state.book.confirmed(map, asked: asked, answered: now)
            // Without a map: when everybody has come and can act by it, or nobody is to be waited for any more.
            if map == nil, !state.book.knowsAll(at: now),
                !enrolled.allSatisfy({ state.said[$0.id] != nil && state.book.mayHoldLease($0.id, at: now) })
            {
                return []
            }
            var members: [RebalanceDriver.Member] = []
            var commands: [MapCommand] = []
            for member in enrolled {
                let (host, said) = (map?.host(member.id), state.said[member.id])
                // One that has never reported keeps no cache.
                guard host != nil || said != nil else { continue }
                members.append(
                    .init(
                        id: member.id, weight: said?.weight ?? host?.weight ?? 100, zone: member.zone,
                        isAlive: state.book.isAlive(member.id, at: now)))
                if let host, let said, host.isDraining != said.isDraining {
                    commands.append(.setDraining(member.id, said.isDraining))
                }
            }
            if let map, map.copies != parts.options.copies { commands.append(.setCopies(parts.options.copies)) }
            commands += state.driver.step(map: map, members: members, copies: parts.options.copies, at: now)
            for command in commands {
                switch command {
                case .down(let node, let seen): state.book.bury(node, seen: seen)
                case .remove(let node): state.book.bury(node, seen: map?.host(node)?.epoch ?? .zero)
                default: break
                }
            }
            return commands
        }
    }

    /// A report of a member. - Returns: nil: this node does not lead.
    func take(_ report: PeerReport, from node: NodeID) -> PeerReportReply? {
        let now = NodeClock.now()
        return state.withLock { state in
            guard state.term != nil else { return nil }
            var report = report
            if !report.hasLoads { report.said.loads = state.said[node]?.said.loads ?? [:] }
            if state.said[node] != report {
                state.hasNews = true
                leading.ring()
            }
            state.said[node] = report
            state.driver.reported(report.said, by: node)
            let grant = state.book.heard(node, at: now)
            return PeerReportReply(lease: grant?.length, base: grant?.base ?? .zero)
        }
    }
}
