/// Decides whether a concurrent history of one object has an order that a sequential object could have followed.
///
/// Just-in-time linearisation, searched depth first with memory of the configurations already refuted (Wing & Gong
/// 1993; Lowe, "Testing for linearizability", 2017). A configuration is a place in the history, the object's state and
/// the operations that already took effect although they have not returned yet. Four observations keep it small:
///
/// - An operation need not take effect before the next answer forces something to, so the search branches at answers only.
/// - An operation that never changes the state takes effect as soon as it can: no later choice is lost.
/// - A state that only one operation produces must not be left while an answer still requires it.
/// - Unknown outcomes with equal actions are interchangeable, the earliest asked goes first; and of two
///   configurations that differ only in the unknown outcomes used, the one that used fewer can do all the other can.
public struct LinearizabilityChecker<Model: SequentialModel>: Sendable {
    public enum Outcome: Sendable {
        case linearizable
        /// No order exists: up to `position` one does, and the answer to the operation there fits none.
        case violated(position: Int, states: [Model.State])
        /// The search gave up.
        case undecided(String)
    }

    private let model: Model
    private let maximumConfigurations: Int

    /// - Parameter maximumConfigurations: how many configurations are remembered before the search gives up; each
    ///   takes about 100 bytes.
    public init(_ model: Model, maximumConfigurations: Int = 4_000_000) {
        self.model = model
        self.maximumConfigurations = maximumConfigurations
    }

    /// - Complexity: about linear for histories that are linearizable, exponential in the operations that overlap at
    ///   one moment for the worst of the others.
    public func check(_ calls: [ModelCall<Model.Action>]) -> Outcome {
        guard let timeline = Timeline(model, calls) else {
            return .undecided("more than \(SlotSet.capacity) operations of one key overlap")
        }
        var search = LinearizabilitySearch(
            model: model, timeline: timeline, maximumConfigurations: maximumConfigurations)
        return search.run()
    }
}

/// A set of the slots that operations in flight occupy.
struct SlotSet: Hashable {
    static let capacity = 256
    private var a: UInt64 = 0
    private var b: UInt64 = 0
    private var c: UInt64 = 0
    private var d: UInt64 = 0

    func contains(_ slot: Int) -> Bool {
        let word =
            switch slot >> 6 {
            case 0: a
            case 1: b
            case 2: c
            default: d
            }
        return word >> UInt64(slot & 63) & 1 == 1
    }

    mutating func toggle(_ slot: Int) {
        let bit = UInt64(1) << UInt64(slot & 63)
        switch slot >> 6 {
        case 0: a ^= bit
        case 1: b ^= bit
        case 2: c ^= bit
        default: d ^= bit
        }
    }
}

/// A history cut at its answers: what is in flight at each, and which unknown outcomes were asked before it.
struct Timeline<Model: SequentialModel> {
    typealias Action = Model.Action

    /// An answered operation that is possible in one state only.
    struct Requirer {
        var call: Int32
        /// The first answer after its call, and its own.
        var visible: Int
        var answer: Int
    }

    struct Answer {
        var action: Action
        var slot: Int
        var position: Int
        /// Where ``inFlight`` lists the other operations in flight, those that are answered first in front.
        var others: Range<Int>
        /// How many unknown outcomes were asked before this answer.
        var unknowns: Int
        var call: Int32
    }

    /// Unknown outcomes with one action.
    struct Group {
        var action: Action
        /// Each asked when so many unknowns had been asked before.
        var asked: [Int]

        func available(_ unknowns: Int) -> Int {
            // Groups are short or fully available; the last element decides most cases.
            if let last = asked.last, last < unknowns { return asked.count }
            return asked.firstIndex { $0 >= unknowns } ?? asked.count
        }
    }

    private struct Event {
        var time: Int64
        var isAnswer: Bool
        var call: Int
    }

    private(set) var answers: [Answer] = []
    private(set) var inFlight: [Int32] = []
    private(set) var groups: [Group] = []
    private var actions: [Action] = []
    /// By the state they require, in the order of their answers.
    private var requirers: [Model.State: [Requirer]] = [:]
    private var producers: [Model.State: Int] = [:]
    private var slots: [Int16] = []

    func action(ofCall call: Int32) -> Action { actions[Int(call)] }

    func slot(ofCall call: Int32) -> Int { Int(slots[Int(call)]) }

    /// - Returns: nil when more operations overlap than a ``SlotSet`` holds.
    init?(_ model: Model, _ calls: [ModelCall<Action>]) {
        var events: [Event] = []
        events.reserveCapacity(calls.count * 2)
        for (number, call) in calls.enumerated() {
            events.append(Event(time: call.callNanoseconds, isAnswer: false, call: number))
            if let end = call.returnNanoseconds { events.append(Event(time: end, isAnswer: true, call: number)) }
        }
        // What happens at one moment overlaps: calls first.
        events.sort {
            $0.time != $1.time ? $0.time < $1.time : $0.isAnswer != $1.isAnswer ? !$0.isAnswer : $0.call < $1.call
        }
        var freeSlots = Array((0..<SlotSet.capacity).reversed())
        actions = calls.map(\.action)
        slots = [Int16](repeating: -1, count: calls.count)
        var current: [Int32] = []
        var unknowns = 0
        var groupOf: [Action: Int] = [:]
        var visible = [Int](repeating: 0, count: calls.count)
        producers[model.initial] = 1
        for call in calls {
            if let state = model.producedState(of: call.action) { producers[state, default: 0] += 1 }
        }
        for event in events {
            let call = calls[event.call]
            if event.isAnswer {
                current.removeAll { $0 == Int32(event.call) }
                let start = inFlight.count
                inFlight.append(contentsOf: current)
                let slot = Int(slots[event.call])
                if let state = model.requiredState(of: call.action) {
                    let requirer = Requirer(
                        call: Int32(event.call), visible: visible[event.call], answer: answers.count)
                    requirers[state, default: []].append(requirer)
                }
                answers.append(
                    Answer(
                        action: call.action, slot: slot, position: call.position, others: start..<inFlight.count,
                        unknowns: unknowns, call: Int32(event.call)))
                freeSlots.append(slot)
            } else if let end = call.returnNanoseconds {
                guard let slot = freeSlots.popLast() else { return nil }
                slots[event.call] = Int16(slot)
                visible[event.call] = answers.count
                let place = current.firstIndex { calls[Int($0)].returnNanoseconds ?? .max > end } ?? current.count
                current.insert(Int32(event.call), at: place)
            } else {
                if let group = groupOf[call.action] {
                    groups[group].asked.append(unknowns)
                } else {
                    groupOf[call.action] = groups.count
                    groups.append(Group(action: call.action, asked: [unknowns]))
                }
                unknowns += 1
            }
        }
    }

    /// Whether an operation that has not taken effect before the answer at `answer` requires `state`.
    func isRequired(_ state: Model.State, at answer: Int, done: SlotSet) -> Bool {
        guard let list = requirers[state] else { return false }
        for requirer in list.reversed() {
            if requirer.answer < answer { return false }
            if isOutstanding(requirer, at: answer, done: done) { return true }
        }
        return false
    }

    /// Who may take the object out of `state` before the answer at `answer`.
    func exit(from state: Model.State, at answer: Int, done: SlotSet) -> LinearizabilitySearch<Model>.Exit {
        guard producers[state] == 1, let list = requirers[state] else { return .anyone }
        var exit = LinearizabilitySearch<Model>.Exit.anyone
        for requirer in list.reversed() {
            if requirer.answer < answer { break }
            guard isOutstanding(requirer, at: answer, done: done) else { continue }
            if exit != .anyone { return .nobody }
            exit = .only(requirer.call)
        }
        return exit
    }

    private func isOutstanding(_ requirer: Requirer, at answer: Int, done: SlotSet) -> Bool {
        requirer.visible > answer || !done.contains(slot(ofCall: requirer.call))
    }
}
