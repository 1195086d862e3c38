/// Judges a recorded history: its recorder first, then every (model, key) apart.
public struct HistoryChecker: Sendable {
    public enum Verdict: Hashable, Sendable {
        /// Every operation has a place in an order its object could have followed.
        case holds
        case violated(Violation)
        /// The search gave up on a key; nothing was found wrong elsewhere.
        case undecided(model: String, key: String, reason: String)
        /// The recorder is broken or the file is not a history: there is no verdict.
        case invalid(HistoryProblem)
    }

    public struct Violation: Hashable, Sendable, CustomStringConvertible {
        public var model: String
        public var key: String
        public var reason: String
        /// Positions in the history of the operations that show it, the decisive one last.
        public var positions: [Int]

        public var description: String { "\(model) \(key): \(reason)" }
    }

    public struct Report: Sendable {
        public var verdict: Verdict
        /// How many operations were judged.
        public var operations = 0
        public var keys = 0
        /// Models that no checker knows; their operations were not judged.
        public var unjudgedModels: [String] = []
    }

    private let maximumConfigurations: Int

    public init(maximumConfigurations: Int = 4_000_000) {
        self.maximumConfigurations = maximumConfigurations
    }

    /// The first violation in the order of model and key, or what else there is to say.
    public func check(_ history: History) -> Report {
        check(history.operations)
    }

    public func check(_ operations: [HistoryOperation]) -> Report {
        var report = Report(verdict: .holds)
        if let problem = Self.recorderProblem(in: operations) {
            report.verdict = .invalid(problem)
            return report
        }
        var objects: [String: [String: [Int]]] = [:]
        for (position, operation) in operations.enumerated() {
            objects[operation.model, default: [:]][operation.key, default: []].append(position)
        }
        for (model, keys) in objects.sorted(by: { $0.key < $1.key }) {
            guard ["register", "lock"].contains(model) else {
                report.unjudgedModels.append(model)
                continue
            }
            for (key, positions) in keys.sorted(by: { $0.key < $1.key }) {
                report.keys += 1
                report.operations += positions.count
                switch judge(model, key, operations, positions) {
                case .holds: continue
                case .undecided(let model, let key, let reason):
                    if report.verdict == .holds {
                        report.verdict = .undecided(model: model, key: key, reason: reason)
                    }
                case let verdict:
                    report.verdict = verdict
                    return report
                }
            }
        }
        return report
    }

    private func judge(
        _ model: String, _ key: String, _ operations: [HistoryOperation], _ positions: [Int]
    ) -> Verdict {
        do throws(HistoryProblem) {
            if model == "lock" {
                if let violation = try LockOrder.violation(key: key, operations, at: positions) {
                    return .violated(violation)
                }
                let calls = try LockCompiler.compile(operations, at: positions)
                return verdict(LockModel(), calls, model, key, operations)
            }
            let calls = try RegisterCompiler.compile(operations, at: positions)
            if let violation = Self.readFromNowhere(calls, key: key, operations) { return .violated(violation) }
            return verdict(RegisterModel(), calls, model, key, operations)
        } catch {
            return .invalid(error)
        }
    }

    private func verdict<Model: SequentialModel>(
        _ model: Model, _ calls: [ModelCall<Model.Action>], _ name: String, _ key: String,
        _ operations: [HistoryOperation]
    ) -> Verdict {
        if let positions = StateZones(model, calls).contradiction(in: calls) {
            let reason = "cannot all be right: " + positions.map { "\(operations[$0])" }.joined(separator: "; ")
            return .violated(Violation(model: name, key: key, reason: reason, positions: positions))
        }
        let checker = LinearizabilityChecker(model, maximumConfigurations: maximumConfigurations)
        switch checker.check(calls) {
        case .linearizable:
            return .holds
        case .undecided(let reason):
            return .undecided(model: name, key: key, reason: reason)
        case .violated(let position, _):
            let last = operations[position]
            let overlapping = calls.map(\.position).filter { other in
                other != position && operations[other].callNanoseconds <= last.returnNanoseconds ?? .max
                    && operations[other].returnNanoseconds ?? .max >= last.callNanoseconds
            }
            return .violated(
                Violation(
                    model: name, key: key, reason: "no order explains \(last)", positions: overlapping + [position]))
        }
    }

    /// A read of a value that nobody had asked to write before the read ended: cheap to see, costly to search for.
    private static func readFromNowhere(
        _ calls: [ModelCall<RegisterModel.Action>], key: String, _ operations: [HistoryOperation]
    ) -> Violation? {
        var firstWrite: [Int32: Int64] = [RegisterModel.absent: .min]
        for call in calls {
            let value: Int32
            switch call.action {
            case .write(let new): value = new
            case .compareAndSet(_, let new, let succeeded) where succeeded != false: value = new
            case .compareAndSet, .read, .delete: continue
            }
            firstWrite[value] = min(firstWrite[value] ?? .max, call.callNanoseconds)
        }
        for call in calls {
            guard case .read(let value) = call.action, let end = call.returnNanoseconds else { continue }
            if firstWrite[value] ?? .max > end {
                return Violation(
                    model: "register", key: key,
                    reason: "\(operations[call.position]) returned what nobody had asked to write",
                    positions: [call.position])
            }
        }
        return nil
    }

    /// Time that runs backwards, a process that overlaps itself, an answer without a time.
    private static func recorderProblem(in operations: [HistoryOperation]) -> HistoryProblem? {
        var byProcess: [Int64: [Int]] = [:]
        for (position, operation) in operations.enumerated() {
            byProcess[operation.process, default: []].append(position)
            guard let end = operation.returnNanoseconds else {
                if operation.status == .ok {
                    return HistoryProblem(position: position, reason: "an answer without the time it came")
                }
                continue
            }
            if end < operation.callNanoseconds {
                return HistoryProblem(position: position, reason: "time runs backwards: it ended before it began")
            }
        }
        var found: HistoryProblem?
        for positions in byProcess.values {
            // Lines are written when operations end, so the order in the file is not the order of calls. Of two that
            // begin at one moment, the one that ends there as well came first.
            let ordered = positions.sorted {
                let (one, other) = (operations[$0], operations[$1])
                if one.callNanoseconds != other.callNanoseconds { return one.callNanoseconds < other.callNanoseconds }
                return one.returnNanoseconds ?? .max < other.returnNanoseconds ?? .max
            }
            for (one, other) in zip(ordered, ordered.dropFirst())
            where operations[one].returnNanoseconds ?? .max > operations[other].callNanoseconds {
                if found.map({ other < $0.position }) ?? true {
                    found = HistoryProblem(
                        position: other, reason: "process \(operations[other].process) overlaps itself")
                }
            }
        }
        return found
    }
}

/// Why a history cannot be judged.
public struct HistoryProblem: Error, Hashable, Sendable, CustomStringConvertible {
    /// The operation, counted from 0.
    public var position: Int
    public var reason: String

    public init(position: Int, reason: String) {
        self.position = position
        self.reason = reason
    }

    public var description: String { "operation \(position): \(reason)" }
}
