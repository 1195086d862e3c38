internal import NIOCore

/// The pauses between the attempts of one operation: doubling, capped, and drawn so that clients spread out.
struct Backoff {
    let first: Duration
    let longest: Duration

    /// - Parameter attempt: 1 for the pause after the first attempt.
    func pause(after attempt: Int, using generator: inout some RandomNumberGenerator) -> TimeAmount {
        let doubled = TimeAmount(first).nanoseconds << Int64(min(attempt - 1, 16))
        let whole = min(doubled, TimeAmount(longest).nanoseconds)
        return .nanoseconds(Int64.random(in: whole / 2...max(whole, 1), using: &generator))
    }
}
