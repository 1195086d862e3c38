public import EsperTypes

/// The rights to make what is missing, in the memory of the node that coordinates the name's shard.
///
/// A token that is lost (its node died, the owner of the shard changed) costs one compilation more and nothing else, since
/// the first writer of an action wins.
public struct CompileTokens: Sendable {
    public struct Settings: Hashable, Sendable {
        /// What is taken for the time of a compilation when nobody says.
        public var expectedCost: Duration = .seconds(30)
        /// Bounds of a token's life, which is twice the expected cost.
        public var lifetimes: ClosedRange<Duration> = .seconds(2) ... .seconds(7200)
        /// How long an error that comes again is told, give or take a fifth.
        public var failureLifetime: Duration = .seconds(60)
        public var maximumTokens = 65_536
        public var maximumFailures = 4096
        /// What is kept of an error's message.
        public var messageBytes = 4096

        public init() {}
    }

    public enum Answer: Hashable, Sendable {
        case granted(number: UInt64, lifetime: Duration)
        /// Somebody else makes it; his right ends after this time unless he renews it.
        case held(for: Duration)
        /// It was tried, and fails whoever tries; for this much longer.
        case failing(String, for: Duration)
        /// As many tokens as there may be are out: to be made without one.
        case full
    }

    private struct Token: Sendable {
        var number: UInt64
        var holder: String
        var lifetime: Duration
        var expires: Instant
    }

    private struct Failure: Sendable {
        var message: String
        var until: Instant
    }

    private let settings: Settings
    private var tokens: [[UInt8]: Token] = [:]
    private var failures: [[UInt8]: Failure] = [:]
    private var next: UInt64
    private var jitter: UInt64
    public private(set) var granted: UInt64 = 0
    public private(set) var expired: UInt64 = 0

    /// - Parameter seed: another one at every start, so that no token of an earlier life is taken for one of this.
    public init(settings: Settings = Settings(), seed: UInt64) {
        self.settings = settings
        jitter = seed
        next = seed << 24 | 1
    }

    public var count: Int { tokens.count }

    /// - Parameter holder: the node that asks. Asked again while it has a token it is told ``Answer/held(for:)`` like any other: it has
    ///   many who want to make the same, and only one of them shall.
    public mutating func ask(_ name: [UInt8], holder: String, expected: Duration?, now: Instant) -> Answer {
        if let failure = failures[name] {
            if failure.until > now { return .failing(failure.message, for: failure.until - now) }
            failures[name] = nil
        }
        if let token = tokens[name] {
            if token.expires > now { return .held(for: token.expires - now) }
            expired += 1
            tokens[name] = nil
        }
        if tokens.count >= settings.maximumTokens { sweep(now) }
        guard tokens.count < settings.maximumTokens else { return .full }
        let wanted = (expected ?? settings.expectedCost) * 2
        let lifetime = min(max(wanted, settings.lifetimes.lowerBound), settings.lifetimes.upperBound)
        let number = next
        next += 1
        granted += 1
        tokens[name] = Token(number: number, holder: holder, lifetime: lifetime, expires: now + lifetime)
        return .granted(number: number, lifetime: lifetime)
    }

    /// - Returns: for how long it holds again; nil when it has run out and was given to somebody else, or is not needed any more.
    public mutating func renew(_ name: [UInt8], number: UInt64, now: Instant) -> Duration? {
        guard var token = tokens[name], token.number == number else { return nil }
        token.expires = now + token.lifetime
        tokens[name] = token
        return token.lifetime
    }

    /// The holder could not make it.
    ///
    /// - Parameter isDeterministic: whoever asks next will not be able to either.
    /// - Returns: whether the token was this one.
    @discardableResult
    public mutating func failed(
        _ name: [UInt8], number: UInt64, message: String, isDeterministic: Bool, now: Instant
    ) -> Bool {
        guard let token = tokens[name], token.number == number else { return false }
        tokens[name] = nil
        guard isDeterministic else { return true }
        if failures.count >= settings.maximumFailures {
            failures = failures.filter { $0.value.until > now }
            if failures.count >= settings.maximumFailures { return true }
        }
        // 80 % to 120 %, so that what was reported together is not tried again together.
        // The generator of MMIX, of which the upper bits are as good as any.
        jitter = jitter &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        let part = 0.8 + 0.4 * Double(jitter >> 44) / Double(1 << 20)
        let lifetime = Duration.nanoseconds(Int64(Double(settings.failureLifetime.nanoseconds) * part))
        failures[name] = Failure(message: Self.cut(message, settings.messageBytes), until: now + lifetime)
        return true
    }

    /// It was stored: the token and any error are over.
    public mutating func stored(_ name: [UInt8]) {
        tokens[name] = nil
        failures[name] = nil
    }

    /// Nodes have died or left: tokens of all but these are over.
    public mutating func release(exceptOf holders: Set<String>) {
        if tokens.isEmpty { return }
        tokens = tokens.filter { holders.contains($0.value.holder) }
    }

    /// Forgets what has run out.
    public mutating func sweep(_ now: Instant) {
        let before = tokens.count
        tokens = tokens.filter { $0.value.expires > now }
        expired += UInt64(before - tokens.count)
        failures = failures.filter { $0.value.until > now }
    }

    private static func cut(_ message: String, _ limit: Int) -> String {
        guard message.utf8.count > limit else { return message }
        return String(decoding: message.utf8.prefix(limit), as: UTF8.self)
    }
}
