import EsperTypes

extension CommandTable {
    static let serverCommands: [CommandSpec] = [
        CommandSpec("command", -1, []) { $0.describe($1) },
        CommandSpec("config", -2, [.admin]) { $0.configuration($1) },
        CommandSpec("info", -1, []) { $0.information($1) },
        CommandSpec("acl", -2, []) { session, arguments in
            guard arguments[1].isWord("WHOAMI"), arguments.count == 2 else {
                return .now(.unknownSubcommand(arguments[1], of: "ACL"))
            }
            return .now(.text(session.user?.name ?? "default"))
        },
    ]
}

extension RedisSession {
    // MARK: COMMAND

    func describe(_ arguments: [[UInt8]]) -> Outcome {
        guard arguments.count > 1 else { return .now(.array(CommandTable.all.map { $0.description })) }
        switch String(decoding: arguments[1].lowercasedASCII, as: UTF8.self) {
        case "count":
            guard arguments.count == 2 else { return .now(.wrongArity("command|count")) }
            return .now(.count(CommandTable.all.count))
        case "info":
            let names = arguments.dropFirst(2)
            if names.isEmpty { return .now(.array(CommandTable.all.map { $0.description })) }
            return .now(.array(names.map { CommandTable.command($0)?.description ?? .nullArray }))
        case "docs": return .now(.map([]))
        case "list":
            guard arguments.count == 2 else { return .now(.syntaxError) }
            return .now(.array(CommandTable.all.map { .text($0.name) }))
        default: return .now(.unknownSubcommand(arguments[1], of: "COMMAND"))
        }
    }

    // MARK: CONFIG

    func configuration(_ arguments: [[UInt8]]) -> Outcome {
        guard arguments[1].isWord("GET") else {
            if arguments[1].isWord("SET"), arguments.count >= 4 {
                let name = String(decoding: arguments[2].prefix(128), as: UTF8.self)
                return .now(.error("ERR Unknown option or number of arguments for CONFIG SET - '\(name)'"))
            }
            return .now(.unknownSubcommand(arguments[1], of: "CONFIG"))
        }
        guard arguments.count > 2 else { return .now(.wrongArity("config|get")) }
        let values = [
            ("appendonly", "no"), ("databases", "1"), ("maxclients", String(door.options.maximumConnections)),
            ("maxmemory", String(door.facts.memory().limit)), ("maxmemory-policy", "allkeys-lfu"),
            ("notify-keyspace-events", ""), ("proto-max-bulk-len", String(door.options.maximumBulkBytes)),
            ("save", ""), ("timeout", "0"), ("tracking-table-max-keys", String(door.options.trackedKeys)),
        ]
        let globs = arguments.dropFirst(2).map { Glob($0.lowercasedASCII) }
        return .now(
            .map(
                values.filter { value in globs.contains { $0.matches(Array(value.0.utf8)) } }.flatMap {
                    [.text($0.0), .text($0.1)]
                }))
    }

    // MARK: INFO

    func information(_ arguments: [[UInt8]]) -> Outcome {
        let wanted = Set(arguments.dropFirst().map { String(decoding: $0.lowercasedASCII, as: UTF8.self) })
        let isAll = wanted.isEmpty || !wanted.isDisjoint(with: ["all", "everything", "default"])
        var text = ""
        for (name, lines) in sections() where isAll || wanted.contains(name.lowercased()) {
            if !text.isEmpty { text += "\r\n" }
            text += "# \(name)\r\n"
            for (key, value) in lines { text += "\(key):\(value)\r\n" }
        }
        return .now(.verbatim(text))
    }

    private func sections() -> [(String, [(String, String)])] {
        let counts = door.totals.counts
        let memory = door.facts.memory()
        let uptime = (door.clock.now() - door.start).components.seconds
        let port = local.split(separator: ":").last.map(String.init) ?? "0"
        return [
            (
                "Server",
                [
                    ("redis_version", followedRedisVersion), ("redis_mode", "standalone"), ("os", "Linux"),
                    ("arch_bits", "64"), ("multiplexing_api", "epoll"), ("tcp_port", port),
                    ("uptime_in_seconds", String(uptime)), ("uptime_in_days", String(uptime / 86400)),
                    ("executable", "esper-node"),
                ]
            ),
            (
                "Clients",
                [
                    ("connected_clients", String(door.totals.openConnections)),
                    ("maxclients", String(door.options.maximumConnections)),
                    ("tracking_clients", String(door.tracking.clientCount)), ("blocked_clients", "0"),
                ]
            ),
            (
                "Memory",
                [
                    ("used_memory", String(memory.used)), ("maxmemory", String(memory.limit)),
                    ("maxmemory_policy", "allkeys-lfu"),
                ]
            ),
            (
                "Persistence",
                [("loading", "0"), ("rdb_bgsave_in_progress", "0"), ("aof_enabled", "0")]
            ),
            (
                "Stats",
                [
                    ("total_connections_received", String(counts.connections)),
                    ("total_commands_processed", String(counts.commands)),
                    ("total_net_input_bytes", String(counts.readBytes)),
                    ("total_net_output_bytes", String(counts.writtenBytes)),
                    ("rejected_connections", String(door.totals.refusedConnections)),
                    ("keyspace_hits", String(counts.hits)), ("keyspace_misses", String(counts.misses)),
                    ("tracking_total_keys", String(door.tracking.keyCount)),
                    ("total_error_replies", String(counts.errors)),
                ]
            ),
            ("Replication", [("role", "master"), ("connected_slaves", "0")]),
            ("Cluster", [("cluster_enabled", "0")]),
            (
                "Esper",
                [
                    ("esper_version", door.facts.esperVersion), ("esper_node", door.facts.nodeName),
                    ("esper_node_id", String(door.facts.nodeID)), ("esper_cluster_id", door.facts.clusterID),
                    ("esper_tenant", user?.tenant ?? ""), ("esper_tenant_kind", user?.kind.rawValue ?? ""),
                ]
            ),
            ("Keyspace", []),
        ]
    }
}

extension CommandSpec {
    /// What `COMMAND` says.
    var description: Reply {
        var words: [Reply] = []
        if flags.contains(.write) { words.append(.simple("write")) }
        if flags.contains(.readonly) { words.append(.simple("readonly")) }
        if flags.contains(.denyOOM) { words.append(.simple("denyoom")) }
        if flags.contains(.admin) { words.append(.simple("admin")) }
        if flags.contains(.noAuth) { words.append(.simple("no_auth")) }
        if flags.contains(.fast) { words.append(.simple("fast")) }
        return .array([
            .text(name), .count(arity), .set(words), .count(keys.0), .count(keys.1), .count(keys.2), .set([]),
            .array([]), .array([]), .array([]),
        ])
    }
}
