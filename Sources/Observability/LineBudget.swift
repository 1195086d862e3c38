internal import Synchronization

/// Lets one line per reason and second into the log and counts the rest, so that a flood of refusals is no flood of lines.
///
/// Reasons come from a small fixed set: each one is remembered.
public final class LineBudget: Sendable {
    private struct Reason {
        var nextLine: ContinuousClock.Instant
        var suppressed = 0
    }

    /// From one line of a reason to the next.
    public static let interval = Duration.seconds(1)

    private let reasons = Mutex<[String: Reason]>([:])

    public init() {}

    /// Asks for a line.
    ///
    /// - Returns: how many lines of this reason were kept back since the last one; nil to keep this one back too.
    public func admit(_ reason: String, at now: ContinuousClock.Instant = .now) -> Int? {
        reasons.withLock { reasons in
            if let known = reasons[reason], now < known.nextLine {
                reasons[reason]?.suppressed += 1
                return nil
            }
            let suppressed = reasons[reason]?.suppressed ?? 0
            reasons[reason] = Reason(nextLine: now + Self.interval)
            return suppressed
        }
    }
}
