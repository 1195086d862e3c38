internal import Synchronization

/// The map of slots, known to all that route by it; nil until a server says that it is one of a cluster.
final class SharedMap: Sendable {
    private let map = Mutex<SlotMap?>(nil)

    var isCluster: Bool { map.withLock { $0 != nil } }

    var masters: [RedisSettings.Endpoint]? { map.withLock { $0?.masters } }

    func owner(of slot: Int) -> RedisSettings.Endpoint? { map.withLock { $0?[slot] } }

    /// Takes a server's answer to CLUSTER SLOTS.
    ///
    /// - Returns: false, and keeps what there was, when it is none.
    @discardableResult
    func learn(_ slots: RedisReply?, from asked: RedisSettings.Endpoint) -> Bool {
        guard let learned = slots.flatMap({ SlotMap($0, from: asked) }), !learned.masters.isEmpty else { return false }
        map.withLock { $0 = learned }
        return true
    }

    /// As above, but keeps what there is: a server that was just connected to may have missed what others told.
    func learnFirst(_ slots: RedisReply?, from asked: RedisSettings.Endpoint) {
        if !isCluster { learn(slots, from: asked) }
    }

    func move(_ slot: Int, to owner: RedisSettings.Endpoint) {
        map.withLock { map in
            var changed = map ?? SlotMap()
            changed.move(slot, to: owner)
            map = changed
        }
    }
}
