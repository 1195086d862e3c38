public import EsperTypes

/// Who watches what on this node, and how far each watcher has been served.
///
/// A watcher is *current* while it has been given everything and has credit, and *behind* otherwise: it asked for the
/// past, or its reader is slow. Those behind are served from the state machine's history by ``catchUp(from:maximumEvents:into:)``
/// while they have credit, so a slow reader costs no memory. Each watcher sees every matching event once, in order.
public struct WatchRegistry: Sendable {
    public init() {}

    public var count: Int { 0 }

    /// Whether ``catchUp(from:maximumEvents:into:)`` has something to do.
    public var needsCatchUp: Bool { false }

    /// Adds a watcher. One that asks for the past gets it through ``catchUp(from:maximumEvents:into:)``.
    ///
    /// - Parameters:
    ///   - credit: how many bytes (``WatchEvent/cost``) may be delivered before ``addCredit(_:to:)``. The event that uses
    ///     the credit up is still delivered whole.
    ///   - revision: the state machine's.
    public mutating func add(_ request: WatchRequest, credit: Int, at revision: Revision) -> WatchID {
        WatchID(rawValue: 0)
    }

    public mutating func remove(_ watcher: WatchID) {}

    /// The reader has taken `bytes` more.
    public mutating func addCredit(_ bytes: Int, to watcher: WatchID) {}

    /// Tells the watchers what applying has changed.
    ///
    /// - Parameters:
    ///   - events: ``ApplyOutput/events``, all of them, in order.
    ///   - revision: the state machine's after them.
    public mutating func publish(
        _ events: [WatchEvent], through revision: Revision, into deliveries: inout [WatchDelivery]
    ) {}

    /// Serves watchers that are behind, the longest waiting first.
    ///
    /// - Parameters:
    ///   - state: at the revision last published.
    ///   - maximumEvents: how many events of history may be looked at before returning.
    public mutating func catchUp(
        from state: StateMachine, maximumEvents: Int, into deliveries: inout [WatchDelivery]
    ) {}

    /// Everything up to and with this revision has been delivered to the watcher, as far as it matches: for progress notices.
    public func progress(of watcher: WatchID) -> Revision? { nil }
}
