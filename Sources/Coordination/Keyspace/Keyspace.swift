package import EsperTypes

/// Keys and their versions: what is now, what was since the last compaction, and which change made it so.
///
/// Three trees share the versions: `live` by key, `superseded` by key and revision (deletions included), and `log` by
/// revision. Nothing is written twice, and forgetting history is a walk along the log.
package struct Keyspace: Sendable {
    /// The changes of one revision, almost always one.
    package enum Changes: Sendable {
        case one(WatchEvent)
        case many([WatchEvent])

        package var events: [WatchEvent] {
            switch self {
            case .one(let event): [event]
            case .many(let events): events
            }
        }
    }

    package var live = Tree<[UInt8], KeyValue>()
    /// Versions that are no longer live and deletions, at their own revision; at most those that a revision from
    /// `compacted` on can see, and what `trim` has not reached.
    package var superseded = Tree<NumberedKey, KeyValue>()
    package var log = Tree<UInt64, Changes>()
    /// Keys by the session that holds them: eight bytes of the session, then the key.
    package var attachments = Tree<[UInt8], Bool>()
    package var revision = Revision(1)
    package var compacted = Revision.zero
    /// The lowest revision whose changes can be told.
    package var watchable = Revision.zero
    /// The changes of the compacted revision are in `log` as ``cut(_:)`` leaves them.
    private var isCompactedEntryCut = false
    /// Bytes of live keys and values.
    package var liveBytes = 0
    /// The changes of the revision in the making.
    private var pending: [WatchEvent] = []

    package init() {}

    /// Whether the revision in the making has changes.
    package var hasPending: Bool { !pending.isEmpty }

    /// The revision that the next commit makes.
    package var upcoming: Revision { revision.next }

    // MARK: Changes

    /// Writes a key as part of the upcoming revision.
    ///
    /// - Returns: the version it replaces.
    @discardableResult
    package mutating func put(_ key: [UInt8], _ value: [UInt8], session: SessionID) -> KeyValue? {
        let at = upcoming
        var written: KeyValue!
        let previous = live.upsert(key) { kept, old in
            written = KeyValue(
                KeyValue.Storage(
                    key: kept, value: value, createRevision: old?.createRevision ?? at, modRevision: at,
                    version: (old?.version ?? 0) + 1, session: session))
            return written
        }
        if let previous {
            superseded.set(NumberedKey(previous.key, previous.modRevision.rawValue), previous)
            liveBytes += value.count - previous.value.count
            if previous.storage.session != session { detach(previous) }
        } else {
            liveBytes += key.count + value.count
        }
        if session != KeyValue.noSession, previous?.storage.session != session {
            attachments.set(Self.attachment(session, written.key), true)
        }
        pending.append(WatchEvent(keyValue: written, previous: previous))
        return previous
    }

    /// Deletes a key as part of the upcoming revision.
    @discardableResult
    package mutating func delete(_ key: [UInt8]) -> KeyValue? {
        guard let previous = live.remove(key) else { return nil }
        let deletion = KeyValue(
            KeyValue.Storage(
                key: previous.key, value: [], createRevision: .zero, modRevision: upcoming, version: 0,
                session: KeyValue.noSession))
        superseded.set(NumberedKey(previous.key, previous.modRevision.rawValue), previous)
        superseded.set(NumberedKey(previous.key, upcoming.rawValue), deletion)
        liveBytes -= previous.key.count + previous.value.count
        detach(previous)
        pending.append(WatchEvent(keyValue: deletion, previous: previous))
        return previous
    }

    /// Makes the pending changes a revision, if there are any, and tells of them.
    package mutating func commit(into events: inout [WatchEvent]) {
        switch pending.count {
        case 0: return
        case 1: log.set(upcoming.rawValue, .one(pending[0]))
        default: log.set(upcoming.rawValue, .many(pending))
        }
        revision = upcoming
        events.append(contentsOf: pending)
        pending.removeAll(keepingCapacity: true)
    }

    /// Puts back a version that was live at the compacted revision, with the numbers it had.
    package mutating func restore(_ keyValue: KeyValue) {
        live.set(keyValue.key, keyValue)
        liveBytes += keyValue.key.count + keyValue.value.count
        if let session = keyValue.session { attachments.set(Self.attachment(session, keyValue.key), true) }
    }

    private mutating func detach(_ keyValue: KeyValue) {
        guard keyValue.storage.session != KeyValue.noSession else { return }
        attachments.remove(Self.attachment(keyValue.storage.session, keyValue.key))
    }

    // MARK: Sessions' keys

    package static func attachment(_ session: SessionID, _ key: [UInt8]) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(8 + key.count)
        withUnsafeBytes(of: session.rawValue.bigEndian) { bytes.append(contentsOf: $0) }
        bytes.append(contentsOf: key)
        return bytes
    }

    /// How many keys a session holds. O(log n).
    package func attachedCount(_ session: SessionID) -> Int {
        if attachments.isEmpty { return 0 }
        return attachments.rank(of: Self.attachment(SessionID(session.rawValue + 1), []))
            - attachments.rank(of: Self.attachment(session, []))
    }

    /// The keys a session holds, in order.
    package func attachedKeys(_ session: SessionID) -> [[UInt8]] {
        let start = Self.attachment(session, [])
        var keys: [[UInt8]] = []
        for (attachment, _) in attachments.cursor(from: start) {
            guard attachment.prefixOrder(against: start, length: 8) == 0 else { break }
            keys.append(Array(attachment[8...]))
        }
        return keys
    }

    // MARK: Compaction

    /// Refuses revisions below `through` from now on. What they held is given back bit by bit by ``trim(_:)``.
    package mutating func compact(through: Revision) throws(Refusal) {
        guard through <= revision else { throw .futureRevision(current: revision) }
        guard through > compacted else { throw .compacted(at: compacted) }
        compacted = through
        watchable = through
        isCompactedEntryCut = false
    }

    /// Gives up to `steps` revisions of forgotten history back, so that no single command pays for a compaction.
    ///
    /// A change at or below the compacted revision hides the version before it from every readable revision. The changes of
    /// that revision itself stay in the log without what they replaced, for watches that begin there.
    package mutating func trim(_ steps: Int) {
        for _ in 0..<steps {
            guard let (at, changes) = log.first, at <= compacted.rawValue else { return }
            if at == compacted.rawValue, isCompactedEntryCut { return }
            switch changes {
            case .one(let event): forget(event)
            case .many(let events): for event in events { forget(event) }
            }
            if at == compacted.rawValue {
                setCompactedEntry(changes.events)
            } else {
                log.remove(at)
            }
        }
    }

    /// The changes of the compacted revision, as all replicas tell of them: in order of key, without what they replaced.
    package static func cut(_ events: [WatchEvent]) -> [WatchEvent] {
        events.map { WatchEvent(keyValue: $0.keyValue, previous: nil) }.sorted { $0.key.precedes($1.key) }
    }

    package mutating func setCompactedEntry(_ events: [WatchEvent]) {
        let events = Self.cut(events)
        switch events.count {
        case 0: log.remove(compacted.rawValue)
        case 1: log.set(compacted.rawValue, .one(events[0]))
        default: log.set(compacted.rawValue, .many(events))
        }
        isCompactedEntryCut = true
    }

    private mutating func forget(_ event: WatchEvent) {
        if let previous = event.previous {
            superseded.remove(NumberedKey(previous.key, previous.modRevision.rawValue))
        }
        if event.isDeletion { superseded.remove(NumberedKey(event.key, event.revision.rawValue)) }
    }

    /// Revisions that can still be told of.
    package var historyRevisions: Int { revision.distance(from: max(compacted, Revision(1))) }
}
