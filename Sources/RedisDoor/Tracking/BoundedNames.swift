import DequeModule

/// What belongs to names, of the last ones that were added. Constant time for each step, on average.
package struct BoundedNames<Value> {
    private struct Entry {
        var value: Value
        /// Where it stands in ``order``.
        var place: UInt64
    }

    private let limit: Int
    private var entries: [[UInt8]: Entry] = [:]
    /// In the order in which they were added. A place whose name is gone, or was added again since, is void.
    private var order = Deque<(name: [UInt8], place: UInt64)>()
    private var lastPlace: UInt64 = 0

    package init(limit: Int) { self.limit = limit }

    package var count: Int { entries.count }
    /// What takes memory: at most twice the limit.
    package var placeCount: Int { order.count }

    /// Changes what belongs to a name, which is added when it is not there.
    ///
    /// - Returns: the oldest name with what belonged to it, when there were too many.
    package mutating func update(
        _ name: [UInt8], from first: @autoclosure () -> Value, _ change: (inout Value) -> Void
    ) -> (name: [UInt8], value: Value)? {
        if entries[name] == nil { add(name, first()) }
        change(&entries[name]!.value)
        guard entries.count > limit else { return nil }
        while let oldest = order.popFirst() {
            guard let entry = entries[oldest.name], entry.place == oldest.place else { continue }
            entries[oldest.name] = nil
            return (oldest.name, entry.value)
        }
        return nil
    }

    private mutating func add(_ name: [UInt8], _ value: Value) {
        lastPlace += 1
        entries[name] = Entry(value: value, place: lastPlace)
        order.append((name, lastPlace))
        // At most half of them stay, so it takes as many additions until the next time.
        if order.count > 2 * limit { order.removeAll { [entries] in entries[$0.name]?.place != $0.place } }
    }

    package mutating func remove(_ name: [UInt8]) -> Value? { entries.removeValue(forKey: name)?.value }

    package mutating func removeAll() {
        entries = [:]
        order = []
    }
}
