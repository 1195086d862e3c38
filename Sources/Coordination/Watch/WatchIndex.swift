/// Finds the watchers of a key: by the key itself, by its prefixes, and among the other ranges.
///
/// A key is looked up once as a whole, once for each length that watched prefixes have, and in the ranges that are neither
/// key nor prefix. Those are sorted by their lower key, with the highest end of each block of 64, so that blocks
/// that end too early are passed over.
struct WatchIndex: Sendable {
    private var byKey: [[UInt8]: [WatchID]] = [:]
    private var byPrefix: [[UInt8]: [WatchID]] = [:]
    /// How many distinct prefixes there are of each length, ascending by length.
    private var prefixLengths: [(length: Int, count: Int)] = []
    /// Ascending by lower key.
    private var ranges: [(range: KeyRange, watcher: WatchID)] = []
    /// For each block of 64 ranges, the highest key before which one of them ends; `nil` when one never ends.
    private var blockEnds: [[UInt8]?] = []

    private static var blockSize: Int { 64 }

    mutating func add(_ watcher: WatchID, _ range: KeyRange) {
        if case .single = range.end {
            byKey[range.lower, default: []].append(watcher)
        } else if let prefix = range.asPrefix {
            if byPrefix[prefix, default: []].isEmpty { countPrefix(prefix.count, 1) }
            byPrefix[prefix, default: []].append(watcher)
        } else {
            let at = ranges.partitioningIndex { range.lower.precedes($0.range.lower) }
            ranges.insert((range, watcher), at: at)
            refreshBlocks(from: at / Self.blockSize)
        }
    }

    mutating func remove(_ watcher: WatchID, _ range: KeyRange) {
        if case .single = range.end {
            byKey[range.lower]?.removeAll { $0 == watcher }
            if byKey[range.lower]?.isEmpty ?? false { byKey[range.lower] = nil }
        } else if let prefix = range.asPrefix {
            byPrefix[prefix]?.removeAll { $0 == watcher }
            if byPrefix[prefix]?.isEmpty ?? false {
                byPrefix[prefix] = nil
                countPrefix(prefix.count, -1)
            }
        } else {
            var at = ranges.partitioningIndex { !$0.range.lower.precedes(range.lower) }
            while at < ranges.count, ranges[at].watcher != watcher { at += 1 }
            guard at < ranges.count else { return }
            ranges.remove(at: at)
            refreshBlocks(from: at / Self.blockSize)
        }
    }

    /// Calls `body` with every watcher of `key`, each once.
    func forEachWatcher(of key: [UInt8], _ body: (WatchID) -> Void) {
        if !byKey.isEmpty, let watchers = byKey[key] { for watcher in watchers { body(watcher) } }
        for (length, _) in prefixLengths {
            if length > key.count { break }
            if let watchers = byPrefix[Array(key[..<length])] { for watcher in watchers { body(watcher) } }
        }
        if ranges.isEmpty { return }
        let end = ranges.partitioningIndex { key.precedes($0.range.lower) }
        var block = 0
        while block * Self.blockSize < end {
            if let highest = blockEnds[block], !key.precedes(highest) {
                block += 1
                continue
            }
            for at in block * Self.blockSize..<min(end, (block + 1) * Self.blockSize)
            where ranges[at].range.contains(key) {
                body(ranges[at].watcher)
            }
            block += 1
        }
    }

    private mutating func countPrefix(_ length: Int, _ change: Int) {
        let at = prefixLengths.partitioningIndex { $0.length >= length }
        if at < prefixLengths.count, prefixLengths[at].length == length {
            prefixLengths[at].count += change
            if prefixLengths[at].count == 0 { prefixLengths.remove(at: at) }
        } else {
            prefixLengths.insert((length, change), at: at)
        }
    }

    private mutating func refreshBlocks(from first: Int) {
        let blocks = (ranges.count + Self.blockSize - 1) / Self.blockSize
        blockEnds.removeSubrange(min(first, blockEnds.count)...)
        for block in blockEnds.count..<max(blocks, blockEnds.count) {
            var highest: [UInt8]? = []
            for (range, _) in ranges[block * Self.blockSize..<min(ranges.count, (block + 1) * Self.blockSize)] {
                guard case .before(let end) = range.end, let best = highest else {
                    highest = nil
                    break
                }
                if best.precedes(end) { highest = end }
            }
            blockEnds.append(highest)
        }
    }
}

extension Array {
    /// The first position whose element satisfies the condition, given that all after it do too.
    fileprivate func partitioningIndex(_ isSecond: (Element) -> Bool) -> Int {
        var low = 0
        var high = count
        while low < high {
            let middle = (low + high) / 2
            if isSecond(self[middle]) { high = middle } else { low = middle + 1 }
        }
        return low
    }
}
