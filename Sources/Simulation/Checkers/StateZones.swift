/// The times during which an object certainly was in one state, as far as single operations tell.
///
/// A state that one operation alone produces lasts from the first answer that proves it to the last call that still
/// finds it. Two such times that overlap, or an operation wholly inside one that needs or makes another state, refute
/// a history without any search. Source: Gibbons & Korach, "Testing shared memories", 1997, for values written once.
struct StateZones<Model: SequentialModel> {
    private struct Zone {
        var state: Model.State
        /// When it certainly had begun, and who proves that.
        var begun = Int64.max
        var begunPosition = -1
        /// When it certainly still was.
        var lasts = Int64.min
        var lastsPosition = -1
        var producers = 0
    }

    private let model: Model
    private var zones: [Model.State: Zone] = [:]

    init(_ model: Model, _ calls: [ModelCall<Model.Action>]) {
        self.model = model
        zones[model.initial] = Zone(state: model.initial, begun: .min, producers: 1)
        for call in calls {
            if let state = model.producedState(of: call.action) {
                zones[state, default: Zone(state: state)].producers += 1
                extend(state, by: call)
            }
            if let state = model.requiredState(of: call.action) { extend(state, by: call) }
        }
    }

    private mutating func extend(_ state: Model.State, by call: ModelCall<Model.Action>) {
        guard let end = call.returnNanoseconds else { return }
        var zone = zones[state] ?? Zone(state: state)
        if end < zone.begun {
            zone.begun = end
            zone.begunPosition = call.position
        }
        if call.callNanoseconds > zone.lasts {
            zone.lasts = call.callNanoseconds
            zone.lastsPosition = call.position
        }
        zones[state] = zone
    }

    /// The operations that cannot all be right, the decisive one last; nil when these rules find none.
    func contradiction(in calls: [ModelCall<Model.Action>]) -> [Int]? {
        let certain = zones.values.filter { $0.producers == 1 && $0.begun < $0.lasts }.sorted { $0.begun < $1.begun }
        for (one, other) in zip(certain, certain.dropFirst()) where other.begun < one.lasts {
            return [one.begunPosition, other.begunPosition, one.lastsPosition].filter { $0 >= 0 }
        }
        for call in calls {
            guard let end = call.returnNanoseconds else { continue }
            // The last zone that had begun before the call; zones do not overlap, so no other can hold the call.
            var low = 0
            var high = certain.count
            while low < high {
                let middle = (low + high) / 2
                if certain[middle].begun < call.callNanoseconds { low = middle + 1 } else { high = middle }
            }
            guard low > 0, end < certain[low - 1].lasts else { continue }
            let zone = certain[low - 1]
            let named = [model.requiredState(of: call.action), model.producedState(of: call.action)]
            if named.contains(where: { $0 != nil && $0 != zone.state }) {
                return [zone.begunPosition, zone.lastsPosition, call.position].filter { $0 >= 0 }
            }
        }
        return nil
    }
}
