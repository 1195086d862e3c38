import CacheCore
import EsperTypes
import KernelCache

extension CommandTable {
    static let keyCommands: [CommandSpec] = [
        CommandSpec("del", -2, [.write], (1, -1, 1)) { $0.delete($1) },
        CommandSpec("unlink", -2, [.write, .fast], (1, -1, 1)) { $0.delete($1) },
        CommandSpec("exists", -2, [.readonly, .fast], (1, -1, 1)) { $0.exists($1) },
        CommandSpec("touch", -2, [.readonly, .fast], (1, -1, 1)) { $0.exists($1) },
        CommandSpec("type", 2, [.readonly, .fast], (1, 1, 1)) { $0.type($1) },
        CommandSpec("expire", -3, [.write, .fast], (1, 1, 1)) { $0.expire($1, unit: 1000, isAbsolute: false) },
        CommandSpec("pexpire", -3, [.write, .fast], (1, 1, 1)) { $0.expire($1, unit: 1, isAbsolute: false) },
        CommandSpec("expireat", -3, [.write, .fast], (1, 1, 1)) { $0.expire($1, unit: 1000, isAbsolute: true) },
        CommandSpec("pexpireat", -3, [.write, .fast], (1, 1, 1)) { $0.expire($1, unit: 1, isAbsolute: true) },
        CommandSpec("ttl", 2, [.readonly, .fast], (1, 1, 1)) { $0.timeToLive($1, unit: 1000) },
        CommandSpec("pttl", 2, [.readonly, .fast], (1, 1, 1)) { $0.timeToLive($1, unit: 1) },
        CommandSpec("persist", 2, [.write, .fast], (1, 1, 1)) { $0.persist($1) },
    ]
}

extension RedisSession {
    func delete(_ arguments: [[UInt8]]) -> Outcome {
        ask { keyspace, deadline async throws(CacheFailure) in
            var count = 0
            for key in arguments.dropFirst() where try await keyspace.clear(key, by: deadline) { count += 1 }
            return .count(count)
        }
    }

    func exists(_ arguments: [[UInt8]]) -> Outcome {
        ask(instead: .integer(0)) { keyspace, deadline async throws(CacheFailure) in
            var count = 0
            for key in arguments.dropFirst() {
                let isString = try await keyspace.binding(key, by: deadline) != nil
                if isString {
                    count += 1
                } else if try await keyspace.hasHash(key, by: deadline) {
                    count += 1
                }
            }
            return .count(count)
        }
    }

    func type(_ arguments: [[UInt8]]) -> Outcome {
        let key = arguments[1]
        return ask(instead: .simple("none")) { keyspace, deadline async throws(CacheFailure) in
            if try await keyspace.binding(key, by: deadline) != nil { return .simple("string") }
            return .simple(try await keyspace.hasHash(key, by: deadline) ? "hash" : "none")
        }
    }

    func expire(_ arguments: [[UInt8]], unit: Int64, isAbsolute: Bool) -> Outcome {
        let key = arguments[1]
        let command = String(decoding: arguments[0].lowercasedASCII, as: UTF8.self)
        var rules: Set<String> = []
        for word in arguments.dropFirst(3) {
            let rule = String(decoding: word, as: UTF8.self).uppercased()
            guard ["NX", "XX", "GT", "LT"].contains(rule) else {
                return .now(.error("ERR Unsupported option \(String(decoding: word, as: UTF8.self))"))
            }
            rules.insert(rule)
        }
        if rules.contains("NX"), rules.count > 1 {
            return .now(.error("ERR NX and XX, GT or LT options at the same time are not compatible"))
        }
        if rules.isSuperset(of: ["GT", "LT"]) {
            return .now(.error("ERR GT and LT options at the same time are not compatible"))
        }
        let wanted = rules
        guard let time = Int64(redis: arguments[2]) else { return .now(.notInteger) }
        guard let end = expiry(time, unit: unit, isAbsolute: isAbsolute) else { return .now(.invalidExpiry(command)) }
        return ask { keyspace, deadline async throws(CacheFailure) in
            .flag(
                try await keyspace.rebind(key, by: deadline) { binding in
                    let current = binding.expires / 1_000_000
                    let new = UInt64(max(0, end))
                    if wanted.contains("NX"), current != 0 { return nil }
                    if wanted.contains("XX"), current == 0 { return nil }
                    if wanted.contains("GT"), current == 0 || new <= current { return nil }
                    if wanted.contains("LT"), current != 0, new >= current { return nil }
                    return .until(milliseconds: end)
                })
        }
    }

    func timeToLive(_ arguments: [[UInt8]], unit: Int64) -> Outcome {
        let key = arguments[1]
        return ask(instead: .integer(-2)) { keyspace, deadline async throws(CacheFailure) in
            guard let binding = try await keyspace.binding(key, by: deadline) else {
                return .integer(try await keyspace.hasHash(key, by: deadline) ? -1 : -2)
            }
            guard let left = keyspace.remaining(binding) else { return .integer(-1) }
            let milliseconds = left.nanoseconds / 1_000_000
            return .integer(unit == 1000 ? (milliseconds + 500) / 1000 : milliseconds)
        }
    }

    func persist(_ arguments: [[UInt8]]) -> Outcome {
        let key = arguments[1]
        return ask { keyspace, deadline async throws(CacheFailure) in
            .flag(
                try await keyspace.rebind(key, by: deadline) { binding in binding.expires == 0 ? nil : .forever })
        }
    }
}
