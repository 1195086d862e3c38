import Coordination
import EsperTypes

// Watches are served from this node's applied state; slow readers are served again from history.
extension NodeCore {
    /// Bytes of events that may be on their way to one watcher.
    private static let watchWindowBytes = 1 << 20
    /// How much history one turn looks at for watchers that are behind; the rest follows in the next turns.
    private static let catchUpEvents = 4096

    func beginWatch(_ request: WatchRequest, _ caller: Caller, connection: UInt64?) {
        guard watches.count < options.maximumWatches else {
            return fail(
                caller, .tooManyWatches, "this node serves \(watches.count) watches already", .notCommitted)
        }
        if let connection, watches.count(of: connection) >= options.maximumWatchesPerConnection {
            return fail(
                caller, .tooManyWatches,
                "this connection has \(options.maximumWatchesPerConnection) watches already; open another one",
                .notCommitted)
        }
        let id = watches.add(request, credit: Self.watchWindowBytes, reader: connection, at: state.revision)
        watchCallers[id] = caller
        cancellable[CallerKey(caller.sink, caller.token)] = .watch(id)
    }

    func watchCredit(_ key: CallerKey, _ bytes: Int) {
        guard case .watch(let id)? = cancellable[key] else { return }
        watches.addCredit(bytes, to: id)
        scheduleTurn()
    }

    /// Says how far a watch has come, behind whatever is on its way to it already.
    func watchProgress(_ key: CallerKey) {
        guard case .watch(let id)? = cancellable[key], let through = watches.progress(of: id) else { return }
        deliveries.append(WatchDelivery(watcher: id, content: .events([], continues: false), through: through))
        scheduleTurn()
    }

    /// Hands out what the watchers' windows allow: new events, and some history to those that are behind; what of that is left waits for
    /// links and timers, see `restIfWorkIsLeft`.
    func releaseWatches() {
        if watches.needsCatchUp {
            watches.catchUp(from: state, maximumEvents: Self.catchUpEvents, into: &deliveries)
        }
        for delivery in deliveries {
            guard let caller = watchCallers[delivery.watcher] else { continue }
            if case .compacted(let revision) = delivery.content {
                watchCallers[delivery.watcher] = nil
                cancellable[CallerKey(caller.sink, caller.token)] = nil
                reply(
                    caller,
                    .failed(
                        ServiceFailure(
                            code: .compacted,
                            message: "required revision has been compacted; the lowest readable is \(revision)",
                            outcome: .notCommitted, compacted: revision)))
            } else {
                reply(caller, .watch(delivery))
            }
        }
        deliveries.removeAll(keepingCapacity: true)
    }
}
