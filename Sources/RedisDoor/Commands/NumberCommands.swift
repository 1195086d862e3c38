import CacheCore
import EsperTypes
import KernelCache

extension CommandTable {
    static let numberCommands: [CommandSpec] = [
        CommandSpec("incr", 2, [.write, .revealing, .denyOOM, .fast], (1, 1, 1)) { $0.add(1, to: $1[1]) },
        CommandSpec("decr", 2, [.write, .revealing, .denyOOM, .fast], (1, 1, 1)) { $0.add(-1, to: $1[1]) },
        CommandSpec("incrby", 3, [.write, .revealing, .denyOOM, .fast], (1, 1, 1)) { session, arguments in
            guard let step = Int64(redis: arguments[2]) else { return .now(.notInteger) }
            return session.add(step, to: arguments[1])
        },
        CommandSpec("decrby", 3, [.write, .revealing, .denyOOM, .fast], (1, 1, 1)) { session, arguments in
            guard let step = Int64(redis: arguments[2]) else { return .now(.notInteger) }
            guard step != .min else { return .now(.error("ERR decrement would overflow")) }
            return session.add(-step, to: arguments[1])
        },
    ]
}

extension RedisSession {
    /// A counter: exact however many add at once, since each write is conditional on the value it was computed from.
    func add(_ step: Int64, to key: [UInt8]) -> Outcome {
        ask { keyspace, deadline async throws(CacheFailure) in
            try await keyspace.update(key, by: deadline) { old in
                guard let value = old.map({ Int64(redis: $0.bytes) }) ?? 0 else { return (.leave, .notInteger) }
                let (sum, overflows) = value.addingReportingOverflow(step)
                guard !overflows else { return (.leave, .overflow) }
                return (.write(Array(String(sum).utf8), .kept), .integer(sum))
            }
        }
    }
}
