internal import CacheCore
internal import Coordination
internal import EsperTypes
internal import HTTPTypes
internal import KernelCache
internal import RaftRuntime

extension Route {
    private static let name = [
        Field("name", .bytes, isRequired: true, "The artifact's name."),
        Field("tenant", .text, "Whose names; default: `default`."),
    ]

    private static let tiers: Field.Kind = .list(.choice(CacheTier.allCases.map(\.name)))

    private static let binding: Field.Kind = .object([
        Field("kind", .choice(["action", "alias"]), isRequired: true, "action: never changes while it lives."),
        Field("state", .choice(["live", "tombstone", "quarantined"]), isRequired: true, "Whether it can be had."),
        Field("manifest", .text, isRequired: true, "SHA-256 of the list of files; also the entity tag."),
        Field("version", .unsigned, isRequired: true, "Grows with every change of the name."),
        Field("cost_ms", .unsigned, isRequired: true, "What making it took."),
        Field("size", .unsigned, isRequired: true, "Bytes of all files."),
        Field("tiers", tiers, isRequired: true, "Had its bytes when it was bound."),
        Field("lineage", .optional(.text), isRequired: true, "The manifest of the graph that it belongs to."),
        Field("expires_unix_ms", .unsigned, isRequired: true, "0: never."),
    ])

    private static let outcome = Field(
        "outcome", .choice(["committed", "not_committed", "unknown"]), isRequired: true, "What became of it.")

    /// Bodies of JSON are for small things; `/v1/cache/artifacts/NAME` takes the others as they are.
    private static let maximumAnswerBytes: UInt64 = 4 << 20

    static let cache: [Route] = [
        Route(
            method: .post, path: "/v1/cache/retrieve", summary: "What a name stands for, with the bytes of its files.",
            fields: name + [
                Field("files", .list(.text), "Only these files; absent: all."),
                Field("header_only", .boolean, "Without bytes."),
                Field("allow_stale", .boolean, "Answer also without a quorum; `stale` tells."),
                Field("known_manifest", .text, "No bytes come while the name stands for this one."),
            ],
            answer: [
                Field("result", .choice(["found", "absent", "not_modified"]), isRequired: true, "What was found."),
                Field("stale", .boolean, isRequired: true, "Not confirmed to be the newest."),
                Field("binding", .optional(binding), isRequired: true, "What the name stands for."),
                Field("tier", .text, "Where it was found."), Field("writer", .text, "Who made it."),
                Field(
                    "files",
                    .list(
                        .object([
                            Field("name", .text, isRequired: true, "Empty for a plain value."),
                            Field("size", .unsigned, isRequired: true, "Bytes."),
                            Field("content_base64", .text, "The bytes, if asked for."),
                        ])), "In order."),
            ],
            action: .wait { fields, context in try await context.retrieve(fields) }),
        Route(
            method: .post, path: "/v1/cache/store", summary: "Binds a name to some small files.",
            fields: name + [
                Field(
                    "files",
                    .list(
                        .object([
                            Field("name", .text, isRequired: true, "A relative path; empty for a plain value."),
                            Field("content", .bytes, isRequired: true, "The bytes."),
                        ])), isRequired: true, "At least one."),
                Field("kind", .choice(["action", "alias"]), "Default: action, where the first writer wins."),
                Field("mode", .choice(StoreMode.allCases.map(\.name)), "What to wait for; default: durable."),
                Field("expect_version", .unsigned, "Only when the name has this version."),
                Field("expect_absent", .boolean, "Only when there is nothing."),
                Field("cost_ms", .unsigned, "What making it took."),
                Field("lineage", .text, "The manifest of the graph that it belongs to."),
                Field("ttl_ms", .unsigned, "From when it is bound; 0: for ever."), requestID,
            ],
            answer: [
                outcome, Field("stored", .boolean, isRequired: true, "False: somebody else stored it first."),
                Field("tiers", tiers, isRequired: true, "Hold its bytes by now."),
                Field("binding", binding, isRequired: true, "What the name stands for now."),
            ],
            action: .wait { fields, context in try await context.store(fields) }),
        Route(
            method: .post, path: "/v1/cache/evict", summary: "Drops a name, or copies of its bytes.",
            fields: name + [
                Field("copy", .boolean, "Only the copies in this node's memory."),
                Field(
                    "tier", .choice(CacheTier.allCases.map(\.name)),
                    "Only the copies in this tier; of memory and peer those of the node that is asked."),
                Field("expect_version", .unsigned, "Only while the name has this version."), requestID,
            ],
            answer: [
                outcome, Field("previous", .optional(binding), isRequired: true, "What was bound before."),
                Field("copies", .unsigned, isRequired: true, "Copies dropped."),
                Field("bytes", .unsigned, isRequired: true, "Their bytes."),
            ],
            action: .call { fields, context in try await context.evict(fields) }),
        Route(
            method: .post, path: "/v1/cache/list", summary: "Names in order of their bytes.",
            fields: [
                Field("prefix", .bytes, "How they begin."), Field("after", .bytes, "Names above this one."),
                Field("tenant", .text, "Whose names; default: `default`."),
                Field("limit", .unsigned, "At most this many, 1000 at most."),
            ],
            answer: [
                Field(
                    "artifacts",
                    .list(
                        .object([
                            Field("name", .bytes, isRequired: true, "The name."),
                            Field("binding", binding, isRequired: true, "What it stands for."),
                        ])), isRequired: true, "In order."),
                Field("more", .boolean, isRequired: true, "The list was cut: go on behind its last name."),
            ],
            action: .call { fields, context in try await context.list(fields) }),
        Route(
            method: .post, path: "/v1/cache/warm", summary: "Brings artifacts into this node's memory.",
            fields: [
                Field("top", .unsigned, "What is worth most by use and cost, at most so many."),
                Field("names", .list(.text), "These."), Field("lineage", .text, "All that belongs to this graph."),
                Field("tenant", .text, "Of the names; default: `default`."),
                Field("budget_bytes", .unsigned, "At most so many bytes."),
                Field("bytes_per_second", .unsigned, "At most so many in a second."),
            ],
            answer: [
                Field("artifacts", .unsigned, isRequired: true, "Brought in now."),
                Field("blobs", .unsigned, isRequired: true, "Of theirs."),
                Field("bytes", .unsigned, isRequired: true, "Of theirs."),
                Field("present", .unsigned, isRequired: true, "There already."),
                Field("missing", .unsigned, isRequired: true, "Found in no tier, or not in time."),
                Field("warmed_bytes", .unsigned, isRequired: true, "Of everything ever warmed here."),
                Field("warmed_hits", .unsigned, isRequired: true, "Artifacts of it that were read since."),
            ],
            action: .wait { fields, context in try await context.warm(fields) }),
        Route(
            method: .post, path: "/v1/cache/sync", summary: "Compares what holders of shards have, and repairs it.",
            fields: [
                Field("shard", .unsigned, "Only this one, 0 to 1023."), Field("dry_run", .boolean, "Only compare."),
            ],
            answer: [
                Field("shards", .unsigned, isRequired: true, "Compared."),
                Field("equal", .unsigned, isRequired: true, "Whose holders had the same."),
                Field("differences", .unsigned, isRequired: true, "Blobs that one had and another lacked."),
                Field("repaired_blobs", .unsigned, isRequired: true, "Copied."),
                Field("repaired_bytes", .unsigned, isRequired: true, "Copied."),
                Field("unreachable", .list(.text), isRequired: true, "Holders that did not answer."),
                Field("lost", .unsigned, isRequired: true, "Blobs that are nowhere."),
                Field(
                    "wrong_rows", .unsigned, isRequired: true,
                    "Rows of names in the catalog that were wrong or missing."),
                Field("repaired_rows", .unsigned, isRequired: true, "Of those, the ones that were written anew."),
            ],
            action: .wait { fields, context in try await context.sync(fields) }),
        Route(
            method: .post, path: "/v1/cache/rebalance",
            summary: "Moves shards of the cache between nodes, stops that, or tells how far it is.",
            fields: [
                Field(
                    "action", .choice(["status", "plan", "start", "cancel", "throttle"]), isRequired: true,
                    "plan: what start would move; cancel: ends moves, and moves for balance only after the next start."),
                Field("bytes_per_second", .unsigned, "With throttle: for each node that receives."),
                Field("maximum_incoming", .unsigned, "With throttle: shards that come to one node at a time."),
                Field("maximum_outgoing", .unsigned, "With throttle: shards that leave one node at a time."),
            ],
            answer: MapAnswers.rebalanceFields,
            action: .wait { fields, context in try await context.rebalance(fields) }),
        Route(
            method: .get, path: "/v1/cache/map", summary: "Which node holds which shard of the cache, and what moves.",
            answer: MapAnswers.mapFields,
            action: .call { _, context in try await context.shardMap() }),
        Route(
            method: .post, path: "/v1/cache/stat",
            summary: "How this node's cache stands, and where a name's bytes are.",
            fields: [
                Field("name", .bytes, "An artifact's name."),
                Field("tenant", .text, "Whose; default: `default`."),
            ],
            answer: CacheAnswers.statisticsFields + [
                Field("artifact", .optional(binding), isRequired: true, "What the name stands for."),
                Field(
                    "held",
                    .list(
                        .object([
                            Field("tier", .text, isRequired: true, "The tier."),
                            Field("blobs", .unsigned, isRequired: true, "How many of the blobs it has."),
                        ])), "Of the name."),
            ],
            action: .call { fields, context in try await context.stat(fields) }),
    ]

    fileprivate static func check(_ size: UInt64) throws(HTTPFailure) {
        guard size <= maximumAnswerBytes else {
            throw .refused(
                .contentTooLarge, "oversized", "the files have \(size) bytes: take them from /v1/cache/artifacts/NAME")
        }
    }
}

extension RequestFields {
    fileprivate func has(_ name: String) -> Bool { value[name].map { $0 != .null } ?? false }

    /// The full name.
    fileprivate func artifact() throws -> [UInt8] {
        do {
            return try ArtifactNames.full(tenant: text("tenant") ?? "", bytes("name") ?? [])
        } catch {
            throw HTTPFailure(error)
        }
    }
}

extension CallContext {
    /// By when the cache must have answered.
    private var deadline: Instant { NodeClock.now() + timeout }

    /// Does what a route asks, with the cache's failures as answers.
    private func asking<Value>(
        _ body: (any ArtifactCache) async throws -> Value
    ) async throws -> Value {
        do {
            guard let cache else { throw CacheFailure(.disabled, "this node serves no cache") }
            return try await body(cache)
        } catch let failure as CacheFailure {
            throw HTTPFailure(failure)
        }
    }

    fileprivate func retrieve(_ fields: RequestFields) async throws -> JSONValue {
        try await asking { cache in
            let known = try CacheAnswers.digest(fields.text("known_manifest"), "known_manifest")
            let reply = try await cache.retrieve(
                RetrieveRequest(
                    name: try fields.artifact(), deadline: deadline, principal: principal,
                    allowsStale: fields.boolean("allow_stale")))
            let stale = JSONValue.Member("stale", .boolean(reply.isStale))
            guard case .found(let binding, let manifest, let tier) = reply.result else {
                var last: Binding?
                if case .absent(let binding) = reply.result { last = binding }
                return .object([.init("result", "absent"), stale, .init("binding", CacheAnswers.binding(last))])
            }
            if binding.manifest == known {
                return .object([
                    .init("result", "not_modified"), stale, .init("binding", CacheAnswers.binding(binding)),
                ])
            }
            let wanted = Set(fields.texts("files"))
            if let unknown = wanted.first(where: { name in !manifest.files.contains { $0.name == name } }) {
                throw HTTPFailure.invalid("the artifact has no file '\(unknown)'")
            }
            let files = manifest.files.filter { wanted.isEmpty || wanted.contains($0.name) }
            let isHeader = fields.boolean("header_only")
            if !isHeader { try Route.check(files.reduce(0) { $0 + $1.size }) }
            var list: [JSONValue] = []
            for file in files {
                var members = CacheAnswers.file(file)
                if !isHeader {
                    members.append(.init("content_base64", .text(Base64Text.encoded(try await bytes(of: file, cache)))))
                }
                list.append(.object(members))
            }
            return .object([
                .init("result", "found"), stale, .init("binding", CacheAnswers.binding(binding)),
                .init("tier", .text(tier.name)), .init("writer", .text(manifest.writer)), .init("files", .list(list)),
            ])
        }
    }

    private func bytes(of file: Manifest.File, _ cache: any ArtifactCache) async throws -> [UInt8] {
        switch file.content {
        case .inline(let bytes): return bytes
        case .blobs(let blobs):
            var bytes: [UInt8] = []
            for blob in blobs { bytes += try await cache.blob(blob, deadline: deadline).bytes }
            return bytes
        }
    }

    fileprivate func store(_ fields: RequestFields) async throws -> JSONValue {
        try await asking { cache in
            let mode = try CacheAnswers.mode(fields.text("mode"))
            let limit = deadline
            let name = try fields.artifact()
            let lineage = try CacheAnswers.digest(fields.text("lineage"), "lineage")
            var condition = StoreRequest.Condition.byKind
            if fields.has("expect_version") { condition = .version(LogIndex(fields.unsigned("expect_version"))) }
            if fields.boolean("expect_absent") {
                guard condition == .byKind else {
                    throw HTTPFailure.invalid("give 'expect_version' or 'expect_absent', not both")
                }
                condition = .version(nil)
            }
            var assembler = ArtifactAssembler(cache, mode) { limit }
            for file in fields.objects("files") {
                try await assembler.begin(file.text("name") ?? "")
                try await assembler.append(file.bytes("content") ?? [])
            }
            let manifest = try await assembler.finish(writer: principal)
            let ttl = fields.unsigned("ttl_ms")
            let reply = try await cache.store(
                StoreRequest(
                    name: name, kind: try CacheAnswers.kind(fields.text("kind")), manifest: manifest, mode: mode,
                    condition: condition, costMilliseconds: UInt32(clamping: fields.unsigned("cost_ms")),
                    lineage: lineage, lifetime: ttl == 0 ? nil : .milliseconds(Int64(clamping: ttl)),
                    request: fields.requestID.map(CacheRequestName.init), principal: principal, deadline: limit))
            return .object(CacheAnswers.stored(reply))
        }
    }

    fileprivate func evict(_ fields: RequestFields) async throws -> JSONValue {
        try await asking { cache in
            let subject: EvictRequest.Subject
            switch (fields.boolean("copy"), fields.text("tier"), fields.has("expect_version")) {
            case (true, nil, false): subject = .copy
            case (false, let word?, false):
                guard let tier = CacheTier.allCases.first(where: { $0.name == word }) else {
                    throw HTTPFailure.invalid("'tier' is unknown")
                }
                subject = .tier(tier)
            case (false, nil, false): subject = .name(version: nil)
            case (false, nil, true): subject = .name(version: LogIndex(fields.unsigned("expect_version")))
            default: throw HTTPFailure.invalid("give one of 'copy', 'tier' and 'expect_version'")
            }
            let reply = try await cache.evict(
                EvictRequest(
                    name: try fields.artifact(), subject: subject, request: fields.requestID.map(CacheRequestName.init),
                    principal: principal, deadline: deadline))
            return .object(CacheAnswers.evicted(reply))
        }
    }

    fileprivate func list(_ fields: RequestFields) async throws -> JSONValue {
        try await asking { cache in
            let tenant = try ArtifactNames.prefix(tenant: fields.text("tenant") ?? "")
            let limit = fields.count("limit")
            let reply = try await cache.list(
                ListRequest(
                    prefix: tenant + (fields.bytes("prefix") ?? []), after: fields.bytes("after").map { tenant + $0 },
                    limit: limit == 0 ? CacheCall.maximumNames : min(limit, CacheCall.maximumNames),
                    principal: principal, deadline: deadline))
            return .object([
                .init(
                    "artifacts",
                    .list(
                        reply.bindings.map { name, binding in
                            .object([
                                Answers.bytes("name", ArtifactNames.rest(of: name)),
                                .init("binding", CacheAnswers.binding(binding)),
                            ])
                        })), .init("more", .boolean(reply.more)),
            ])
        }
    }

    fileprivate func warm(_ fields: RequestFields) async throws -> JSONValue {
        try await asking { cache in
            let subject: WarmRequest.Subject
            let names = fields.texts("names")
            switch (fields.count("top"), names.isEmpty, fields.text("lineage")) {
            case (1..., true, nil): subject = .hottest(count: fields.count("top"))
            case (0, false, nil):
                var full: [[UInt8]] = []
                for name in names {
                    full.append(try ArtifactNames.full(tenant: fields.text("tenant") ?? "", Array(name.utf8)))
                }
                subject = .names(full)
            case (0, true, let text?):
                guard let digest = try CacheAnswers.digest(text, "lineage") else {
                    throw HTTPFailure.invalid("'lineage' is missing")
                }
                subject = .lineage(digest)
            default: throw HTTPFailure.invalid("give one of 'top', 'names' and 'lineage'")
            }
            let (budget, rate) = (fields.unsigned("budget_bytes"), fields.unsigned("bytes_per_second"))
            let reply = try await cache.warm(
                WarmRequest(
                    subject: subject, maximumBytes: budget == 0 ? .max : budget,
                    bytesPerSecond: rate == 0 ? nil : rate, principal: principal, deadline: deadline))
            return .object([
                "artifacts": .unsigned(UInt64(clamping: reply.artifacts)),
                "blobs": .unsigned(UInt64(clamping: reply.blobs)), "bytes": .unsigned(reply.bytes),
                "present": .unsigned(UInt64(clamping: reply.present)),
                "missing": .unsigned(UInt64(clamping: reply.missing)),
                "warmed_bytes": .unsigned(reply.warmedBytes), "warmed_hits": .unsigned(reply.warmedHits),
            ])
        }
    }

    fileprivate func sync(_ fields: RequestFields) async throws -> JSONValue {
        try await asking { cache in
            var shard: ShardID?
            if fields.has("shard") {
                guard let wanted = ShardID(fields.count("shard")) else {
                    throw HTTPFailure.invalid("'shard' must be 0 to \(ShardID.count - 1)")
                }
                shard = wanted
            }
            let reply = try await cache.sync(
                SyncRequest(
                    shard: shard, isDryRun: fields.boolean("dry_run"), principal: principal, deadline: deadline))
            return .object([
                "shards": .unsigned(UInt64(clamping: reply.shards)), "equal": .unsigned(UInt64(clamping: reply.equal)),
                "differences": .unsigned(UInt64(clamping: reply.differences)),
                "repaired_blobs": .unsigned(UInt64(clamping: reply.repairedBlobs)),
                "repaired_bytes": .unsigned(reply.repairedBytes),
                "unreachable": .list(reply.unreachable.map(JSONValue.text)),
                "lost": .unsigned(UInt64(clamping: reply.lost)),
                "wrong_rows": .unsigned(UInt64(clamping: reply.wrongRows)),
                "repaired_rows": .unsigned(UInt64(clamping: reply.repairedRows)),
            ])
        }
    }

    fileprivate func rebalance(_ fields: RequestFields) async throws -> JSONValue {
        try await asking { cache in
            let change = ThrottleChange(
                bytesPerSecond: fields.has("bytes_per_second") ? fields.unsigned("bytes_per_second") : nil,
                maximumIncoming: fields.has("maximum_incoming")
                    ? UInt8(clamping: fields.unsigned("maximum_incoming")) : nil,
                maximumOutgoing: fields.has("maximum_outgoing")
                    ? UInt8(clamping: fields.unsigned("maximum_outgoing")) : nil)
            let action: RebalanceRequest.Action
            switch (fields.text("action"), change == ThrottleChange()) {
            case ("status", true): action = .status
            case ("plan", true): action = .plan
            case ("start", true): action = .start
            case ("cancel", true): action = .cancel
            case ("throttle", false): action = .throttle(change)
            case ("throttle", true): throw HTTPFailure.invalid("say what the throttle is to be")
            default: throw HTTPFailure.invalid("only 'throttle' takes a rate and counts")
            }
            return MapAnswers.rebalance(
                try await cache.rebalance(RebalanceRequest(action, principal: principal, deadline: deadline)))
        }
    }

    fileprivate func shardMap() async throws -> JSONValue { try await asking { MapAnswers.map($0.shardMap()) } }

    fileprivate func stat(_ fields: RequestFields) async throws -> JSONValue {
        try await asking { cache in
            let name: [UInt8]? = fields.bytes("name") == nil ? nil : try fields.artifact()
            let reply = try await cache.stat(StatRequest(name: name, principal: principal, deadline: deadline))
            let held = reply.artifact?.held.sorted { $0.key < $1.key } ?? []
            return .object(
                CacheAnswers.statistics(reply.statistics) + [
                    .init("artifact", CacheAnswers.binding(reply.artifact?.binding)),
                    .init(
                        "held",
                        .list(
                            held.map { tier, blobs in
                                .object([
                                    "tier": .text(tier.name), "blobs": .unsigned(UInt64(clamping: blobs)),
                                ])
                            })),
                ])
        }
    }
}

extension CacheRequestName {
    fileprivate init(_ id: RequestID) {
        self.init(client: id.client, sequence: id.sequence, acknowledgedThrough: id.acknowledgedThrough)
    }
}
