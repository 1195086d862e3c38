import Coordination
import EsperTypes
import Glibc
import Testing

@Suite struct SessionClockTests {
    private func at(_ seconds: UInt64) -> Instant { Instant(nanoseconds: seconds * 1_000_000_000) }

    @Test func `a session is due when its time is up, once`() {
        var clock = SessionClock()
        clock.granted(SessionGrant(id: SessionID(1), ttl: .seconds(10)), at: at(0))
        clock.granted(SessionGrant(id: SessionID(2), ttl: .seconds(5)), at: at(1))
        #expect(clock.nextDeadline == at(6))
        #expect(clock.expired(at: at(5), limit: 10) == [])
        #expect(clock.expired(at: at(6), limit: 10) == [SessionID(2)])
        #expect(clock.expired(at: at(7), limit: 10) == [])
        #expect(clock.keepAlive(SessionID(2), at: at(7)) == nil)
        #expect(clock.remaining(SessionID(2), at: at(7)) == .zero)
        clock.ended(SessionID(2))
        #expect(clock.nextDeadline == at(10))
        #expect(clock.count == 1)
    }

    @Test func `a keep-alive gives the full time again`() {
        var clock = SessionClock()
        clock.granted(SessionGrant(id: SessionID(1), ttl: .seconds(10)), at: at(0))
        #expect(clock.keepAlive(SessionID(1), at: at(8)) == .seconds(10))
        #expect(clock.expired(at: at(17), limit: 10) == [])
        #expect(clock.remaining(SessionID(1), at: at(17)) == .seconds(1))
        #expect(clock.nextDeadline == at(18))
        #expect(clock.expired(at: at(18), limit: 10) == [SessionID(1)])
    }

    @Test func `a new leader gives everyone full time and grace`() {
        var clock = SessionClock(
            sessions: (1...3).map { SessionGrant(id: SessionID($0), ttl: .seconds(Int($0) * 10)) }, at: at(0))
        #expect(clock.expired(at: at(15), limit: 10) == [SessionID(1)])
        clock.becameLeader(at: at(100), grace: .seconds(2))
        #expect(clock.nextDeadline == at(112))
        #expect(clock.expired(at: at(111), limit: 10) == [])
        #expect(clock.keepAlive(SessionID(1), at: at(101)) == .seconds(10))
        #expect(clock.expired(at: at(112), limit: 10) == [SessionID(1)])
        #expect(clock.expired(at: at(132), limit: 10) == [SessionID(2), SessionID(3)])
    }

    @Test func `an expiry that was not committed is proposed again`() {
        var clock = SessionClock()
        for id in 1...4 as ClosedRange<UInt64> { clock.granted(.init(id: SessionID(id), ttl: .seconds(1)), at: at(id)) }
        let due = clock.expired(at: at(10), limit: 3)
        #expect(due == [1, 2, 3].map { SessionID($0) })
        clock.ended(SessionID(2))
        clock.proposalFailed(due, retryAt: at(12))
        // A disk that is full for an hour must not make anybody try a million times a second.
        #expect(clock.nextDeadline == at(12))
        #expect(clock.expired(at: at(11), limit: 10).isEmpty)
        #expect(clock.expired(at: at(12), limit: 10) == [1, 3, 4].map { SessionID($0) })
    }

    /// A hash table or an array that doubles at a million elements holds up its loop for longer than an election takes. It does so
    /// each time, and what the machine does beside it does not.
    @Test func `no single session of a million makes the loop wait`() {
        #expect((0..<3).contains { _ in longestWaitOfAMillion() < 5_000_000 })
    }

    private func longestWaitOfAMillion() -> UInt64 {
        var clock = SessionClock()
        var longest: UInt64 = 0
        // A few at a time, because to ask what was used takes as long as one.
        for first in stride(from: 0 as UInt64, to: 1_000_000, by: 50) {
            let start = processorNanoseconds()
            for id in first..<first + 50 {
                clock.granted(.init(id: SessionID(id * 3), ttl: .seconds(60)), at: at(first / 1000))
            }
            longest = max(longest, processorNanoseconds() - start)
        }
        for first in stride(from: 0 as UInt64, to: 1_000_000, by: 50) {
            let start = processorNanoseconds()
            for id in first..<first + 50 { clock.ended(SessionID(id * 3)) }
            longest = max(longest, processorNanoseconds() - start)
        }
        #expect(clock.count == 0)
        return longest
    }

    /// The first call after an election looked at the head of every TTL, and so did each until the first expiry.
    @Test func `as many times as sessions cost a leader no more than one`() {
        var clock = SessionClock(
            sessions: (1...200_000).map { .init(id: SessionID($0), ttl: .milliseconds(100 + Int($0))) }, at: at(0))
        let start = processorNanoseconds()
        for _ in 0..<100 {
            clock.becameLeader(at: at(1), grace: .zero)
            for _ in 0..<10 { _ = clock.nextDeadline }
        }
        #expect(processorNanoseconds() - start < 100_000_000)
        #expect(clock.nextDeadline == Instant(nanoseconds: 1_101_000_000))
    }

    @Test func `of very many times no session ends early, or late by more than a sixty-fourth`() {
        var clock = SessionClock()
        var random = Seeded(7)
        var times: [UInt64] = []
        for id in 1...5000 as ClosedRange<UInt64> {
            let milliseconds = UInt64.random(in: 100...86_400_000, using: &random)
            times.append(milliseconds * 1_000_000)
            clock.granted(.init(id: SessionID(id), ttl: .milliseconds(milliseconds)), at: .zero)
            #expect(clock.keepAlive(SessionID(id), at: .zero) == .milliseconds(milliseconds))
        }
        var ended = 0
        var now = Instant.zero
        while let next = clock.nextDeadline {
            now = max(now, next)
            for session in clock.expired(at: now, limit: .max) {
                let ttl = times[Int(session.rawValue) - 1]
                #expect(now.nanoseconds >= ttl && now.nanoseconds <= ttl + ttl / 64)
                clock.ended(session)
                ended += 1
            }
        }
        #expect(ended == 5000)
    }

    private func processorNanoseconds() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }

    @Test(arguments: 1...20 as ClosedRange<UInt64>)
    func `deadlines agree with a naive table`(seed: UInt64) {
        var random = Seeded(seed)
        var clock = SessionClock()
        var model: [UInt64: (ttl: UInt64, deadline: UInt64)] = [:]
        var proposed: Set<UInt64> = []
        var now: UInt64 = 0
        var base: UInt64 = 0
        var next: UInt64 = 1
        for _ in 0..<3000 {
            now += UInt64.random(in: 0...2, using: &random)
            let id = UInt64.random(in: 1...max(1, next), using: &random)
            switch Int.random(in: 0..<40, using: &random) {
            case 0..<10:
                let ttl = UInt64.random(in: 1...90, using: &random)
                clock.granted(.init(id: SessionID(next), ttl: .seconds(Int(ttl))), at: at(now))
                // While a new leader's grace runs, it counts for those who come then too.
                model[next] = (ttl, max(now, base) + ttl)
                next += 1
            case 10..<30:
                let alive = clock.keepAlive(SessionID(id), at: at(now))
                if let known = model[id], !proposed.contains(id) {
                    #expect(alive == .seconds(Int(known.ttl)))
                    model[id]!.deadline = max(known.deadline, now + known.ttl)
                } else {
                    #expect(alive == nil)
                }
            case 30..<33:
                clock.ended(SessionID(id))
                model[id] = nil
                proposed.remove(id)
            case 33:
                clock.becameLeader(at: at(now), grace: .seconds(3))
                proposed = []
                base = now + 3
                for (id, known) in model { model[id]!.deadline = max(known.deadline, now + 3 + known.ttl) }
            default:
                let due = model.filter { $0.value.deadline <= now && !proposed.contains($0.key) }.map(\.key)
                let found = clock.expired(at: at(now), limit: 10_000).map(\.rawValue)
                #expect(Set(found) == Set(due) && found.count == due.count)
                proposed.formUnion(due)
            }
            let first = model.filter { !proposed.contains($0.key) }.map(\.value.deadline).min()
            if let first { #expect(clock.nextDeadline! <= at(first)) }
            #expect(clock.count == model.count)
        }
    }
}
