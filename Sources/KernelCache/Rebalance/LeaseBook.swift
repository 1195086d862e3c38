package import CacheCore
package import EsperTypes

/// The leader's side of ``NodeLease``: who may hold one, and who is therefore alive or dead.
///
/// - Every lease rests on a *confirmation*: a moment at which a quorum still followed this leader. Whoever is elected later was
///   elected after that moment, waits for one length, and only then calls anybody dead: by then the leases have ended.
/// - A node that is about to be declared dead is given no lease until the map tells what became of the declaration.
package struct LeaseBook: Sendable {
    package struct Grant: Hashable, Sendable {
        /// From when the node asked.
        package var length: Duration
        package var base: MapEpoch
    }

    let length: Duration
    /// The last confirmation, and the map as of then.
    private var confirmed: (at: Instant, map: MapEpoch)?
    /// Since when no lease can begin that this leader has not given.
    private var leadsSince: Instant?
    private var granted: [NodeID: Instant] = [:]
    private var heard: [NodeID: Instant] = [:]
    /// Hosts that a command under way declares dead, with the version of theirs that it names.
    private var buried: [NodeID: MapEpoch] = [:]

    /// What a node does not use of a lease, since clocks differ.
    private var margin: Duration { length / 20 + .milliseconds(10) }

    package init(length: Duration) { self.length = length }

    /// The map was read so that a quorum confirmed this leader in between.
    ///
    /// - Parameters:
    ///   - asked: before the question left.
    ///   - answered: after the answer came.
    package mutating func confirmed(_ map: ShardMap?, asked: Instant, answered: Instant) {
        confirmed = (asked, map?.epoch ?? .zero)
        if leadsSince == nil { leadsSince = answered }
        buried = buried.filter { node, seen in map?.host(node).map { $0.epoch == seen && !$0.isDown } ?? false }
    }

    /// A report came from the node. - Returns: nil when no lease can be given now.
    package mutating func heard(_ node: NodeID, at now: Instant) -> Grant? {
        heard[node] = now
        guard let confirmed, buried[node] == nil else { return nil }
        let left = length - (now - confirmed.at) - margin
        guard left > .zero else { return nil }
        granted[node] = max(granted[node] ?? .zero, confirmed.at + length)
        return Grant(length: left, base: confirmed.map)
    }

    /// A command goes out that declares the host, as of `epoch`, dead.
    package mutating func bury(_ node: NodeID, seen epoch: MapEpoch) { buried[node] = epoch }

    /// - Returns: nil: it is not known yet.
    package func isAlive(_ node: NodeID, at now: Instant) -> Bool? {
        if buried[node] != nil { return false }
        if let last = heard[node], now - last < length { return true }
        if let end = granted[node], now < end { return nil }
        return knowsAll(at: now) ? false : nil
    }

    package func mayHoldLease(_ node: NodeID, at now: Instant) -> Bool { granted[node].map { now < $0 } ?? false }

    /// Whether leases that an earlier leader gave have ended.
    package func knowsAll(at now: Instant) -> Bool { leadsSince.map { now - $0 > length + margin } ?? false }
}
