import CacheCore
import EsperTypes
import KernelCache

extension CommandTable {
    static let stringCommands: [CommandSpec] = [
        CommandSpec("get", 2, [.readonly, .fast], (1, 1, 1)) { $0.get($1) },
        CommandSpec("set", -3, [.write, .denyOOM], (1, 1, 1)) { $0.set($1) },
        CommandSpec("setex", 4, [.write, .denyOOM], (1, 1, 1)) { $0.setWithExpiry($1, unit: 1000) },
        CommandSpec("psetex", 4, [.write, .denyOOM], (1, 1, 1)) { $0.setWithExpiry($1, unit: 1) },
        CommandSpec("setnx", 3, [.write, .denyOOM, .fast], (1, 1, 1)) { $0.setIfAbsent($1) },
        CommandSpec("getset", 3, [.write, .revealing, .denyOOM, .fast], (1, 1, 1)) { $0.getAndSet($1) },
        CommandSpec("getdel", 2, [.write, .revealing, .fast], (1, 1, 1)) { $0.getAndDelete($1) },
        CommandSpec("getex", -2, [.write, .revealing, .fast], (1, 1, 1)) { $0.getAndExpire($1) },
        CommandSpec("mget", -2, [.readonly, .fast], (1, -1, 1)) { $0.getMany($1) },
        CommandSpec("mset", -3, [.write, .denyOOM], (1, -1, 2)) { $0.setMany($1) },
        CommandSpec("strlen", 2, [.readonly, .fast], (1, 1, 1)) { $0.length($1) },
        CommandSpec("append", 3, [.write, .denyOOM, .fast], (1, 1, 1)) { $0.append($1) },
        CommandSpec("getrange", 4, [.readonly], (1, 1, 1)) { $0.range($1) },
        CommandSpec("substr", 4, [.readonly], (1, 1, 1)) { $0.range($1) },
        CommandSpec("setrange", 4, [.write, .denyOOM], (1, 1, 1)) { $0.overwrite($1) },
    ]
}

extension RedisSession {
    func get(_ arguments: [[UInt8]]) -> Outcome {
        let key = arguments[1]
        return ask(instead: .null) { keyspace, deadline async throws(CacheFailure) in
            guard let value = try await keyspace.readString(key, by: deadline) else { return .null }
            return .parts(value.parts)
        }
    }

    func set(_ arguments: [[UInt8]]) -> Outcome {
        let key = arguments[1]
        let value = arguments[2]
        let options: SetOptions
        switch SetOptions.parse(arguments[3...], at: door.clock.wall() / 1_000_000, command: "set", isSet: true) {
        case .success(let parsed): options = parsed
        case .failure(let failure): return .now(failure.reply)
        }
        if options.returnsOld, let refusal = missing(.read, for: "set") { return .now(refusal) }
        guard options.isPlain else { return setWithOptions(key, value, options) }
        return ask(payload: value.count, instead: .ok, isWrite: true) { keyspace, deadline async throws(CacheFailure) in
            try await keyspace.replace(key, with: value, by: deadline)
            return .ok
        }
    }

    private func setWithOptions(_ key: [UInt8], _ value: [UInt8], _ options: SetOptions) -> Outcome {
        let instead: Reply = options.returnsOld || options.condition != .none ? .null : .ok
        return ask(payload: value.count, instead: instead, isWrite: true) {
            keyspace, deadline async throws(CacheFailure) in
            if options.condition == .none, !options.returnsOld, case .until = options.lifetime {
                // Whatever was there: no need to know it.
                let left = keyspace.duration(options.lifetime, after: nil)
                if let left, left > .zero {
                    try await keyspace.replace(key, with: value, lifetime: left, by: deadline)
                } else {
                    try await keyspace.clear(key, by: deadline)
                }
                return .ok
            }
            return try await keyspace.update(key, by: deadline) { old -> (TenantKeyspace.Change, Reply) in
                let isMet =
                    switch options.condition {
                    case .none: true
                    case .absent: old == nil
                    case .present: old != nil
                    }
                let reply: Reply = options.returnsOld ? old.map { .parts($0.parts) } ?? .null : isMet ? .ok : .null
                guard isMet else { return (.leave, reply) }
                if case .until = options.lifetime, let left = keyspace.duration(options.lifetime, after: nil),
                    left <= .zero
                {
                    return (old == nil ? .leave : .delete, reply)
                }
                return (.write(value, options.lifetime), reply)
            }
        }
    }

    func setWithExpiry(_ arguments: [[UInt8]], unit: Int64) -> Outcome {
        let command = unit == 1000 ? "setex" : "psetex"
        guard let time = Int64(redis: arguments[2]) else { return .now(.notInteger) }
        guard let end = expiry(time, unit: unit, isAbsolute: false), time > 0 else {
            return .now(.invalidExpiry(command))
        }
        var options = SetOptions()
        options.lifetime = .until(milliseconds: end)
        return setWithOptions(arguments[1], arguments[3], options)
    }

    /// Milliseconds since 1970; nil: out of range.
    func expiry(_ time: Int64, unit: Int64, isAbsolute: Bool) -> Int64? {
        let (scaled, isTooLarge) = time.multipliedReportingOverflow(by: unit)
        guard !isTooLarge else { return nil }
        guard !isAbsolute else { return scaled }
        let (sum, overflows) = scaled.addingReportingOverflow(Int64(door.clock.wall() / 1_000_000))
        return overflows ? nil : sum
    }

    func setIfAbsent(_ arguments: [[UInt8]]) -> Outcome {
        let (key, value) = (arguments[1], arguments[2])
        return ask(payload: value.count, instead: .integer(0), isWrite: true) {
            keyspace, deadline async throws(CacheFailure) in
            try await keyspace.update(key, by: deadline) { old in
                old == nil ? (.write(value, .forever), .integer(1)) : (.leave, .integer(0))
            }
        }
    }

    func getAndSet(_ arguments: [[UInt8]]) -> Outcome {
        var options = SetOptions()
        options.returnsOld = true
        return setWithOptions(arguments[1], arguments[2], options)
    }

    func getAndDelete(_ arguments: [[UInt8]]) -> Outcome {
        let key = arguments[1]
        return ask { keyspace, deadline async throws(CacheFailure) in
            try await keyspace.update(key, by: deadline) { old in
                guard let old else { return (.leave, .null) }
                return (.delete, .parts(old.parts))
            }
        }
    }

    func getAndExpire(_ arguments: [[UInt8]]) -> Outcome {
        let options: SetOptions
        switch SetOptions.parse(arguments[2...], at: door.clock.wall() / 1_000_000, command: "getex", isSet: false) {
        case .success(let parsed): options = parsed
        case .failure(let failure): return .now(failure.reply)
        }
        if options.isUntouched { return get(arguments) }
        let key = arguments[1]
        return ask { keyspace, deadline async throws(CacheFailure) in
            while true {
                guard let value = try await keyspace.readString(key, by: deadline) else { return .null }
                let isDone = try await keyspace.rebind(key, by: deadline) { binding in
                    binding.version == value.binding.version ? options.lifetime : nil
                }
                if isDone { return .parts(value.parts) }
                guard keyspace.clock.now() < deadline else {
                    throw CacheFailure(.timedOut, "others changed the key again and again")
                }
            }
        }
    }

    func getMany(_ arguments: [[UInt8]]) -> Outcome {
        guard let keyspace else { return .now(.noAuthentication) }
        var found: [Reply?] = []
        var bytes = 0
        let isEarly = shareOfTransaction != nil
        for key in arguments.dropFirst() {
            // Within a transaction what comes before has not been done yet.
            if isEarly {
                found.append(nil)
                continue
            }
            switch keyspace.cache.hit(keyspace.name(of: key)) {
            case .found(_, let value):
                bytes += value.count
                found.append(.bulk(value))
            case .absent: found.append(keyspace.isCache ? .null : nil)
            case nil: found.append(nil)
            }
        }
        if found.allSatisfy({ $0 != nil }), !isEarly, bytes <= door.options.outputBytes {
            return .now(.array(found.map { $0! }))
        }
        let answers = found
        let nothing = Reply.array(answers.map { _ in .null })
        return ask(payload: bytes, instead: nothing) { keyspace, deadline async throws(CacheFailure) in
            var replies = answers
            for start in stride(from: 0, to: replies.count, by: 32) {
                let range = start..<min(start + 32, replies.count)
                await withTaskGroup(of: (Int, Reply).self) { group in
                    for index in range where answers[index] == nil {
                        group.addTask {
                            do throws(CacheFailure) {
                                let value = try await keyspace.readString(arguments[index + 1], by: deadline)
                                return (index, value.map { .parts($0.parts) } ?? .null)
                            } catch {
                                // As Redis does it with keys of other types; and a cache finds nothing.
                                if keyspace.isCache || error.message.hasPrefix("WRONGTYPE") { return (index, .null) }
                                return (index, .failure(error))
                            }
                        }
                    }
                    for await (index, reply) in group { replies[index] = reply }
                }
            }
            for case .error(let message)? in replies { return .error(message) }
            return .array(replies.map { $0 ?? .null })
        }
    }

    func setMany(_ arguments: [[UInt8]]) -> Outcome {
        guard arguments.count % 2 == 1 else { return .now(.wrongArity("mset")) }
        let size = arguments.reduce(0) { $0 + $1.count }
        return ask(payload: size, instead: .ok, isWrite: true) { keyspace, deadline async throws(CacheFailure) in
            // In order: of a key that is given twice the last value counts.
            for index in stride(from: 1, to: arguments.count, by: 2) {
                try await keyspace.replace(arguments[index], with: arguments[index + 1], by: deadline)
            }
            return .ok
        }
    }

    func length(_ arguments: [[UInt8]]) -> Outcome {
        let key = arguments[1]
        return ask(instead: .integer(0)) { keyspace, deadline async throws(CacheFailure) in
            .integer(Int64(try await keyspace.stringBinding(key, by: deadline)?.size ?? 0))
        }
    }

    func append(_ arguments: [[UInt8]]) -> Outcome {
        let (key, more) = (arguments[1], arguments[2])
        let limit = door.options.maximumBulkBytes
        return ask(payload: more.count) { keyspace, deadline async throws(CacheFailure) in
            try await keyspace.update(key, by: deadline) { old in
                guard (old?.count ?? 0) + more.count <= limit else { return (.leave, .tooLong) }
                let bytes = (old?.bytes ?? []) + more
                return (.write(bytes, .kept), .count(bytes.count))
            }
        }
    }

    func range(_ arguments: [[UInt8]]) -> Outcome {
        guard let start = Int64(redis: arguments[2]), let end = Int64(redis: arguments[3]) else {
            return .now(.notInteger)
        }
        let key = arguments[1]
        return ask(instead: .bulk([])) { keyspace, deadline async throws(CacheFailure) in
            guard let value = try await keyspace.readString(key, by: deadline) else { return .bulk([]) }
            let bytes = value.bytes
            let count = Int64(bytes.count)
            guard !(start < 0 && end < 0 && start > end) else { return .bulk([]) }
            let first = max(0, start < 0 ? count + start : start)
            let last = min(count - 1, max(0, end < 0 ? count + end : end))
            guard first <= last, count > 0 else { return .bulk([]) }
            return .bulk(Array(bytes[Int(first)...Int(last)]))
        }
    }

    func overwrite(_ arguments: [[UInt8]]) -> Outcome {
        guard let offset = Int64(redis: arguments[2]) else { return .now(.notInteger) }
        guard offset >= 0 else { return .now(.error("ERR offset is out of range")) }
        let (key, part) = (arguments[1], arguments[3])
        let limit = Int64(door.options.maximumBulkBytes)
        guard part.isEmpty || offset <= limit - Int64(part.count) else { return .now(.tooLong) }
        // What is between is filled with zeros: they take memory and time as if they had been sent.
        let end = part.isEmpty ? 0 : Int(offset) + part.count
        return ask(payload: end) { keyspace, deadline async throws(CacheFailure) in
            try await keyspace.update(key, by: deadline) { old in
                guard !part.isEmpty else { return (.leave, .count(old?.count ?? 0)) }
                let bytes = (old?.bytes ?? []).overwritten(from: Int(offset), with: part)
                return (.write(bytes, .kept), .count(bytes.count))
            }
        }
    }
}
