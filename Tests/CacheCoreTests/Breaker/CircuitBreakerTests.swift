import CacheCore
import EsperTypes
import Testing

@Suite struct CircuitBreakerTests {
    private var settings: CircuitBreaker.Settings {
        var settings = CircuitBreaker.Settings()
        settings.failures = 3
        return settings
    }

    private func at(_ milliseconds: Int) -> Instant { .zero + .milliseconds(milliseconds) }

    private func pass(_ breaker: inout CircuitBreaker, at now: Instant) throws -> CircuitBreaker.Pass {
        guard case .passed(let pass) = breaker.admit(at: now) else { throw Refused() }
        return pass
    }

    private struct Refused: Error {}

    /// Fails calls until it opens, and returns the end of the pause.
    private func open(_ breaker: inout CircuitBreaker, at now: Instant) throws -> Instant {
        while true {
            if case .open(let end) = breaker.state { return end }
            _ = breaker.failed(try pass(&breaker, at: now), at: now)
        }
    }

    @Test func `failures in a row open it, others do not`() throws {
        var breaker = CircuitBreaker(settings: settings, seed: 1)
        for _ in 0..<10 {
            for failed in [true, true, false] {
                let pass = try pass(&breaker, at: at(0))
                #expect(
                    (failed ? breaker.failed(pass, at: at(0)) : breaker.succeeded(pass, at: at(0))) == nil)
            }
            // The next round is in another window, so that the share of failures does not open it.
            breaker = CircuitBreaker(settings: settings, seed: 1)
        }
        var change: CircuitBreaker.Change?
        for _ in 0..<3 { change = breaker.failed(try pass(&breaker, at: at(1)), at: at(1)) }
        #expect(change?.isNews == true)
        guard case .open = breaker.state else {
            Issue.record("it is \(breaker.state)")
            return
        }
    }

    @Test func `half of many calls failing opens it`() throws {
        var breaker = CircuitBreaker(settings: settings, seed: 1)
        var calls = 0
        while breaker.state == .closed, calls < 100 {
            let pass = try pass(&breaker, at: at(calls))
            _ = calls % 2 == 0 ? breaker.succeeded(pass, at: at(calls)) : breaker.failed(pass, at: at(calls))
            calls += 1
        }
        #expect(calls == settings.windowCalls)
    }

    @Test func `one trial at a time, and only after the pause`() throws {
        var breaker = CircuitBreaker(settings: settings, seed: 2)
        let end = try open(&breaker, at: at(5))
        #expect(breaker.admit(at: end - .nanoseconds(1)) == .refused(until: end))
        #expect(breaker.admit(at: end, trials: false) == .refused(until: end))
        let trial = try pass(&breaker, at: end)
        #expect(trial.isTrial)
        #expect(breaker.admit(at: end) == .refused(until: nil))
        #expect(breaker.nextTrial == nil)
        breaker.withdrawn(trial)
        let second = try pass(&breaker, at: end)
        #expect(breaker.succeeded(second, at: end)?.state == .closed)
        #expect(try !pass(&breaker, at: end).isTrial)
    }

    @Test func `what an earlier period comes to changes nothing`() throws {
        var breaker = CircuitBreaker(settings: settings, seed: 3)
        let old = try pass(&breaker, at: at(0))
        let end = try open(&breaker, at: at(1))
        #expect(breaker.succeeded(old, at: at(2)) == nil)
        let trial = try pass(&breaker, at: end)
        #expect(breaker.failed(old, at: end) == nil)
        breaker.withdrawn(old)
        #expect(breaker.admit(at: end) == .refused(until: nil))
        _ = breaker.succeeded(trial, at: end)
        #expect(breaker.state == .closed)
    }

    @Test func `pauses grow to the longest and are drawn from all of their length`() throws {
        var shortest = Duration.seconds(100)
        var longest = Duration.zero
        for seed in 0..<200 as Range<UInt64> {
            var breaker = CircuitBreaker(settings: settings, seed: seed)
            var now = at(0)
            _ = try open(&breaker, at: now)
            for opening in 1..<12 {
                guard case .open(let end) = breaker.state else { throw Refused() }
                let pause = end - now
                let doubled = settings.firstPause * (1 << min(opening - 1, 20))
                #expect(pause > .zero && pause <= min(doubled, settings.longestPause))
                if opening == 11 { (shortest, longest) = (min(shortest, pause), max(longest, pause)) }
                now = end
                _ = breaker.failed(try pass(&breaker, at: now), at: now)
            }
        }
        #expect(shortest < settings.longestPause * 0.1)
        #expect(longest > settings.longestPause * 0.9)
    }

    @Test func `a tier that flaps is told of once a minute, and its pauses stay long`() throws {
        var breaker = CircuitBreaker(settings: settings, seed: 4)
        var now = at(0)
        var told = 0
        var calls = 0
        // Up for 300 ms, down for 300 ms, asked each millisecond for ten minutes.
        for step in 0..<600_000 {
            now = at(step)
            guard case .passed(let pass) = breaker.admit(at: now) else { continue }
            calls += 1
            let change = step / 300 % 2 == 0 ? breaker.succeeded(pass, at: now) : breaker.failed(pass, at: now)
            if change?.isNews == true { told += 1 }
        }
        #expect(told >= 2 && told <= 2 * 11)
        // Long pauses: most of the time it is left alone.
        #expect(calls < 60_000)
    }

    @Test func `after a calm time pauses begin at the first again`() throws {
        var breaker = CircuitBreaker(settings: settings, seed: 5)
        var now = try open(&breaker, at: at(0))
        for _ in 0..<8 {
            _ = breaker.failed(try pass(&breaker, at: now), at: now)
            if case .open(let end) = breaker.state { now = end }
        }
        _ = breaker.succeeded(try pass(&breaker, at: now), at: now)
        now = now + settings.calm
        let end = try open(&breaker, at: now)
        #expect(end - now <= settings.firstPause)
    }

    @Test func `the same seed makes the same pauses`() throws {
        var first = CircuitBreaker(settings: settings, seed: 6)
        var second = first
        #expect(try open(&first, at: at(9)) == open(&second, at: at(9)))
    }
}
