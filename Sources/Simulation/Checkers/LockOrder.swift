/// The plain rules of a lock, checked without any search: tokens are granted once, in order, and never while an earlier
/// holding certainly lasts.
///
/// Everything found here is a violation of ``LockModel`` too; this names it in words an operator understands.
enum LockOrder {
    private struct Holding {
        var token: Int64
        var position: Int
        var call: Int64
        var granted: Int64
        /// The first moment at which it may have ended.
        var mayEnd: Int64 = .max
    }

    /// - Complexity: O(n log n).
    static func violation(
        key: String, _ operations: [HistoryOperation], at positions: [Int]
    ) throws(HistoryProblem) -> HistoryChecker.Violation? {
        var holdings: [Int64: Holding] = [:]
        for position in positions {
            let operation = operations[position]
            guard operation.op == "acquire", operation.status == .ok,
                let token = operation.output["token"]?.integer, let granted = operation.returnNanoseconds
            else { continue }
            if let earlier = holdings[token] {
                return HistoryChecker.Violation(
                    model: "lock", key: key, reason: "token \(token) was granted twice",
                    positions: [earlier.position, position])
            }
            holdings[token] = Holding(
                token: token, position: position, call: operation.callNanoseconds, granted: granted)
        }
        for position in positions {
            let operation = operations[position]
            guard operation.op == "release" || operation.op == "expire", operation.status != .fail else { continue }
            let token = try LockCompiler.token(of: operation.input, at: position)
            if let holding = holdings[token] {
                holdings[token]?.mayEnd = min(holding.mayEnd, operation.callNanoseconds)
            }
        }
        return order(holdings.values.sorted { $0.token < $1.token }, key: key)
    }

    private static func order(_ holdings: [Holding], key: String) -> HistoryChecker.Violation? {
        var lastCalled: Holding?
        var lastEnding: Holding?
        for holding in holdings {
            if let lastCalled, holding.granted < lastCalled.call {
                return HistoryChecker.Violation(
                    model: "lock", key: key,
                    reason: "token \(lastCalled.token) was asked for after \(holding.token) had been granted",
                    positions: [lastCalled.position, holding.position])
            }
            if let lastEnding, holding.granted < lastEnding.mayEnd {
                return HistoryChecker.Violation(
                    model: "lock", key: key,
                    reason: "token \(holding.token) was granted while \(lastEnding.token) was certainly held",
                    positions: [lastEnding.position, holding.position])
            }
            if holding.call > lastCalled?.call ?? .min { lastCalled = holding }
            if holding.mayEnd > lastEnding?.mayEnd ?? .min { lastEnding = holding }
        }
        return nil
    }
}
