/// The depth-first search of ``LinearizabilityChecker``, with its own stack so that no history exhausts the thread's.
struct LinearizabilitySearch<Model: SequentialModel> {
    typealias Outcome = LinearizabilityChecker<Model>.Outcome

    /// Just before the answer at `answer`.
    private struct Configuration {
        var answer: Int
        var state: Model.State
        var done = SlotSet()
        /// How many of each group of unknown outcomes took effect.
        var used: [UInt16]
    }

    private struct Key: Hashable {
        var answer: Int
        var state: Model.State
        var done: SlotSet
    }

    /// Who may leave a state: it may still be required and unable to come back.
    enum Exit: Equatable {
        case anyone
        case only(Int32)
        case nobody
    }

    private struct Frame {
        var configuration: Configuration
        var exit: Exit
        /// The choice to try next; see ``LinearizabilitySearch/take(_:from:)``.
        var choice = 0
    }

    private let model: Model
    private let timeline: Timeline<Model>
    private let maximumConfigurations: Int
    private var refuted: [Key: [[UInt16]]] = [:]
    private var remembered = 0
    private var furthest = -1
    private var furthestStates: [Model.State] = []

    init(model: Model, timeline: Timeline<Model>, maximumConfigurations: Int) {
        self.model = model
        self.timeline = timeline
        self.maximumConfigurations = maximumConfigurations
    }

    mutating func run() -> Outcome {
        var start = Configuration(
            answer: 0, state: model.initial, used: [UInt16](repeating: 0, count: timeline.groups.count))
        guard advance(&start) else { return .linearizable }
        _ = isNew(start)
        var stack = [frame(start)]
        while let top = stack.indices.last {
            let choice = stack[top].choice
            stack[top].choice += 1
            switch take(choice, from: stack[top]) {
            case .exhausted:
                stack.removeLast()
            case .impossible:
                continue
            case .leads(var next):
                guard advance(&next) else { return .linearizable }
                guard isNew(next) else { continue }
                if remembered > maximumConfigurations {
                    return .undecided("more than \(maximumConfigurations) configurations")
                }
                stack.append(frame(next))
            }
        }
        return .violated(position: timeline.answers[furthest].position, states: furthestStates)
    }

    private func frame(_ configuration: Configuration) -> Frame {
        Frame(
            configuration: configuration,
            exit: timeline.exit(from: configuration.state, at: configuration.answer, done: configuration.done))
    }

    /// Passes every answer that needs no choice.
    ///
    /// - Returns: false when the history ends.
    private func advance(_ configuration: inout Configuration) -> Bool {
        while configuration.answer < timeline.answers.count {
            let answer = timeline.answers[configuration.answer]
            for other in timeline.inFlight[answer.others] {
                let slot = timeline.slot(ofCall: other)
                let action = timeline.action(ofCall: other)
                if !configuration.done.contains(slot), model.isObservation(action),
                    model.apply(action, to: configuration.state) != nil
                {
                    configuration.done.toggle(slot)
                }
            }
            if configuration.done.contains(answer.slot) {
                configuration.done.toggle(answer.slot)
            } else if !model.isObservation(answer.action)
                || model.apply(answer.action, to: configuration.state) == nil
            {
                return true
            }
            configuration.answer += 1
        }
        return false
    }

    private mutating func isNew(_ configuration: Configuration) -> Bool {
        if configuration.answer > furthest {
            furthest = configuration.answer
            furthestStates = []
        }
        if configuration.answer == furthest, furthestStates.count < 16, !furthestStates.contains(configuration.state) {
            furthestStates.append(configuration.state)
        }
        let key = Key(answer: configuration.answer, state: configuration.state, done: configuration.done)
        let used = configuration.used
        let isDominated = refuted[key]?.contains { known in
            for (one, other) in zip(known, used) where one > other { return false }
            return true
        }
        if isDominated ?? false { return false }
        refuted[key, default: []].append(used)
        remembered += 1
        return true
    }

    private enum Choice {
        case leads(Configuration)
        case impossible
        case exhausted
    }

    /// Choices 0 and 1 let the operation that is about to be answered take effect. The others let something else take
    /// effect before it: first, in a round of their own, whatever makes its answer possible at once.
    private func take(_ choice: Int, from frame: Frame) -> Choice {
        let configuration = frame.configuration
        let answer = timeline.answers[configuration.answer]
        if choice <= 1 {
            var next = configuration
            guard perform(answer.action, call: answer.call, hidingOthers: choice == 0, from: frame, in: &next) else {
                return .impossible
            }
            next.answer += 1
            return .leads(next)
        }
        let width = answer.others.count + (frame.exit == .anyone ? timeline.groups.count : 0)
        guard choice - 2 < 4 * width else { return .exhausted }
        let (round, candidate) = (choice - 2).quotientAndRemainder(dividingBy: width)
        let hidesOthers = round % 2 == 0
        var next = configuration
        if candidate < answer.others.count {
            let call = timeline.inFlight[answer.others.lowerBound + candidate]
            let slot = timeline.slot(ofCall: call)
            guard !configuration.done.contains(slot) else { return .impossible }
            next.done.toggle(slot)
            let action = timeline.action(ofCall: call)
            guard perform(action, call: call, hidingOthers: hidesOthers, from: frame, in: &next) else {
                return .impossible
            }
        } else {
            let number = candidate - answer.others.count
            let group = timeline.groups[number]
            guard !hidesOthers || model.isBlind(group.action),
                model.apply(group.action, to: configuration.state) != configuration.state,
                Int(configuration.used[number]) < group.available(answer.unknowns),
                perform(group.action, call: -1, hidingOthers: hidesOthers, from: frame, in: &next)
            else { return .impossible }
            next.used[number] += 1
        }
        let makesAnswerPossible = model.apply(answer.action, to: next.state) != nil
        return makesAnswerPossible == (round < 2) ? .leads(next) : .impossible
    }

    /// Lets one operation take effect.
    ///
    /// - Parameter hidingOthers: whether blind operations in flight whose result nobody waits for take effect just
    ///   before this one, which hides them. Nothing is lost by it but what else such a result might have made possible,
    ///   which is why there is always another choice without.
    /// - Returns: false when the operation is impossible, would leave a state that others must see, or was to hide
    ///   others and there are none.
    private func perform(
        _ action: Model.Action, call: Int32, hidingOthers: Bool, from frame: Frame,
        in configuration: inout Configuration
    ) -> Bool {
        if hidingOthers, !model.isBlind(action) { return false }
        guard let state = model.apply(action, to: configuration.state) else { return false }
        if state != configuration.state, frame.exit != .anyone, frame.exit != .only(call) { return false }
        if hidingOthers {
            var hides = false
            for other in timeline.inFlight[timeline.answers[configuration.answer].others] where other != call {
                let slot = timeline.slot(ofCall: other)
                let hidden = timeline.action(ofCall: other)
                guard !configuration.done.contains(slot), model.isBlind(hidden),
                    let result = model.producedState(of: hidden), result != state,
                    !timeline.isRequired(result, at: configuration.answer, done: configuration.done)
                else { continue }
                configuration.done.toggle(slot)
                hides = true
            }
            guard hides else { return false }
        }
        configuration.state = state
        return true
    }
}
