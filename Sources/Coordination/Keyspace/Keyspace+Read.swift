package import EsperTypes

extension Keyspace {
    /// - Throws: ``Refusal/compacted(at:)`` or ``Refusal/futureRevision(current:)``. 0 means the latest.
    package func readable(_ wanted: Revision) throws(Refusal) -> Revision {
        if wanted == .zero { return revision }
        guard wanted <= revision else { throw .futureRevision(current: revision) }
        guard wanted >= compacted else { throw .compacted(at: compacted) }
        return wanted
    }

    /// One key as it was at a readable revision.
    package func value(for key: [UInt8], at wanted: Revision) -> KeyValue? {
        let now = live.value(for: key)
        if let now, now.modRevision <= wanted { return now }
        guard sees(history: wanted) else { return nil }
        guard let (found, version) = superseded.floor(NumberedKey(key, wanted.rawValue)), found.bytes == key,
            !version.isDeletion
        else { return nil }
        return version
    }

    /// Whether superseded versions matter at `wanted`. Within a transaction the latest state is ahead of `revision`.
    package func sees(history wanted: Revision) -> Bool { wanted < revision || (wanted == revision && hasPending) }

    /// The keys of a range as they were at a readable revision, upwards.
    package func versions(in range: KeyRange, at wanted: Revision) -> VersionCursor {
        VersionCursor(self, range, at: wanted)
    }

    /// How many keys a range has now. O(log n).
    package func count(in range: KeyRange) -> Int {
        switch range.end {
        case .single: live.value(for: range.lower) == nil ? 0 : 1
        case .unbounded: live.count - live.rank(of: range.lower)
        case .before(let upper): max(0, live.rank(of: upper) - live.rank(of: range.lower))
        }
    }

    /// Answers a range request. Without a revision, changes of the revision in the making count (in a transaction).
    package func range(_ request: RangeRequest) throws(Refusal) -> RangeReply {
        let wanted = try readable(request.revision)
        let isLatest = request.revision == .zero || !sees(history: wanted)
        let at = isLatest ? Revision(.max) : wanted
        if request.countOnly {
            let count =
                isLatest ? count(in: request.range) : versions(in: request.range, at: at).reduce(0) { n, _ in n + 1 }
            return RangeReply(keyValues: [], more: false, count: count)
        }
        if case .single = request.range.end {
            let found = value(for: request.range.lower, at: at)
            let shown =
                found.map { request.admits($0) } ?? false ? [request.keysOnly ? found!.withoutValue : found!] : []
            return RangeReply(keyValues: shown, more: false, count: found == nil ? 0 : 1)
        }
        let sorts = request.sort.map { $0.key != .key || $0.order != .ascending } ?? false
        var found: [KeyValue] = []
        var bytes = 0
        var seen = 0
        var more = false
        for version in versions(in: request.range, at: at) {
            seen += 1
            guard request.admits(version) else { continue }
            if !sorts {
                let full = request.limit > 0 && found.count >= request.limit
                let tooMany = request.maximumBytes > 0 && !found.isEmpty && bytes >= request.maximumBytes
                if full || tooMany {
                    more = true
                    // The count of the latest revision is known without walking on.
                    if isLatest { break }
                    continue
                }
            }
            bytes += version.key.count + (request.keysOnly ? 0 : version.value.count)
            found.append(version)
        }
        if let sort = request.sort, sorts {
            sort.apply(to: &found)
            if request.limit > 0, found.count > request.limit {
                found.removeSubrange(request.limit...)
                more = true
            }
        }
        if request.keysOnly { for slot in found.indices { found[slot] = found[slot].withoutValue } }
        return RangeReply(keyValues: found, more: more, count: isLatest ? count(in: request.range) : seen)
    }

    /// Whether a compare holds now.
    package func holds(_ compare: Compare) -> Bool {
        if case .single = compare.range.end { return compare.holds(live.value(for: compare.range.lower)) }
        var isEmpty = true
        for version in versions(in: compare.range, at: Revision(.max)) {
            guard compare.holds(version) else { return false }
            isEmpty = false
        }
        return !isEmpty || compare.holds(nil)
    }
}

/// Walks a range as it was at one revision: live versions old enough, and superseded ones that were live then.
package struct VersionCursor: IteratorProtocol, Sequence, Sendable {
    private let range: KeyRange
    private let wanted: Revision
    private var live: TreeCursor<[UInt8], KeyValue>
    private var past: TreeCursor<NumberedKey, KeyValue>?
    private var nextLive: KeyValue?
    private var nextPast: KeyValue?
    /// The superseded version after the ones already looked at.
    private var lookahead: KeyValue?

    package init(_ keyspace: Keyspace, _ range: KeyRange, at wanted: Revision) {
        self.range = range
        self.wanted = wanted
        live = keyspace.live.cursor(from: range.lower)
        if keyspace.sees(history: wanted) {
            var cursor = keyspace.superseded.cursor(from: NumberedKey(range.lower, 0))
            lookahead = cursor.next()?.value
            past = cursor
        }
        advanceLive()
        advancePast()
    }

    package mutating func next() -> KeyValue? {
        guard let now = nextLive else {
            defer { advancePast() }
            return nextPast
        }
        guard let then = nextPast else {
            defer { advanceLive() }
            return now
        }
        // A live version old enough is newer than any superseded one of its key.
        let order = now.key.order(against: then.key, skipping: 0)
        if order == 0 { advancePast() }
        if order <= 0 {
            defer { advanceLive() }
            return now
        }
        defer { advancePast() }
        return then
    }

    private mutating func advanceLive() {
        nextLive = nil
        while let (_, version) = live.next() {
            guard range.contains(version.key) else { return }
            if version.modRevision <= wanted {
                nextLive = version
                return
            }
        }
    }

    /// Finds the next key with a superseded version that was live at `wanted`: its last one at or below.
    private mutating func advancePast() {
        nextPast = nil
        guard past != nil else { return }
        while let first = lookahead, range.contains(first.key) {
            var best: KeyValue?
            while let candidate = lookahead, candidate.key == first.key {
                if candidate.modRevision <= wanted { best = candidate }
                lookahead = past!.next()?.value
            }
            if let best, !best.isDeletion {
                nextPast = best
                return
            }
        }
    }
}

extension RangeRequest {
    func admits(_ version: KeyValue) -> Bool {
        (minimumModRevision == .zero || version.modRevision >= minimumModRevision)
            && (maximumModRevision == .zero || version.modRevision <= maximumModRevision)
            && (minimumCreateRevision == .zero || version.createRevision >= minimumCreateRevision)
            && (maximumCreateRevision == .zero || version.createRevision <= maximumCreateRevision)
    }
}

extension RangeRequest.Sort {
    /// Sorts; what is equal stays in key order.
    func apply(to found: inout [KeyValue]) {
        let key = key
        func less(_ left: KeyValue, _ right: KeyValue) -> Bool {
            switch key {
            case .key: left.key.precedes(right.key)
            case .version: left.version < right.version
            case .createRevision: left.createRevision < right.createRevision
            case .modRevision: left.modRevision < right.modRevision
            case .value: left.value.precedes(right.value)
            }
        }
        // `sort` is stable.
        switch order {
        case .ascending: found.sort { less($0, $1) }
        case .descending: found.sort { less($1, $0) }
        }
    }
}

extension Compare {
    /// - Parameter version: `nil` for a key that does not exist.
    func holds(_ version: KeyValue?) -> Bool {
        switch target {
        case .value(let wanted):
            guard let version else { return false }
            return relation.holds(version.value.order(against: wanted, skipping: 0))
        case .version(let wanted): return relation.holds(version?.version ?? 0, wanted)
        case .createRevision(let wanted):
            return relation.holds(version?.createRevision.rawValue ?? 0, wanted.rawValue)
        case .modRevision(let wanted): return relation.holds(version?.modRevision.rawValue ?? 0, wanted.rawValue)
        case .session(let wanted):
            return relation.holds(version?.storage.session.rawValue ?? 0, wanted?.rawValue ?? 0)
        }
    }
}

extension Compare.Relation {
    fileprivate func holds(_ order: Int) -> Bool {
        switch self {
        case .equal: order == 0
        case .notEqual: order != 0
        case .less: order < 0
        case .greater: order > 0
        }
    }

    fileprivate func holds(_ left: UInt64, _ right: UInt64) -> Bool {
        holds(left < right ? -1 : left == right ? 0 : 1)
    }
}
