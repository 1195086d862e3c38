public import EsperTypes

/// Decides whether a tier is asked at all: a value that is told what calls came to, and never looks at a clock.
///
///     closed ── too many failures ──→ open ── its pause is over ──→ half open
///       ↑                              ↑                              │  │
///       │                              └───── the trial failed ───────┘  │
///       └───────────────────────────── the trial succeeded ──────────────┘
///
/// - While closed every call passes. It opens after ``Settings/failures`` failures in a row, or when of at least
///   ``Settings/windowCalls`` calls of a window half failed: a tier that answers every second call is of no use either.
/// - While open every call is refused. Pauses double from opening to opening, each drawn from all of its length (full
///   jitter), so that the nodes of a cluster do not return together. A tier that opens again soon after it closed
///   goes on where the pauses were: flapping does not bring the short ones back.
/// - While half open one call at a time passes as a trial; what it comes to decides.
/// - What a call comes to that was admitted before the last change of state changes nothing.
public struct CircuitBreaker: Sendable {
    public struct Settings: Sendable {
        public var failures = 5
        public var windowCalls = 20
        public var window: Duration = .seconds(10)
        public var firstPause: Duration = .milliseconds(200)
        public var longestPause: Duration = .seconds(10)
        /// Closed for this long, the pauses begin at the first again.
        public var calm: Duration = .seconds(30)
        /// A change within this time of the last one that was told is not told.
        public var quiet: Duration = .seconds(60)

        public init() {}
    }

    public enum State: Hashable, Sendable {
        case closed
        /// Until the time.
        case open(Instant)
        case halfOpen

        /// A stable word.
        public var name: String {
            switch self {
            case .closed: "closed"
            case .open: "open"
            case .halfOpen: "half_open"
            }
        }
    }

    /// What a call takes with it and gives back with what it came to.
    public struct Pass: Hashable, Sendable {
        fileprivate var period: UInt64
        public var isTrial: Bool
    }

    public enum Admission: Hashable, Sendable {
        case passed(Pass)
        /// Nothing is asked before the time, or until the trial under way has ended.
        case refused(until: Instant?)
    }

    /// A change of state, and whether an operator should read of it.
    public struct Change: Hashable, Sendable {
        public var state: State
        public var isNews: Bool
        /// Openings since the last that was told, this one included.
        public var openings: Int
    }

    private let settings: Settings
    private var jitter: Jitter
    public private(set) var state = State.closed
    /// Grows with every change of state.
    private var period: UInt64 = 0
    private var failuresInARow = 0
    private var windowStart = Instant.zero
    private var windowCalls = 0
    private var windowFailures = 0
    private var trialUnderWay = false
    /// Openings without a calm time between them.
    private var openings = 0
    private var closedSince = Instant.zero
    private var toldAt: Instant?
    private var untold = 0
    /// Whether the last opening was told, so that its end is too.
    private var isOpeningTold = false

    /// - Parameter seed: of the pauses; different for every node and tier.
    public init(settings: Settings = Settings(), seed: UInt64) {
        precondition(settings.failures > 0 && settings.windowCalls > 0, "a breaker that is always open")
        precondition(
            settings.firstPause > .zero && settings.longestPause >= settings.firstPause, "pauses that do not grow")
        self.settings = settings
        jitter = Jitter(seed: seed)
    }

    /// When a trial is possible; nil while closed or while one is under way.
    public var nextTrial: Instant? {
        switch state {
        case .closed: nil
        case .open(let end): end
        case .halfOpen: trialUnderWay ? nil : .zero
        }
    }

    /// - Parameter trials: whether the call may be a trial; false for callers who would rather be refused at once.
    public mutating func admit(at now: Instant, trials: Bool = true) -> Admission {
        switch state {
        case .closed: return .passed(Pass(period: period, isTrial: false))
        case .open(let end):
            guard trials, now >= end else { return .refused(until: end) }
            state = .halfOpen
            period += 1
        case .halfOpen:
            guard trials, !trialUnderWay else { return .refused(until: nil) }
        }
        trialUnderWay = true
        return .passed(Pass(period: period, isTrial: true))
    }

    /// The tier answered, whatever the answer.
    public mutating func succeeded(_ pass: Pass, at now: Instant) -> Change? {
        guard pass.period == period else { return nil }
        guard state == .halfOpen else {
            count(failed: false, at: now)
            failuresInARow = 0
            return nil
        }
        enter(.closed)
        closedSince = now
        let isNews = isOpeningTold
        isOpeningTold = false
        return Change(state: .closed, isNews: isNews, openings: untold)
    }

    /// The tier did not answer, or said that it cannot.
    public mutating func failed(_ pass: Pass, at now: Instant) -> Change? {
        guard pass.period == period else { return nil }
        if state == .halfOpen { return open(at: now) }
        count(failed: true, at: now)
        failuresInARow += 1
        let isHalf = windowCalls >= settings.windowCalls && windowFailures * 2 >= windowCalls
        guard failuresInARow >= settings.failures || isHalf else { return nil }
        return open(at: now)
    }

    /// The call ended without telling anything of the tier: its caller went away, or it was refused before it was sent.
    public mutating func withdrawn(_ pass: Pass) {
        guard pass.period == period else { return }
        trialUnderWay = false
    }

    private mutating func count(failed: Bool, at now: Instant) {
        if now >= windowStart + settings.window {
            windowStart = now
            windowCalls = 0
            windowFailures = 0
        }
        windowCalls += 1
        if failed { windowFailures += 1 }
    }

    private mutating func open(at now: Instant) -> Change {
        let isTrial = state == .halfOpen
        if !isTrial, now >= closedSince + settings.calm { openings = 0 }
        let doubled = settings.firstPause.nanoseconds.multipliedReportingOverflow(by: 1 << Int64(min(openings, 30)))
        let longest = settings.longestPause.nanoseconds
        let ceiling = doubled.overflow ? longest : min(longest, doubled.partialValue)
        openings += 1
        enter(.open(now + .nanoseconds(Int64(jitter.next(below: UInt64(ceiling))) + 1)))
        untold += 1
        let isNews: Bool
        if isTrial {
            // Still the same failure: told when it began, and now and then while it lasts.
            isNews = false
        } else {
            isNews = toldAt.map { now >= $0 + settings.quiet } ?? true
        }
        let change = Change(state: state, isNews: isNews, openings: untold)
        if isNews {
            toldAt = now
            untold = 0
            isOpeningTold = true
        }
        return change
    }

    private mutating func enter(_ next: State) {
        state = next
        period += 1
        failuresInARow = 0
        windowCalls = 0
        windowFailures = 0
        trialUnderWay = false
    }
}
