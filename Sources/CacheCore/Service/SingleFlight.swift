/// Who waits for which load: at most one load of a key at a time, however many want it.
///
///     join ──► lead     the caller starts the load
///          ──► wait     somebody else has
///          ──► refuse   as many wait as may
///
/// A waiter that leaves does not end the load. When the last one has left it is forgotten: what it still brings nobody waits for, and
/// whoever joins then starts another. A load that was overtaken (``overtake(_:)``: newer bytes
/// came by another way) still answers those who joined before, and nobody who joins after.
public struct SingleFlight<Key: Hashable & Sendable>: Sendable {
    /// Names one load; never given twice.
    public typealias Flight = UInt64
    public typealias Waiter = UInt64

    public enum Joined: Hashable, Sendable {
        case lead(Flight)
        case wait(Flight)
        case refuse
    }

    private struct Load: Sendable {
        var key: Key
        var waiters: Set<Waiter>
    }

    /// For each load.
    public let maximumWaiters: Int
    public let maximumLoads: Int
    private var current: [Key: Flight] = [:]
    private var loads: [Flight: Load] = [:]
    private var next: Flight = 1
    public private(set) var waiterCount = 0

    public init(maximumWaiters: Int, maximumLoads: Int) {
        precondition(maximumWaiters > 0 && maximumLoads > 0, "a bound of nothing")
        self.maximumWaiters = maximumWaiters
        self.maximumLoads = maximumLoads
    }

    public var loadCount: Int { loads.count }

    /// - Parameter waiter: another one for every call.
    public mutating func join(_ key: Key, _ waiter: Waiter) -> Joined {
        if let flight = current[key] {
            guard let count = loads[flight]?.waiters.count, count < maximumWaiters else { return .refuse }
            loads[flight]?.waiters.insert(waiter)
            waiterCount += 1
            return .wait(flight)
        }
        guard loads.count < maximumLoads else { return .refuse }
        let flight = next
        next += 1
        current[key] = flight
        loads[flight] = Load(key: key, waiters: [waiter])
        waiterCount += 1
        return .lead(flight)
    }

    /// A waiter gives up.
    ///
    /// - Returns: whether nobody is left, so that the load may be ended; it is forgotten then.
    public mutating func leave(_ flight: Flight, _ waiter: Waiter) -> Bool {
        guard var load = loads[flight], load.waiters.remove(waiter) != nil else { return false }
        waiterCount -= 1
        if load.waiters.isEmpty {
            forget(flight, load.key)
            return true
        }
        loads[flight] = load
        return false
    }

    /// Whoever joins from now on is led to a new load.
    public mutating func overtake(_ key: Key) { current[key] = nil }

    /// The load has ended.
    ///
    /// - Returns: who waited, in order; empty for a load that was forgotten.
    public mutating func finish(_ flight: Flight) -> [Waiter] {
        guard let load = loads[flight] else { return [] }
        waiterCount -= load.waiters.count
        forget(flight, load.key)
        return load.waiters.sorted()
    }

    private mutating func forget(_ flight: Flight, _ key: Key) {
        loads[flight] = nil
        if current[key] == flight { current[key] = nil }
    }
}
