import Coordination
import EsperTypes

/// Whoever watches keys: it reads at its own pace, and goes on at another node where it was cut off.
struct Watcher {
    let index: Int
    var cursor: WatchOracle.Cursor
    /// Where it watches, and which connection that is: what comes from an earlier one is not read any more.
    var node: Int
    var connection: UInt32 = 0
    /// When the last delivery arrives; they stay in order.
    var lastArrival: UInt64 = 0
}

extension Simulator {
    func beginWatchers() {
        for watcher in watchers.indices {
            clock.schedule(.connect(watcher), after: UInt64(random.int(in: 0...500_000_000)))
        }
    }

    /// Connects, or connects anew somewhere else.
    func connect(_ index: Int) {
        let node = nodes[random.int(in: 0...plan.nodes - 1)]
        watchers[index].connection += 1
        watchers[index].node = node.index
        guard node.isUp, !node.isPaused else {
            clock.schedule(.connect(index), after: UInt64(random.int(in: 1_000_000...50_000_000)))
            return
        }
        let from = mutant == .watchesBeginAtPresent ? .zero : watchers[index].cursor.through.next
        say("w\(index) watches at n\(node.index + 1) from \(from)")
        let id = node.replica.watches.add(
            WatchRequest(watchers[index].cursor.range, fromRevision: from), credit: plan.watchCredit,
            at: node.replica.state.revision)
        node.watching[id] = (index, watchers[index].connection)
        scheduleTurn(node)
    }

    /// The node is gone: its watchers notice sooner or later.
    func disconnectWatchers(of node: Node) {
        for (_, watching) in node.watching.sorted(by: { $0.key < $1.key })
        where watchers[watching.watcher].connection == watching.connection {
            watchers[watching.watcher].connection += 1
            clock.schedule(.connect(watching.watcher), after: UInt64(random.int(in: 1_000_000...200_000_000)))
        }
        node.watching = [:]
    }

    /// Hands out what the watchers' windows allow: new events, and history to those that are behind.
    func releaseWatches(_ node: Node) {
        if node.replica.watches.isBehind() {
            node.replica.catchUp(maximumEvents: random.int(in: 1...32), into: &node.deliveries)
            if node.replica.watches.isBehind() { scheduleTurn(node) }
        }
        guard !node.deliveries.isEmpty else { return }
        for delivery in node.deliveries {
            if mutant == .watchesSkipCompacted, case .compacted(let at) = delivery.content {
                goOn(after: at, delivery.watcher, at: node)
                continue
            }
            guard let (watcher, connection) = node.watching[delivery.watcher] else { continue }
            let time = max(watchers[watcher].lastArrival, clock.now + clientDelay())
            watchers[watcher].lastArrival = time
            clock.schedule(.watched(watcher, connection: connection, delivery), at: time)
        }
        node.deliveries.removeAll(keepingCapacity: true)
    }

    func watched(
        _ index: Int, connection: UInt32, _ delivery: WatchDelivery
    ) throws(SimulationFailure) {
        guard watchers[index].connection == connection else { return }
        let events: [WatchEvent]
        let continues: Bool
        switch delivery.content {
        case .events(let some, let more): (events, continues) = (some, more)
        case .compacted(let at):
            // It is gone there; what it has missed is lost to it, and it begins anew behind.
            say("w\(index) is told that history begins after \(at)")
            counters.watchGaps += 1
            try oracles.watches.toldOfCompaction(
                at: at, through: delivery.through, to: "w\(index)", at: &watchers[index].cursor)
            nodes[watchers[index].node].watching[delivery.watcher] = nil
            return connect(index)
        }
        try oracles.watches.told(
            events, continues: continues, through: delivery.through, to: "w\(index)", at: &watchers[index].cursor)
        if !isHealed, !continues, random.chance(1, in: 40) {
            nodes[watchers[index].node].replica.watches.remove(delivery.watcher)
            nodes[watchers[index].node].watching[delivery.watcher] = nil
            return connect(index)
        }
        let bytes = events.reduce(0) { $0 + $1.cost }
        let delay = random.chance(1, in: 8) ? random.int(in: 0...100_000_000) : random.int(in: 20_000...1_000_000)
        clock.schedule(
            .credit(node: watchers[index].node, life: nodes[watchers[index].node].life, delivery.watcher, bytes),
            after: UInt64(delay))
    }

    /// What a broken registry would do with a watcher that is behind what was compacted.
    private func goOn(after revision: Revision, _ id: WatchID, at node: Node) {
        guard let watching = node.watching.removeValue(forKey: id) else { return }
        let new = node.replica.watches.add(
            WatchRequest(watchers[watching.watcher].cursor.range, fromRevision: revision.next),
            credit: plan.watchCredit, at: node.replica.state.revision)
        node.watching[new] = watching
        scheduleTurn(node)
    }

    func credit(_ node: Node, _ watcher: WatchID, _ bytes: Int) {
        node.replica.watches.addCredit(bytes, to: watcher)
        scheduleTurn(node)
    }
}
