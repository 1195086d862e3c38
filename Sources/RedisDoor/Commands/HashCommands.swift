import CacheCore
import EsperTypes
import KernelCache

extension CommandTable {
    static let hashCommands: [CommandSpec] = [
        CommandSpec("hset", -4, [.write, .denyOOM, .fast], (1, 1, 1)) { $0.hashSet($1, isOld: false) },
        CommandSpec("hmset", -4, [.write, .denyOOM, .fast], (1, 1, 1)) { $0.hashSet($1, isOld: true) },
        CommandSpec("hsetnx", 4, [.write, .denyOOM, .fast], (1, 1, 1)) { $0.hashSetIfAbsent($1) },
        CommandSpec("hget", 3, [.readonly, .fast], (1, 1, 1)) { $0.hashGet($1, isOne: true) },
        CommandSpec("hmget", -3, [.readonly, .fast], (1, 1, 1)) { $0.hashGet($1, isOne: false) },
        CommandSpec("hgetall", 2, [.readonly], (1, 1, 1)) { $0.hashAll($1) { [.bulk($0), .bulk($1)] } },
        CommandSpec("hkeys", 2, [.readonly], (1, 1, 1)) { $0.hashAll($1) { field, _ in [.bulk(field)] } },
        CommandSpec("hvals", 2, [.readonly], (1, 1, 1)) { $0.hashAll($1) { _, value in [.bulk(value)] } },
        CommandSpec("hscan", -3, [.readonly], (1, 1, 1)) { $0.hashScan($1) },
        CommandSpec("hdel", -3, [.write, .fast], (1, 1, 1)) { $0.hashDelete($1) },
        CommandSpec("hexists", 3, [.readonly, .fast], (1, 1, 1)) { $0.hashHas($1) },
        CommandSpec("hlen", 2, [.readonly, .fast], (1, 1, 1)) { $0.hashLength($1) },
        CommandSpec("hincrby", 4, [.write, .revealing, .denyOOM, .fast], (1, 1, 1)) { $0.hashAdd($1) },
    ]
}

/// Hashes are durable: Ray keeps the tables of its head in them. So they are there for tenants of kind *store*, and live in the
/// replicated keyspace, one key for each field.
extension RedisSession {
    private func hash(
        _ arguments: [[UInt8]],
        _ work: @escaping @Sendable (any HashStore, TenantKeyspace, Instant) async throws(CacheFailure) -> Reply
    ) -> Outcome {
        guard let hashes = door.hashes, keyspace?.isCache == false else {
            return .now(.error("ERR hashes are kept for tenants of kind store only"))
        }
        let key = arguments[1]
        return ask { keyspace, deadline async throws(CacheFailure) in
            if try await keyspace.binding(key, by: deadline) != nil { return .wrongType }
            return try await work(hashes, keyspace, deadline)
        }
    }

    func hashSet(_ arguments: [[UInt8]], isOld: Bool) -> Outcome {
        guard arguments.count % 2 == 0 else { return .now(.wrongArity(isOld ? "hmset" : "hset")) }
        return hash(arguments) { hashes, keyspace, deadline async throws(CacheFailure) in
            var last: [[UInt8]: [UInt8]] = [:]
            var order: [[UInt8]] = []
            for index in stride(from: 2, to: arguments.count, by: 2) {
                let field = HashKey.field(arguments[index], of: arguments[1], in: keyspace.prefix)
                if last.updateValue(arguments[index + 1], forKey: field) == nil { order.append(field) }
            }
            var added = 0
            for part in Self.parts(order.map { ($0, last[$0]!) }) {
                let isNew = try await hashes.write(part, when: [], principal: keyspace.principal, by: deadline)
                added += isNew?.count { $0 } ?? 0
            }
            return isOld ? .ok : .count(added)
        }
    }

    /// What fits one entry of the log each.
    private static func parts(_ puts: [(key: [UInt8], value: [UInt8])]) -> [[(key: [UInt8], value: [UInt8])]] {
        var parts: [[(key: [UInt8], value: [UInt8])]] = []
        var bytes = 0
        for put in puts {
            let size = put.key.count + put.value.count + 64
            if parts.isEmpty || parts[parts.count - 1].count == 256 || bytes + size > Limits.valueBytes {
                parts.append([])
                bytes = 0
            }
            parts[parts.count - 1].append(put)
            bytes += size
        }
        return parts
    }

    func hashSetIfAbsent(_ arguments: [[UInt8]]) -> Outcome {
        hash(arguments) { hashes, keyspace, deadline async throws(CacheFailure) in
            let field = HashKey.field(arguments[2], of: arguments[1], in: keyspace.prefix)
            let written = try await hashes.write(
                [(field, arguments[3])], when: [HashCondition(key: field, revision: 0)],
                principal: keyspace.principal, by: deadline)
            return .flag(written != nil)
        }
    }

    func hashGet(_ arguments: [[UInt8]], isOne: Bool) -> Outcome {
        hash(arguments) { hashes, keyspace, deadline async throws(CacheFailure) in
            var replies: [Reply] = []
            let fields = arguments.dropFirst(2).map { HashKey.field($0, of: arguments[1], in: keyspace.prefix) }
            for start in stride(from: 0, to: fields.count, by: 256) {
                let part = Array(fields[start..<min(start + 256, fields.count)])
                let entries = try await hashes.read(
                    part, allowsStale: keyspace.allowsStale, principal: keyspace.principal, by: deadline)
                replies += entries.map { entry in entry.map { .bulk($0.value) } ?? .null }
            }
            return isOne ? replies[0] : .array(replies)
        }
    }

    func hashAll(
        _ arguments: [[UInt8]], _ shape: @escaping @Sendable (_ field: [UInt8], _ value: [UInt8]) -> [Reply]
    ) -> Outcome {
        let isMap = shape([], []).count == 2
        return hash(arguments) { hashes, keyspace, deadline async throws(CacheFailure) in
            let prefix = HashKey.fields(of: arguments[1], in: keyspace.prefix)
            var replies: [Reply] = []
            var after: [UInt8]?
            while true {
                let page = try await hashes.page(
                    startingWith: prefix, after: after, limit: 1000, allowsStale: keyspace.allowsStale,
                    principal: keyspace.principal, by: deadline)
                try keyspace.take(page.entries.reduce(0) { $0 + $1.key.count + $1.value.count + 64 })
                for entry in page.entries { replies += shape(Array(entry.key.dropFirst(prefix.count)), entry.value) }
                after = page.entries.last?.key
                if !page.more || after == nil { return isMap ? .map(replies) : .array(replies) }
            }
        }
    }

    func hashScan(_ arguments: [[UInt8]]) -> Outcome {
        guard let number = UInt64(redis: arguments[2]) else { return .now(.error("ERR invalid cursor")) }
        let options: ScanOptions
        switch ScanOptions.parse(arguments[3...], takesType: false) {
        case .success(let parsed): options = parsed
        case .failure(let failure): return .now(failure.reply)
        }
        let cursors = door.cursors
        return hash(arguments) { hashes, keyspace, deadline async throws(CacheFailure) in
            let prefix = HashKey.fields(of: arguments[1], in: keyspace.prefix)
            var after: [UInt8]?
            if number != 0 {
                guard let place = cursors.place(number, scope: prefix) else { return .error("ERR invalid cursor") }
                after = place.after
            }
            let page = try await hashes.page(
                startingWith: prefix, after: after, limit: options.count, allowsStale: keyspace.allowsStale,
                principal: keyspace.principal, by: deadline)
            var replies: [Reply] = []
            for entry in page.entries {
                let field = Array(entry.key.dropFirst(prefix.count))
                if options.glob?.matches(field) ?? true { replies += [.bulk(field), .bulk(entry.value)] }
            }
            let next =
                page.more ? page.entries.last.map { cursors.number(for: .init(scope: prefix, after: $0.key)) } : nil
            return .array([.text(String(next ?? 0)), .array(replies)])
        }
    }

    func hashDelete(_ arguments: [[UInt8]]) -> Outcome {
        hash(arguments) { hashes, keyspace, deadline async throws(CacheFailure) in
            var count = 0
            let fields = Set(arguments.dropFirst(2)).map { HashKey.field($0, of: arguments[1], in: keyspace.prefix) }
            for start in stride(from: 0, to: fields.count, by: 256) {
                let part = Array(fields[start..<min(start + 256, fields.count)])
                count += try await hashes.delete(part, principal: keyspace.principal, by: deadline)
            }
            return .count(count)
        }
    }

    func hashHas(_ arguments: [[UInt8]]) -> Outcome {
        hash(arguments) { hashes, keyspace, deadline async throws(CacheFailure) in
            let field = HashKey.field(arguments[2], of: arguments[1], in: keyspace.prefix)
            let entries = try await hashes.read(
                [field], allowsStale: keyspace.allowsStale, principal: keyspace.principal, by: deadline)
            return .flag(entries[0] != nil)
        }
    }

    func hashLength(_ arguments: [[UInt8]]) -> Outcome {
        hash(arguments) { hashes, keyspace, deadline async throws(CacheFailure) in
            let fields = HashKey.fields(of: arguments[1], in: keyspace.prefix)
            return .count(
                try await hashes.count(
                    fields, allowsStale: keyspace.allowsStale, principal: keyspace.principal, by: deadline))
        }
    }

    func hashAdd(_ arguments: [[UInt8]]) -> Outcome {
        guard let step = Int64(redis: arguments[3]) else { return .now(.notInteger) }
        let now = door.clock.now
        return hash(arguments) { hashes, keyspace, deadline async throws(CacheFailure) in
            let field = HashKey.field(arguments[2], of: arguments[1], in: keyspace.prefix)
            while true {
                let entry = try await hashes.read(
                    [field], allowsStale: false, principal: keyspace.principal, by: deadline)[0]
                guard let value = entry.map({ Int64(redis: $0.value) }) ?? 0 else {
                    return .error("ERR hash value is not an integer")
                }
                let (sum, overflows) = value.addingReportingOverflow(step)
                guard !overflows else { return .overflow }
                let written = try await hashes.write(
                    [(field, Array(String(sum).utf8))],
                    when: [HashCondition(key: field, revision: entry?.revision ?? 0)], principal: keyspace.principal,
                    by: deadline)
                if written != nil { return .integer(sum) }
                guard now() < deadline else {
                    throw CacheFailure(.timedOut, "others changed the field again and again")
                }
            }
        }
    }
}
