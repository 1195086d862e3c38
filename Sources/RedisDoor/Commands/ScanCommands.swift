import CacheCore
import EsperTypes
import KernelCache

extension CommandTable {
    static let scanCommands: [CommandSpec] = [
        CommandSpec("scan", -2, [.readonly, .long]) { $0.scan($1) },
        CommandSpec("keys", 2, [.readonly, .long]) { $0.keys($1) },
        CommandSpec("dbsize", 1, [.readonly, .fast, .long]) { session, _ in session.size() },
        CommandSpec("flushdb", -1, [.write, .long]) { $0.flush($1) },
        CommandSpec("flushall", -1, [.write, .long]) { $0.flush($1) },
    ]
}

/// What may follow a cursor.
struct ScanOptions: Sendable {
    var glob: Glob?
    var count = 10
    var type: String?

    static func parse(_ words: ArraySlice<[UInt8]>, takesType: Bool) -> Result<ScanOptions, SetOptions.Failure> {
        var options = ScanOptions()
        var index = words.startIndex
        while index < words.endIndex {
            guard index + 1 < words.endIndex else { return .failure(.init(reply: .syntaxError)) }
            let value = words[index + 1]
            if words[index].isWord("MATCH") {
                options.glob = Glob(value)
            } else if words[index].isWord("COUNT") {
                guard let count = Int64(redis: value) else { return .failure(.init(reply: .notInteger)) }
                guard count >= 1 else { return .failure(.init(reply: .syntaxError)) }
                options.count = Int(min(count, 10_000))
            } else if takesType, words[index].isWord("TYPE") {
                options.type = String(decoding: value.lowercasedASCII, as: UTF8.self)
            } else {
                return .failure(.init(reply: .syntaxError))
            }
            index += 2
        }
        return .success(options)
    }
}

extension UInt64 {
    init?(redis bytes: [UInt8]) {
        guard !bytes.isEmpty, bytes.allSatisfy({ (48...57).contains($0) }),
            let value = UInt64(String(decoding: bytes, as: UTF8.self))
        else { return nil }
        self = value
    }
}

extension RedisSession {
    func scan(_ arguments: [[UInt8]]) -> Outcome {
        guard let number = UInt64(redis: arguments[1]) else { return .now(.error("ERR invalid cursor")) }
        let options: ScanOptions
        switch ScanOptions.parse(arguments[2...], takesType: true) {
        case .success(let parsed): options = parsed
        case .failure(let failure): return .now(failure.reply)
        }
        let cursors = door.cursors
        return ask(long: true) { keyspace, deadline async throws(CacheFailure) in
            var place = ScanCursors.Place(scope: keyspace.prefix, after: [])
            if number != 0 {
                guard let known = cursors.place(number, scope: keyspace.prefix) else {
                    return .error("ERR invalid cursor")
                }
                place = known
            }
            let page = try await keyspace.keys(
                at: place, startingWith: options.glob?.literalPrefix ?? [], limit: options.count,
                isFirst: number == 0, type: options.type, by: deadline)
            let keys = page.keys.filter { options.glob?.matches($0) ?? true }
            try keyspace.take(keys.reduce(0) { $0 + $1.count })
            let next = page.next.map { cursors.number(for: $0) } ?? 0
            return .array([.text(String(next)), .array(keys.map { .bulk($0) })])
        }
    }

    func keys(_ arguments: [[UInt8]]) -> Outcome {
        let glob = Glob(arguments[1])
        return ask(long: true) { keyspace, deadline async throws(CacheFailure) in
            var replies: [Reply] = []
            try await keyspace.everyKey(startingWith: glob.literalPrefix, by: deadline) { keys throws(CacheFailure) in
                let found = keys.filter { glob.matches($0) }
                try keyspace.take(found.reduce(0) { $0 + $1.count + 64 })
                for key in found { replies.append(.bulk(key)) }
            }
            return .array(replies)
        }
    }

    func size() -> Outcome {
        ask(long: true) { keyspace, deadline async throws(CacheFailure) in
            var count = 0
            try await keyspace.everyKey(startingWith: [], by: deadline) { count += $0.count }
            return .count(count)
        }
    }

    func flush(_ arguments: [[UInt8]]) -> Outcome {
        guard
            arguments.count == 1
                || arguments.count == 2 && (arguments[1].isWord("SYNC") || arguments[1].isWord("ASYNC"))
        else { return .now(.syntaxError) }
        return ask(long: true) { keyspace, deadline async throws(CacheFailure) in
            // In order, a page at a time; what others write behind it meanwhile stays.
            var place: ScanCursors.Place? = .init(scope: keyspace.prefix, after: [])
            var isFirst = true
            while let current = place {
                let page = try await keyspace.keys(
                    at: current, startingWith: [], limit: 1000, isFirst: isFirst, type: "string", by: deadline)
                if let failure = await keyspace.delete(page.keys, by: deadline) { throw failure }
                place = page.next
                isFirst = false
            }
            if let hashes = keyspace.hashes, !keyspace.isCache {
                _ = try await hashes.deleteAll(
                    HashKey.tenant(keyspace.prefix), principal: keyspace.principal, by: deadline)
            }
            return .ok
        }
    }
}

extension TenantKeyspace {
    /// Some keys, strings before hashes, and where the others begin.
    func keys(
        at place: ScanCursors.Place, startingWith part: [UInt8], limit: Int, isFirst: Bool, type: String? = nil,
        by deadline: Instant
    ) async throws(CacheFailure) -> (keys: [[UInt8]], next: ScanCursors.Place?) {
        var keys: [[UInt8]] = []
        var after: [UInt8]? = place.isInHashes && !place.after.isEmpty ? place.after : nil
        if !place.isInHashes, type == nil || type == "string" {
            let page = try await page(
                startingWith: part, after: isFirst ? nil : place.after, limit: limit, by: deadline)
            if page.more, let last = page.keys.last { return (page.keys, .init(scope: prefix, after: last)) }
            keys = page.keys
        }
        guard let hashes, !isCache, type == nil || type == "hash" else { return (keys, nil) }
        // Each step finds the next hash, behind all fields of the one before.
        while keys.count < limit {
            let page = try await hashes.page(
                startingWith: HashKey.tenant(prefix), after: after, limit: 1, allowsStale: false, principal: principal,
                by: deadline)
            guard let entry = page.entries.first, let key = HashKey.parse(entry.key, in: prefix)?.key else {
                return (keys, nil)
            }
            if key.starts(with: part) { keys.append(key) }
            var end = HashKey.fields(of: key, in: prefix)
            end[end.count - 1] = 2
            after = end
        }
        return (keys, .init(scope: prefix, after: after ?? [], isInHashes: true))
    }

    /// Deletes keys, several at a time.
    fileprivate func delete(_ keys: [[UInt8]], by deadline: Instant) async -> CacheFailure? {
        await withTaskGroup(of: CacheFailure?.self) { group in
            for part in 0..<min(16, keys.count) {
                group.addTask {
                    for index in stride(from: part, to: keys.count, by: 16) {
                        do throws(CacheFailure) {
                            _ = try await delete(keys[index], version: nil, by: deadline)
                        } catch {
                            return error
                        }
                    }
                    return nil
                }
            }
            return await group.reduce(nil) { $0 ?? $1 }
        }
    }

    func everyKey(
        startingWith part: [UInt8], by deadline: Instant, _ body: ([[UInt8]]) throws(CacheFailure) -> Void
    ) async throws(CacheFailure) {
        var place: ScanCursors.Place? = .init(scope: prefix, after: [])
        var isFirst = true
        while let current = place {
            let page = try await keys(at: current, startingWith: part, limit: 1000, isFirst: isFirst, by: deadline)
            try body(page.keys)
            place = page.next
            isFirst = false
            guard clock.now() < deadline else { throw CacheFailure(.timedOut, "there are too many keys") }
        }
    }
}
