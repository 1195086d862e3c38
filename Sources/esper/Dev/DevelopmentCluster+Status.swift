import EsperClient
import EsperTypes

/// Asking the nodes of this host how they are.
extension DevelopmentCluster {
    /// Does `body` with a client that knows one node alone.
    ///
    /// - Throws: ``CommandFailure``.
    func withClient<Value>(
        of node: Node, timeout: Duration = .seconds(2), _ body: (EsperClient) async throws -> Value
    ) async throws -> Value {
        do {
            let settings = ClientSettings(
                endpoints: ["127.0.0.1:\(node.apiPort)"], authority: keys.trustPath,
                certificate: keys.certificatePath(Self.clientName), privateKey: keys.keyPath(Self.clientName))
            var options = Connecting.options(timeout: timeout)
            options.connectTimeout = min(options.connectTimeout, timeout)
            // It is this node that is asked, whoever leads.
            options.followsLeader = false
            let client = try EsperClient(settings, options: options)
            defer { client.close() }
            return try await body(client)
        } catch let error as EsperError {
            throw CommandFailure(error)
        }
    }

    /// What every node that runs and is not paused says; nil for the others.
    func views(timeout: Duration = .seconds(1)) async -> [(node: Node, view: ClusterView?)] {
        await withTaskGroup(of: (Int, ClusterView?).self) { group in
            for (position, node) in nodes.enumerated() {
                group.addTask {
                    guard state(of: node) == .running else { return (position, nil) }
                    // Not answering is an answer: whoever asks sees the process too.
                    return (position, try? await withClient(of: node, timeout: timeout) { try await $0.status() })
                }
            }
            var views = [ClusterView?](repeating: nil, count: nodes.count)
            for await (position, view) in group { views[position] = view }
            return zip(nodes, views).map { ($0, $1) }
        }
    }

    /// The node that leads, by the word of the node with the highest term; nil when none does.
    func leader() async -> Node? {
        let newest = await views().compactMap(\.view).max { $0.term < $1.term }
        return newest.flatMap { view in nodes.first { $0.name == view.leader } }
    }

    /// The node of a name, or whoever leads at present for `leader`.
    func node(of target: String) async throws -> Node {
        guard target == "leader" else { return try node(named: target) }
        guard let leader = await leader() else {
            throw CommandFailure("no node leads at present; 'esper dev status' shows what runs")
        }
        return leader
    }

    /// Waits until every node answers, all name the same leader and reach one another, and have applied what is committed.
    ///
    /// - Throws: ``CommandFailure``: `timedOut`, or at once when a node's process has ended.
    func waitUntilReady(for limit: WrittenDuration) async throws -> ClusterView {
        let start = MonotonicClock.nanoseconds()
        while true {
            let views = await views().map(\.view)
            if let view = agreement(views) { return view }
            for node in nodes where state(of: node) == .down {
                throw CommandFailure("\(node.name) ended: \(lastWords(of: node)) (\(logPath(of: node)))")
            }
            guard MonotonicClock.nanoseconds() - start < UInt64(limit.duration.nanoseconds) else {
                let silent = zip(nodes, views).filter { $0.1 == nil }.map(\.0.name)
                let reason =
                    silent.isEmpty
                    ? "the nodes name no common leader, or do not reach one another"
                    : "\(silent.joined(separator: ", ")) does not answer"
                throw CommandFailure(.timedOut, "not ready within \(limit): \(reason); see \(directory)/n*/node.log")
            }
            try await Task.sleep(for: .milliseconds(50))
        }
    }

    /// Waits until the node answers a linearizable get, for which it has to have read its log and caught up.
    func waitUntilServing(_ node: Node) async throws {
        let limit = MonotonicClock.nanoseconds() + 120_000_000_000
        while MonotonicClock.nanoseconds() < limit {
            do {
                return try await withClient(of: node, timeout: .milliseconds(500)) { client in
                    _ = try await client.get(Bytes.of("restart/ready"))
                }
            } catch {
                guard state(of: node) != .down else {
                    throw CommandFailure("\(node.name) ended: \(lastWords(of: node))")
                }
                try await Task.sleep(for: .milliseconds(5))
            }
        }
        throw CommandFailure(.timedOut, "\(node.name) did not serve within two minutes; see \(logPath(of: node))")
    }

    /// The leader's view, when all agree.
    private func agreement(_ views: [ClusterView?]) -> ClusterView? {
        let known = views.compactMap { $0 }
        guard known.count == nodes.count, let leader = known.first?.leader, !leader.isEmpty,
            known.allSatisfy({ $0.leader == leader && $0.term == known[0].term }),
            let view = known.first(where: { $0.answeredBy == leader }),
            known.allSatisfy({ $0.members.allSatisfy { $0.isReachable && !$0.version.isEmpty } }),
            known.allSatisfy({ $0.appliedIndex >= view.term && $0.appliedIndex > 0 })
        else { return nil }
        return view
    }
}
