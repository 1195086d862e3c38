import Simulation
import Testing

/// Histories are written the way they happen: `read(1, returns: 5, in: 0...10)`.
private func operation(
    _ process: Int64, _ op: String, _ input: JSONValue = nil, returns output: JSONValue = nil,
    in span: ClosedRange<Int64>, model: String = "register"
) -> HistoryOperation {
    HistoryOperation(
        process: process, op: op, key: "k", input: input, output: output, callNanoseconds: span.lowerBound,
        returnNanoseconds: span.upperBound, status: .ok, model: model)
}

private func unanswered(
    _ process: Int64, _ op: String, _ input: JSONValue = nil, at call: Int64, model: String = "register"
) -> HistoryOperation {
    HistoryOperation(
        process: process, op: op, key: "k", input: input, callNanoseconds: call, returnNanoseconds: nil,
        status: .info, model: model)
}

private func verdict(_ operations: [HistoryOperation]) -> HistoryChecker.Verdict {
    HistoryChecker().check(operations).verdict
}

extension HistoryChecker.Verdict {
    fileprivate var isViolation: Bool { if case .violated = self { true } else { false } }
    fileprivate var isInvalid: Bool { if case .invalid = self { true } else { false } }
}

@Suite struct RegisterCheckerTests {
    @Test(arguments: [
        // Nothing, and a fresh register.
        [], [operation(1, "read", in: 0...1)],
        // One after the other.
        [operation(1, "write", 1, in: 0...1), operation(1, "read", returns: 1, in: 2...3)],
        // A read that overlaps a write may see either side of it.
        [operation(1, "write", 1, in: 0...10), operation(2, "read", returns: 1, in: 2...3)],
        [operation(1, "write", 1, in: 0...10), operation(2, "read", returns: nil, in: 2...3)],
        // An unknown write may take effect long after, or never.
        [
            unanswered(1, "write", 1, at: 0), operation(2, "read", returns: nil, in: 5...6),
            operation(2, "read", returns: 1, in: 7...8),
        ],
        [unanswered(1, "write", 1, at: 0), operation(2, "read", returns: nil, in: 5...6)],
        // A failed write had no effect.
        [
            HistoryOperation(
                process: 1, op: "write", key: "k", input: 1, callNanoseconds: 0, returnNanoseconds: 1, status: .fail),
            operation(2, "read", returns: nil, in: 5...6),
        ],
        // Compare-and-set, delete.
        [
            operation(1, "write", 1, in: 0...1), operation(1, "cas", [1, 2], returns: true, in: 2...3),
            operation(1, "cas", [1, 3], returns: false, in: 4...5), operation(1, "delete", returns: true, in: 6...7),
            operation(1, "read", returns: nil, in: 8...9), operation(1, "delete", returns: false, in: 10...11),
        ],
        // Two unknown writes of one value, seen twice with another in between.
        [
            unanswered(1, "write", 1, at: 0), unanswered(2, "write", 1, at: 0),
            operation(3, "read", returns: 1, in: 1...2), operation(3, "write", 2, in: 3...4),
            operation(3, "read", returns: 1, in: 5...6),
        ],
    ])
    func `a history that some order explains holds`(operations: [HistoryOperation]) {
        #expect(verdict(operations) == .holds)
        #expect(BruteForceChecker.registerIsLinearizable(operations))
    }

    @Test(arguments: [
        // A value from nowhere.
        [operation(1, "read", returns: 7, in: 0...1)],
        // A stale read: the write had been acknowledged.
        [operation(1, "write", 1, in: 0...1), operation(2, "read", returns: nil, in: 2...3)],
        // A read from the future.
        [operation(1, "read", returns: 1, in: 0...1), operation(2, "write", 1, in: 2...3)],
        // New, then old again: the overlapping write flips back.
        [
            operation(1, "write", 1, in: 0...10), operation(2, "read", returns: 1, in: 1...2),
            operation(2, "read", returns: nil, in: 3...4),
        ],
        // Two compare-and-sets from one value.
        [
            operation(1, "write", 1, in: 0...1), operation(1, "cas", [1, 2], returns: true, in: 2...9),
            operation(2, "cas", [1, 3], returns: true, in: 2...9),
        ],
        // A lost update between unknowns: one unknown write cannot be seen twice around another value.
        [
            unanswered(1, "write", 1, at: 0), operation(3, "read", returns: 1, in: 1...2),
            operation(3, "write", 2, in: 3...4), operation(3, "read", returns: 1, in: 5...6),
        ],
        // A failed write was seen.
        [
            HistoryOperation(
                process: 1, op: "write", key: "k", input: 1, callNanoseconds: 0, returnNanoseconds: 1, status: .fail),
            operation(2, "read", returns: 1, in: 5...6),
        ],
        [operation(1, "delete", returns: true, in: 0...1)],
    ])
    func `a history that no order explains is refused`(operations: [HistoryOperation]) {
        #expect(verdict(operations).isViolation)
        #expect(!BruteForceChecker.registerIsLinearizable(operations))
    }

    @Test func `keys are judged apart and the guilty one is named`() {
        var good = operation(1, "write", 1, in: 0...1)
        good.key = "a"
        let bad = operation(1, "read", returns: 2, in: 2...3)
        guard case .violated(let violation) = verdict([good, bad]) else {
            Issue.record("not refused")
            return
        }
        #expect(violation.key == "k")
        #expect(violation.positions == [1])
    }

    @Test(arguments: [
        // Time runs backwards.
        [
            HistoryOperation(
                process: 1, op: "read", key: "k", callNanoseconds: 5, returnNanoseconds: 4, status: .ok)
        ],
        // A process overlaps itself.
        [operation(1, "read", in: 0...5), operation(1, "read", in: 4...6)],
        // It goes on under its name after an operation that never ended.
        [unanswered(1, "write", 1, at: 0), operation(1, "read", in: 4...6)],
        // An answer without a time.
        [
            HistoryOperation(
                process: 1, op: "read", key: "k", callNanoseconds: 5, returnNanoseconds: nil, status: .ok)
        ],
        // Not an operation of a register.
        [operation(1, "push", 1, in: 0...1)],
        [operation(1, "cas", 1, returns: true, in: 0...1)],
    ])
    func `a broken recorder gets no verdict`(operations: [HistoryOperation]) {
        #expect(verdict(operations).isInvalid)
    }

    @Test func `every history of three operations gets the verdict of the oracle`() {
        // The operations a small register can see, with each answer it can give, and unanswered.
        let actions: [(String, JSONValue, JSONValue, HistoryOperation.Status)] = [
            ("read", nil, nil, .ok), ("read", nil, 1, .ok), ("read", nil, 2, .ok), ("write", 1, nil, .ok),
            ("write", 2, nil, .ok), ("write", 1, nil, .info), ("cas", [1, 2], true, .ok), ("cas", [1, 2], false, .ok),
            ("cas", [1, 2], nil, .info), ("delete", nil, true, .ok), ("delete", nil, nil, .info),
        ]
        var checked = 0
        var violations = 0
        for spans in Self.spansOfThree {
            for first in actions {
                for second in actions {
                    for third in actions {
                        let operations = zip([first, second, third], spans).enumerated().map { process, pair in
                            HistoryOperation(
                                process: Int64(process), op: pair.0.0, key: "k", input: pair.0.1, output: pair.0.2,
                                callNanoseconds: pair.1.0,
                                returnNanoseconds: pair.0.3 == .ok ? pair.1.1 : nil, status: pair.0.3)
                        }
                        let holds = verdict(operations) == .holds
                        checked += 1
                        if !holds { violations += 1 }
                        if holds != BruteForceChecker.registerIsLinearizable(operations) {
                            Issue.record("the oracle disagrees on \(operations)")
                            return
                        }
                    }
                }
            }
        }
        #expect(checked == 90 * 11 * 11 * 11)
        #expect(violations > checked / 10)
        #expect(violations < checked * 9 / 10)
    }

    /// Every way in which three operations can overlap: the orders of six moments, a call before its answer.
    private static let spansOfThree: [[(Int64, Int64)]] = {
        var found: [[(Int64, Int64)]] = []
        func place(_ moment: Int64, _ calls: [Int64], _ ends: [Int64]) {
            if moment == 6 {
                found.append(zip(calls, ends).map { ($0, $1) })
                return
            }
            for index in 0..<3 {
                var (calls, ends) = (calls, ends)
                if calls[index] < 0 {
                    calls[index] = moment
                } else if ends[index] < 0 {
                    ends[index] = moment
                } else {
                    continue
                }
                place(moment + 1, calls, ends)
            }
        }
        place(0, [-1, -1, -1], [-1, -1, -1])
        return found
    }()

    @Test func `random histories of up to seven operations get the verdict of the oracle`() {
        var random = SeededRandom(seed: 0x5eed)
        for _ in 0..<40_000 {
            let operations = HistoryGenerator.register(
                operations: random.int(in: 2...7), processes: 4, values: 3, lies: random.chance(1, in: 2) ? 1 : 0,
                using: &random)
            let holds = verdict(operations) == .holds
            if holds != BruteForceChecker.registerIsLinearizable(operations) {
                Issue.record("the oracle disagrees on \(operations)")
                return
            }
        }
    }

    @Test(.timeLimit(.minutes(1)))
    func `a hundred thousand operations of sixteen processes on one key are judged in seconds`() {
        var random = SeededRandom(seed: 1)
        let operations = HistoryGenerator.register(
            operations: 100_000, processes: 16, values: nil, lies: 0, using: &random)
        let start = ContinuousClock.now
        #expect(verdict(operations) == .holds)
        let elapsed = ContinuousClock.now - start
        #expect(elapsed < .seconds(10), "took \(elapsed)")
    }

    @Test(.timeLimit(.minutes(1)))
    func `one lie among twenty thousand operations is found`() {
        for seed in 1...10 as ClosedRange<UInt64> {
            var random = SeededRandom(seed: seed)
            let operations = HistoryGenerator.register(
                operations: 20_000, processes: 8, values: nil, lies: 1, using: &random)
            #expect(verdict(operations).isViolation, "seed \(seed)")
        }
    }
}

@Suite struct LockCheckerTests {
    private static func lock(
        _ process: Int64, _ op: String, _ input: JSONValue = nil, returns output: JSONValue = nil,
        in span: ClosedRange<Int64>
    ) -> HistoryOperation {
        operation(process, op, input, returns: output, in: span, model: "lock")
    }

    @Test(arguments: [
        [
            lock(1, "acquire", returns: ["token": 5], in: 0...1),
            lock(1, "release", ["token": 5], returns: true, in: 2...3),
            lock(2, "acquire", returns: ["token": 9], in: 0...4),
        ],
        // Refused, asked who holds it, renewed.
        [
            lock(1, "acquire", returns: ["token": 5], in: 0...1), lock(2, "acquire", returns: false, in: 2...3),
            lock(2, "holder", returns: ["token": 5], in: 4...5),
            lock(1, "renew", ["token": 5], returns: true, in: 6...7),
        ],
        // The lease ran out before the next grant.
        [
            lock(1, "acquire", returns: ["token": 5], in: 0...1), lock(3, "expire", ["token": 5], in: 10...20),
            lock(2, "acquire", returns: ["token": 6], in: 2...15),
            lock(1, "renew", ["token": 5], returns: false, in: 16...17),
        ],
        // A grant nobody heard of comes between two others, and is seen.
        [
            unanswered(1, "acquire", at: 0, model: "lock"), lock(2, "holder", returns: ["token": 3], in: 2...3),
            lock(3, "acquire", returns: ["token": 4], in: 5...6),
        ],
        // A release without an answer.
        [
            lock(1, "acquire", returns: ["token": 5], in: 0...1),
            unanswered(1, "release", ["token": 5], at: 2, model: "lock"),
            lock(2, "acquire", returns: ["token": 6], in: 3...4),
        ],
    ])
    func `a lock that excludes holds`(operations: [HistoryOperation]) {
        #expect(verdict(operations) == .holds)
        #expect(BruteForceChecker.lockIsLinearizable(operations))
    }

    @Test(arguments: [
        // Two holders.
        [
            lock(1, "acquire", returns: ["token": 5], in: 0...1), lock(2, "acquire", returns: ["token": 6], in: 2...3),
            lock(1, "release", ["token": 5], returns: true, in: 4...5),
        ],
        // The token went down.
        [
            lock(1, "acquire", returns: ["token": 5], in: 0...1),
            lock(1, "release", ["token": 5], returns: true, in: 2...3),
            lock(2, "acquire", returns: ["token": 4], in: 4...5),
        ],
        // One token twice.
        [
            lock(1, "acquire", returns: ["token": 5], in: 0...1),
            lock(1, "release", ["token": 5], returns: true, in: 2...3),
            lock(2, "acquire", returns: ["token": 5], in: 4...5),
        ],
        // Granted before the lease can have ended.
        [
            lock(1, "acquire", returns: ["token": 5], in: 0...1), lock(3, "expire", ["token": 5], in: 10...20),
            lock(2, "acquire", returns: ["token": 6], in: 2...9),
        ],
        // Renewed although the next one held it.
        [
            lock(1, "acquire", returns: ["token": 5], in: 0...1), lock(3, "expire", ["token": 5], in: 2...3),
            lock(2, "acquire", returns: ["token": 6], in: 4...5),
            lock(1, "renew", ["token": 5], returns: true, in: 6...7),
        ],
        // A held lock was called free.
        [lock(1, "acquire", returns: ["token": 5], in: 0...1), lock(2, "holder", returns: nil, in: 2...3)],
        // Released although nobody had asked for it.
        [lock(1, "release", ["token": 5], returns: true, in: 0...1)],
        // One unanswered grant under two tokens.
        [
            unanswered(1, "acquire", at: 0, model: "lock"), lock(2, "holder", returns: ["token": 3], in: 2...3),
            lock(3, "holder", returns: ["token": 4], in: 5...6),
        ],
    ])
    func `a lock that does not is refused`(operations: [HistoryOperation]) {
        #expect(verdict(operations).isViolation)
        #expect(!BruteForceChecker.lockIsLinearizable(operations))
    }

    @Test func `random lock histories get the verdict of the oracle`() {
        var random = SeededRandom(seed: 0x10c4)
        var violations = 0
        for _ in 0..<60_000 {
            let operations = HistoryGenerator.lock(operations: random.int(in: 2...6), using: &random)
            let holds = verdict(operations) == .holds
            if !holds { violations += 1 }
            if holds != BruteForceChecker.lockIsLinearizable(operations) {
                Issue.record("the oracle disagrees on \(operations)")
                return
            }
        }
        #expect(violations > 6_000)
        #expect(violations < 54_000)
    }

    @Test func `a model that nobody knows is left unjudged and said so`() {
        let report = HistoryChecker().check([operation(1, "append", 1, in: 0...1, model: "list")])
        #expect(report.verdict == .holds)
        #expect(report.operations == 0)
        #expect(report.unjudgedModels == ["list"])
    }
}
