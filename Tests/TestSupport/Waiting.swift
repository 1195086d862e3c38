import Dispatch

/// What a test waited for did not come in time.
public struct WaitedInVain: Error, CustomStringConvertible {
    public var description: String

    public init(_ description: String) { self.description = description }
}

/// Asks again and again until there is an answer, for what other processes decide: there is no clock of theirs to move.
///
/// - Parameter limit: a deadline that only a broken program reaches.
public func eventually<Value>(
    _ what: String, within limit: Duration = .seconds(30), _ body: () async throws -> Value?
) async throws -> Value {
    let clock = ContinuousClock()
    let deadline = clock.now + limit
    while true {
        if let value = try await body() { return value }
        try Task.checkCancellation()
        guard clock.now < deadline else { throw WaitedInVain("waited \(limit) in vain for \(what)") }
        await pause(.milliseconds(5))
    }
}

/// As ``eventually(_:within:_:)``, for a condition.
public func until(
    _ what: String, within limit: Duration = .seconds(30), _ condition: () async throws -> Bool
) async throws {
    try await eventually(what, within: limit) { try await condition() ? () : nil }
}

/// Asks every few milliseconds until the condition holds; the test's time limit is the bound.
public func until(_ condition: () async throws -> Bool) async rethrows {
    while try await !condition(), !Task.isCancelled { await pause(.milliseconds(5)) }
}

/// Lets time pass, as the rhythm of a load or between two askings; no thread waits meanwhile. Never a wait *for* something.
public func pause(_ time: Duration) async {
    await withCheckedContinuation { continuation in
        let nanoseconds = time / .nanoseconds(1)
        DispatchQueue.global().asyncAfter(deadline: .now() + .nanoseconds(Int(nanoseconds))) { continuation.resume() }
    }
}
