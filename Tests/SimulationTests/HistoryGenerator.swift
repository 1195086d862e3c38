import Simulation

/// Makes histories by running a real object: operations take effect somewhere between call and answer.
enum HistoryGenerator {
    /// A register driven by `processes` clients, who write values up to `values`, or each value once; `lies` answers of reads are replaced by a value written earlier.
    static func register(
        operations count: Int, processes: Int, values: Int?, lies: Int, using random: inout SeededRandom
    ) -> [HistoryOperation] {
        struct Client {
            var name: Int64
            var pending: (operation: HistoryOperation, tookEffect: Bool)?
        }
        var clients = (0..<processes).map { Client(name: Int64($0)) }
        var nextName = Int64(processes)
        var value: JSONValue = nil
        var history: [HistoryOperation] = []
        var now: Int64 = 0
        var started = 0
        var written: Int64 = 0
        func fresh(_ random: inout SeededRandom) -> JSONValue {
            guard let values else {
                written += 1
                return .integer(written)
            }
            return .integer(Int64(random.int(in: 1...values)))
        }
        while history.count < count {
            now += Int64(random.int(in: 1...3))
            let index = random.int(in: 0...processes - 1)
            if var pending = clients[index].pending {
                if !pending.tookEffect {
                    perform(&pending.operation, on: &value)
                    clients[index].pending = (pending.operation, true)
                } else {
                    var operation = pending.operation
                    if random.chance(1, in: 50) {
                        operation.status = .info
                        operation.output = nil
                        clients[index].name = nextName
                        nextName += 1
                    } else {
                        operation.returnNanoseconds = now
                    }
                    history.append(operation)
                    clients[index].pending = nil
                }
            } else if started < count {
                started += 1
                var operation = HistoryOperation(
                    process: clients[index].name, op: "read", key: "k", callNanoseconds: now, returnNanoseconds: nil,
                    status: .ok)
                switch random.int(in: 0...9) {
                case 0...4: break
                case 5...7:
                    operation.op = "write"
                    operation.input = fresh(&random)
                case 8:
                    operation.op = "cas"
                    let old = random.chance(1, in: 2) ? value : .integer(Int64(random.int(in: 1...(values ?? 9))))
                    operation.input = [old, fresh(&random)]
                default: operation.op = "delete"
                }
                // Some never arrive.
                clients[index].pending = (operation, false)
            }
        }
        tell(lies, in: &history, using: &random)
        return history
    }

    private static func perform(_ operation: inout HistoryOperation, on value: inout JSONValue) {
        switch operation.op {
        case "read": operation.output = value
        case "write": value = operation.input
        case "cas":
            let pair = operation.input.elements ?? []
            operation.output = .bool(pair[0] == value)
            if pair[0] == value { value = pair[1] }
        default:
            operation.output = .bool(value != nil)
            value = nil
        }
    }

    private static func tell(_ lies: Int, in history: inout [HistoryOperation], using random: inout SeededRandom) {
        let reads = history.indices.filter { history[$0].op == "read" && history[$0].status == .ok }
        let writes = history.indices.filter { history[$0].op == "write" && history[$0].status == .ok }
        guard !reads.isEmpty, !writes.isEmpty else { return }
        for _ in 0..<lies {
            let read = reads[random.int(in: 0...reads.count - 1)]
            let write = writes[random.int(in: 0...writes.count - 1)]
            history[read].output = history[write].input
        }
    }

    /// Lock operations drawn at random, sensible or not, over few tokens and few moments.
    static func lock(operations count: Int, using random: inout SeededRandom) -> [HistoryOperation] {
        (0..<count).map { process in
            let call = Int64(random.int(in: 0...8))
            let token: JSONValue = ["token": .integer(Int64(random.int(in: 1...3)))]
            var operation = HistoryOperation(
                process: Int64(process), op: "acquire", key: "l", callNanoseconds: call,
                returnNanoseconds: call + Int64(random.int(in: 0...5)), status: .ok, model: "lock")
            switch random.int(in: 0...11) {
            case 0...4: operation.output = random.chance(1, in: 6) ? false : token
            case 5...7:
                operation.op = "release"
                operation.input = token
                operation.output = .bool(!random.chance(1, in: 4))
            case 8:
                operation.op = "renew"
                operation.input = token
                operation.output = .bool(!random.chance(1, in: 4))
            case 9:
                operation.op = "holder"
                operation.output = random.chance(1, in: 3) ? nil : token
            default:
                operation.op = "expire"
                operation.input = token
            }
            if random.chance(1, in: 5), operation.op != "renew", operation.op != "holder" {
                operation.status = .info
                operation.output = nil
                operation.returnNanoseconds = nil
            }
            return operation
        }
    }
}
