internal import FoundationEssentials
internal import Identity
internal import Logging
internal import Metrics
internal import Synchronization

/// Watches how long our own certificate is still good, and says when it is to be renewed.
final class CertificateExpiry: Sendable {
    private struct State {
        var notValidAfter: Date
        var renewalDue: Date
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

    init(_ credentials: TLSCredentials, logger: Logger) {
        state = Mutex(Self.state(of: credentials))
        self.logger = logger
    }

    var notValidAfter: Date { state.withLock { $0.notValidAfter } }

    /// When the last third of its life begins.
    var renewalDue: Date { state.withLock { $0.renewalDue } }

    func replaced(_ credentials: TLSCredentials, now: Date) {
        state.withLock { $0 = Self.state(of: credentials) }
        check(now)
    }

    private static func state(of credentials: TLSCredentials) -> State {
        State(
            notValidAfter: credentials.notValidAfter,
            renewalDue: renewalDue(from: credentials.notValidBefore, to: credentials.notValidAfter),
            nextWarning: .distantPast)
    }

    /// The life is counted from when it was issued: validity begins earlier, because clocks differ.
    static func renewalDue(from notValidBefore: Date, to notValidAfter: Date) -> Date {
        let life = notValidAfter.timeIntervalSince(notValidBefore) - CertificateAuthority.clockAllowance
        return notValidAfter - max(life, 0) / 3
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
