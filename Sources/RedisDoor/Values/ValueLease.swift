import Synchronization

/// How many bytes of values a door holds at once, on their way in and out: what bounds its memory, whatever clients do.
final class ValueBudget: Sendable {
    private let limit: Int
    private let taken = Atomic<Int>(0)

    init(limit: Int) { self.limit = limit }

    var takenBytes: Int { taken.load(ordering: .relaxed) }

    fileprivate func take(_ bytes: Int) -> Bool {
        guard taken.add(bytes, ordering: .relaxed).newValue > limit else { return true }
        give(bytes)
        return false
    }

    fileprivate func give(_ bytes: Int) { taken.subtract(bytes, ordering: .relaxed) }
}

/// The part of a ``ValueBudget`` that one request has, or one connection's input; given back when nobody holds it any more.
final class ValueLease: Sendable {
    /// So little is not counted: requests that wait are few for each connection, and connections are bounded.
    private static let freeBytes = 4096

    private let budget: ValueBudget
    private let taken = Atomic<Int>(0)

    init(_ budget: ValueBudget) { self.budget = budget }

    deinit { budget.give(taken.load(ordering: .relaxed)) }

    /// - Returns: False when there is no room: then nothing is taken.
    func take(_ bytes: Int) -> Bool {
        guard bytes > Self.freeBytes else { return true }
        guard budget.take(bytes) else { return false }
        taken.add(bytes, ordering: .relaxed)
        return true
    }
}
