internal import FoundationEssentials
internal import Logging
internal import Metrics
internal import Synchronization

/// Watches how long our own certificate is still good.
final class CertificateExpiry: Sendable {
    private struct State {
        var notValidAfter: Date
        /// No warning before.
        var nextWarning: Date
    }

    /// Below this much time left the log says so.
    static let warningPeriod: TimeInterval = 7 * 86_400
    /// A warning that nobody acted on comes again.
    private static let warningInterval: TimeInterval = 6 * 3600

    private let state: Mutex<State>
    private let logger: Logger
    /// Seconds until our certificate expires; negative once it has.
    private let left = Gauge(label: "tls.certificate.expires.seconds")

    init(notValidAfter: Date, logger: Logger) {
        state = Mutex(State(notValidAfter: notValidAfter, nextWarning: .distantPast))
        self.logger = logger
    }

    func replaced(notValidAfter: Date, now: Date) {
        state.withLock { $0 = State(notValidAfter: notValidAfter, nextWarning: .distantPast) }
        check(now)
    }

    /// To be called every minute or so.
    func check(_ now: Date) {
        let (seconds, warns) = state.withLock { state in
            let seconds = state.notValidAfter.timeIntervalSince(now)
            let warns = seconds < Self.warningPeriod && now >= state.nextWarning
            if warns { state.nextWarning = now + Self.warningInterval }
            return (seconds, warns)
        }
        left.record(seconds)
        guard warns else { return }
        logger.warning(
            seconds > 0
                ? "this node's certificate expires soon: rotate it and send SIGHUP"
                : "this node's certificate has expired: rotate it and send SIGHUP",
            metadata: ["hours.left": "\(Int(seconds / 3600))"])
    }
}
