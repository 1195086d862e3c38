import DequeModule
public import EsperTypes

/// Who watches what on this node, and how far each watcher has been served.
///
/// A watcher is *current* while it has been given everything and has credit, and *behind* otherwise: it asked for the
/// past, or its reader is slow. Those behind are served from the state machine's history by ``catchUp(from:maximumEvents:into:)``
/// while they have credit, so a slow reader costs no memory. Each watcher sees every matching event once, in order.
///
/// Watchers that share a reader (the watches of one connection) also share what may be on the way to it, so that a thousand
/// watches that nobody reads cost no more than a few. One that has nothing on the way is always given its next revision:
/// those that are not read hold up none that is.
public struct WatchRegistry: Sendable {
    private struct Watcher: Sendable {
        var request: WatchRequest
        /// Bytes that may still be delivered; the last delivery may overdraw it.
        var credit: Int
        /// Whom it shares its reader's window with.
        var reader: UInt64?
        /// Delivered and not given back.
        var undelivered = 0
        /// The revision it was given an event of last: the rest of that one follows, whatever it costs.
        var begun = Revision.zero
        /// The revision it has to be told next, while behind.
        var next: Revision
        /// How many events of the revision `next` it has been given already.
        var skipped = 0
        var isBehind: Bool
        /// In `ready`: behind, with credit.
        var isQueued = false
        /// In `waiting` of its reader: behind, with credit of its own.
        var isWaiting = false
        /// Position + 1 in the deliveries of the current publication.
        var delivery = 0
    }

    /// Who reads several watches by one connection.
    private struct Reader: Sendable {
        var watches = 0
        /// Delivered to all of them and not given back.
        var undelivered = 0
        /// Those that would be served if there were room.
        var waiting: [WatchID] = []
    }

    /// The most bytes in one delivery: what exceeds it comes in further ones.
    private static let deliveryBytes = 1 << 20

    private let readerBytes: Int
    private var watchers: [WatchID: Watcher] = [:]
    private var readers: [UInt64: Reader] = [:]
    private var index = WatchIndex()
    private var lastID: UInt64 = 0
    /// Behind and with credit, the longest waiting first. Those that went since are passed over.
    private var ready: Deque<WatchID> = []
    /// Watchers that used their credit up in the revision being published.
    private var overdrawn: [WatchID] = []
    /// Everything up to here has been published.
    private var published = Revision.zero

    /// - Parameter readerBytes: how much may be on the way to one reader, beyond one revision for each of its watches.
    public init(readerBytes: Int = .max) { self.readerBytes = readerBytes }

    public var count: Int { watchers.count }

    /// Bytes on the way to all watchers: delivered, and not given back by ``addCredit(_:to:)``.
    public private(set) var undeliveredBytes = 0

    /// How many watches a reader has.
    public func count(of reader: UInt64) -> Int { readers[reader]?.watches ?? 0 }

    /// Whether ``catchUp(from:maximumEvents:into:)`` has something to do.
    public var needsCatchUp: Bool { !ready.isEmpty }

    /// Adds a watcher. One that asks for the past gets it through ``catchUp(from:maximumEvents:into:)``.
    ///
    /// - Parameters:
    ///   - credit: how many bytes (``WatchEvent/cost``) may be delivered before ``addCredit(_:to:)``. The revision that
    ///     uses the credit up is still delivered whole.
    ///   - reader: names whom it shares a reader with; nil: it has one of its own.
    ///   - revision: the state machine's, all of whose events have been published.
    public mutating func add(
        _ request: WatchRequest, credit: Int, reader: UInt64? = nil, at revision: Revision
    ) -> WatchID {
        lastID += 1
        published = max(published, revision)
        let watcher = WatchID(rawValue: lastID)
        let first = request.fromRevision == .zero ? revision.next : request.fromRevision
        let isBehind = first <= revision || credit <= 0
        watchers[watcher] = Watcher(
            request: request, credit: credit, reader: reader, next: first, isBehind: isBehind)
        if let reader { readers[reader, default: Reader()].watches += 1 }
        index.add(watcher, request.range)
        enqueue(watcher)
        return watcher
    }

    public mutating func remove(_ watcher: WatchID) {
        guard let removed = watchers.removeValue(forKey: watcher) else { return }
        index.remove(watcher, removed.request.range)
        if removed.isQueued { ready.removeAll { $0 == watcher } }
        undeliveredBytes -= removed.undelivered
        guard let reader = removed.reader else { return }
        readers[reader]?.watches -= 1
        if removed.isWaiting { readers[reader]?.waiting.removeAll { $0 == watcher } }
        giveRoom(removed.undelivered, to: reader)
        if readers[reader]?.watches == 0 { readers[reader] = nil }
    }

    /// The reader has taken `bytes` more.
    public mutating func addCredit(_ bytes: Int, to watcher: WatchID) {
        guard let taken = watchers[watcher].map({ min(bytes, $0.undelivered) }) else { return }
        watchers[watcher]!.credit += bytes
        watchers[watcher]!.undelivered -= taken
        undeliveredBytes -= taken
        enqueue(watcher)
        if let reader = watchers[watcher]?.reader { giveRoom(taken, to: reader) }
    }

    /// Those that wait go on once half of the window is free, so that each byte given back does not wake them all.
    private mutating func giveRoom(_ bytes: Int, to reader: UInt64) {
        guard let left = readers[reader].map({ $0.undelivered - bytes }) else { return }
        readers[reader]!.undelivered = left
        guard left < readerBytes / 2, !readers[reader]!.waiting.isEmpty else { return }
        let waiting = readers[reader]!.waiting
        readers[reader]!.waiting = []
        for id in waiting {
            watchers[id]!.isWaiting = false
            enqueue(id)
        }
    }

    /// Whether the window of its reader lets a watcher begin another revision.
    private func hasRoom(_ watcher: Watcher) -> Bool {
        guard watcher.undelivered > 0, let reader = watcher.reader else { return true }
        return (readers[reader]?.undelivered ?? 0) < readerBytes
    }

    private mutating func delivered(_ bytes: Int, to reader: UInt64?) {
        undeliveredBytes += bytes
        if let reader { readers[reader]?.undelivered += bytes }
    }

    /// Everything up to and with this revision has been delivered to the watcher, as far as it matches: for progress notices.
    public func progress(of watcher: WatchID) -> Revision? {
        watchers[watcher].map { $0.isBehind ? min($0.next.previous, published) : published }
    }

    // MARK: The present

    /// Tells the watchers what applying has changed.
    ///
    /// - Parameters:
    ///   - events: ``ApplyOutput/events``, all of them, in order.
    ///   - revision: the state machine's after them.
    public mutating func publish(
        _ events: [WatchEvent], through revision: Revision, into deliveries: inout [WatchDelivery]
    ) {
        defer { published = max(published, revision) }
        if watchers.isEmpty { return }
        let start = deliveries.count
        var position = 0
        // One revision at a time, because a watcher may fall behind only between two.
        while position < events.count {
            let at = events[position].revision
            var end = position
            while end < events.count, events[end].revision == at { end += 1 }
            for event in events[position..<end] { offer(event, start, &deliveries) }
            settle(at)
            position = end
        }
        for slot in start..<deliveries.count {
            watchers[deliveries[slot].watcher]?.delivery = 0
            if case .events = deliveries[slot].content, watchers[deliveries[slot].watcher]?.isBehind == false {
                deliveries[slot].through = max(deliveries[slot].through, revision)
            }
        }
    }

    private mutating func offer(_ event: WatchEvent, _ start: Int, _ deliveries: inout [WatchDelivery]) {
        index.forEachWatcher(of: event.key) { id in
            guard let watcher = watchers[id], !watcher.isBehind, event.revision >= watcher.next,
                let shown = watcher.request.shown(event)
            else { return }
            guard watcher.begun == event.revision || hasRoom(watcher) else {
                watchers[id]!.isBehind = true
                watchers[id]!.next = event.revision
                watchers[id]!.skipped = 0
                return enqueue(id)
            }
            if watcher.credit > 0, watcher.credit <= shown.cost { overdrawn.append(id) }
            watchers[id]!.credit -= shown.cost
            watchers[id]!.undelivered += shown.cost
            watchers[id]!.begun = event.revision
            delivered(shown.cost, to: watcher.reader)
            if watcher.delivery > 0, case .events(var told, _) = deliveries[start + watcher.delivery - 1].content {
                // Taken out before it is appended to, so that it grows in place.
                deliveries[start + watcher.delivery - 1].content = .events([], continues: false)
                told.append(shown)
                deliveries[start + watcher.delivery - 1].content = .events(told, continues: false)
                deliveries[start + watcher.delivery - 1].through = event.revision
            } else {
                deliveries.append(
                    WatchDelivery(
                        watcher: id, content: .events([shown], continues: false), through: event.revision))
                watchers[id]!.delivery = deliveries.count - start
            }
        }
    }

    /// After a revision, whoever has overdrawn is behind from the next one on.
    private mutating func settle(_ revision: Revision) {
        for id in overdrawn {
            watchers[id]!.isBehind = true
            watchers[id]!.next = revision.next
            watchers[id]!.skipped = 0
        }
        overdrawn.removeAll(keepingCapacity: true)
    }

    /// The state machine was replaced by a snapshot's: whatever happened in between is in its history, or compacted.
    ///
    /// - Parameter revision: the new state machine's.
    public mutating func stateRestored(at revision: Revision) {
        for id in watchers.keys.sorted() where !watchers[id]!.isBehind {
            watchers[id]!.isBehind = true
            watchers[id]!.next = max(watchers[id]!.next, published.next)
            enqueue(id)
        }
        published = revision
    }

    // MARK: The past

    /// Serves watchers that are behind, the longest waiting first.
    ///
    /// - Parameters:
    ///   - state: at the revision last published.
    ///   - maximumEvents: how many events of history may be looked at before returning.
    public mutating func catchUp(
        from state: StateMachine, maximumEvents: Int, into deliveries: inout [WatchDelivery]
    ) {
        published = max(published, state.revision)
        var budget = maximumEvents
        while budget > 0, !ready.isEmpty {
            let id = ready.removeFirst()
            watchers[id]!.isQueued = false
            budget -= serve(id, from: state, budget, &deliveries)
            enqueue(id)
        }
    }

    /// Gives one watcher what its credit, one delivery and the budget allow.
    ///
    /// - Returns: how many events were looked at; at least 1.
    private mutating func serve(
        _ id: WatchID, from state: StateMachine, _ budget: Int, _ deliveries: inout [WatchDelivery]
    ) -> Int {
        var watcher = watchers[id]!
        // Whoever has had a part of the compacted revision cannot be given the rest: its order is another now.
        let isCut = watcher.skipped > 0 && watcher.next == state.compactedRevision
        if isCut || watcher.next < state.keyspace.watchable {
            deliveries.append(
                WatchDelivery(
                    watcher: id, content: .compacted(at: state.compactedRevision), through: watcher.next.previous))
            remove(id)
            return 1
        }
        var told: [WatchEvent] = []
        var bytes = 0
        var looked = 1
        var continues = false
        var through = watcher.next.previous
        var isDone = true
        for (at, changes) in state.keyspace.log.cursor(from: watcher.next.rawValue) {
            if looked > budget || watcher.credit <= 0 || bytes >= Self.deliveryBytes || !hasRoom(watcher) {
                isDone = false
                break
            }
            let isCompacted = at == state.compactedRevision.rawValue
            let events = isCompacted ? Keyspace.cut(changes.events) : changes.events
            var given = 0
            for event in events.dropFirst(watcher.skipped) {
                // Within a revision a delivery may end only at its size.
                if bytes >= Self.deliveryBytes {
                    continues = true
                    break
                }
                given += 1
                looked += 1
                guard watcher.request.range.contains(event.key), let shown = watcher.request.shown(event) else {
                    continue
                }
                bytes += shown.cost
                watcher.credit -= shown.cost
                watcher.undelivered += shown.cost
                delivered(shown.cost, to: watcher.reader)
                told.append(shown)
            }
            through = Revision(at)
            if continues {
                watcher.skipped += given
                watcher.next = Revision(at)
                isDone = false
                break
            }
            watcher.skipped = 0
            watcher.next = Revision(at + 1)
        }
        if isDone, watcher.credit > 0 {
            watcher.isBehind = false
            through = max(through, state.revision)
        }
        watchers[id] = watcher
        if !told.isEmpty {
            deliveries.append(
                WatchDelivery(watcher: id, content: .events(told, continues: continues), through: through))
        }
        return looked
    }

    private mutating func enqueue(_ id: WatchID) {
        guard let watcher = watchers[id], watcher.isBehind, watcher.credit > 0, !watcher.isQueued else { return }
        guard hasRoom(watcher) else {
            guard !watcher.isWaiting, let reader = watcher.reader else { return }
            watchers[id]!.isWaiting = true
            readers[reader]?.waiting.append(id)
            return
        }
        watchers[id]!.isQueued = true
        ready.append(id)
    }
}

extension WatchRequest {
    /// The event as the watcher wants to see it; `nil` when it does not.
    fileprivate func shown(_ event: WatchEvent) -> WatchEvent? {
        if event.isDeletion ? skipsDeletions : skipsPuts { return nil }
        return includesPrevious ? event : WatchEvent(keyValue: event.keyValue, previous: nil)
    }
}
