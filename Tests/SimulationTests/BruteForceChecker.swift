import Simulation

/// Tries every order: the oracle the checker is held against on small histories.
///
/// It shares nothing with the checker but the meaning of a history: no models, no memory, no shortcuts.
enum BruteForceChecker {
    static func registerIsLinearizable(_ operations: [HistoryOperation]) -> Bool {
        explore(operations.filter { $0.status != .fail }, value: nil as JSONValue)
    }

    static func lockIsLinearizable(_ operations: [HistoryOperation]) -> Bool {
        exploreLock(operations.filter { $0.status != .fail }, holder: .free, highest: .min)
    }

    /// May `operation` come first among `operations`? Only if none of the others ended before it began.
    private static func mayComeFirst(_ operation: HistoryOperation, among operations: [HistoryOperation]) -> Bool {
        !operations.contains { other in
            other.status == .ok && (other.returnNanoseconds ?? .max) < operation.callNanoseconds
        }
    }

    private static func explore(_ remaining: [HistoryOperation], value: JSONValue) -> Bool {
        if !remaining.contains(where: { $0.status == .ok }) { return true }
        for (position, operation) in remaining.enumerated() where mayComeFirst(operation, among: remaining) {
            var rest = remaining
            rest.remove(at: position)
            let answered = operation.status == .ok
            switch operation.op {
            case "read":
                if answered, operation.output != value { continue }
                if explore(rest, value: value) { return true }
            case "write":
                if explore(rest, value: operation.input) { return true }
            case "cas":
                let pair = operation.input.elements ?? []
                let succeeds = pair[0] == value
                if answered, operation.output != .bool(succeeds) { continue }
                if explore(rest, value: succeeds ? pair[1] : value) { return true }
            default:
                if answered, let existed = operation.output.bool, existed != (value != nil) { continue }
                if explore(rest, value: nil) { return true }
            }
        }
        return false
    }

    private enum Holder: Equatable {
        case free
        case token(Int64)
        case unknown(Int64?)
    }

    private static func exploreLock(_ remaining: [HistoryOperation], holder: Holder, highest: Int64) -> Bool {
        if !remaining.contains(where: { $0.status == .ok }) { return true }
        // An unknown holder may go at any time.
        if case .unknown = holder, exploreLock(remaining, holder: .free, highest: highest) { return true }
        for (position, operation) in remaining.enumerated() where mayComeFirst(operation, among: remaining) {
            var rest = remaining
            rest.remove(at: position)
            let answered = operation.status == .ok
            let token = (operation.op == "acquire" || operation.op == "holder" ? operation.output : operation.input)[
                "token"]?.integer
            let isBound = token != nil && (holder == .token(token!) || holder == .unknown(token!))
            let holds = isBound || token != nil && holder == .unknown(nil) && token! > highest
            let stays: Holder = holder == token.map { .token($0) } ? holder : .unknown(token)
            switch operation.op {
            case "acquire":
                if answered, let token {
                    guard holder == .free, token > highest else { continue }
                    if exploreLock(rest, holder: .token(token), highest: token) { return true }
                } else if answered {
                    if exploreLock(rest, holder: holder, highest: highest) { return true }
                } else if holder == .free {
                    if exploreLock(rest, holder: .unknown(nil), highest: highest) { return true }
                }
            case "release", "expire":
                let isTold = operation.op == "release" && answered && operation.output == true
                if isTold ? holds : isBound, !(answered && operation.output == false) {
                    if exploreLock(rest, holder: .free, highest: max(highest, token!)) { return true }
                }
                let isRefused = operation.op == "release" && answered && operation.output == false
                if isRefused ? holder != .token(token!) : !isBound, !isTold {
                    if exploreLock(rest, holder: holder, highest: highest) { return true }
                }
            case "renew":
                if holds, operation.output != false {
                    if exploreLock(rest, holder: stays, highest: max(highest, token!)) { return true }
                }
                if holder != .token(token!), operation.output != true {
                    if exploreLock(rest, holder: holder, highest: highest) { return true }
                }
            default:
                if let token {
                    guard holds else { continue }
                    if exploreLock(rest, holder: stays, highest: max(highest, token)) { return true }
                } else {
                    guard holder == .free else { continue }
                    if exploreLock(rest, holder: .free, highest: highest) { return true }
                }
            }
        }
        return false
    }
}
