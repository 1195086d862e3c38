import Coordination
import EsperTypes

/// Nobody's session expires before its time: whoever is told that it lives, may count on the whole TTL from the moment
/// at which the question was sent.
///
/// Judged in the world's time, so it allows for clocks that run fast; a clock that leaps ahead ends every promise made
/// until then. Sessions are never ended otherwise in a simulation, so each end is an expiry.
struct SessionOracle {
    /// By how many parts per million a clock may be fast.
    private let maximumDrift: UInt64
    private var promises: [SessionID: UInt64] = [:]
    /// When some clock leapt last: what was asked before may have been promised by it.
    private var leaptAt: UInt64 = 0
    private(set) var expired = 0

    init(maximumDrift: Int) { self.maximumDrift = UInt64(maximumDrift) }

    /// Somebody is about to be told that the session lives.
    ///
    /// - Parameter asked: when the question was sent.
    mutating func promised(_ session: SessionID, since asked: UInt64, ttl: Duration) {
        guard asked >= leaptAt else { return }
        let least = UInt64(ttl.nanoseconds) * 1_000_000 / (1_000_000 + maximumDrift)
        promises[session] = max(promises[session] ?? 0, asked + least)
    }

    /// Until when the session certainly lives.
    func livesUntil(_ session: SessionID) -> UInt64 { promises[session] ?? 0 }

    mutating func clockLeapt(at now: UInt64) {
        leaptAt = now
        promises = [:]
    }

    /// A session's end was applied for the first time.
    mutating func ended(_ session: SessionID, at now: UInt64) throws(SimulationFailure) {
        expired += 1
        guard let end = promises.removeValue(forKey: session), now < end else { return }
        throw SimulationFailure(.session, "session \(session) ends \((end - now) / 1000) µs before its time")
    }
}
