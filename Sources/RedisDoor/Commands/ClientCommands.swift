import NIOCore
import Synchronization
import EsperTypes

extension CommandTable {
    static let clientCommands: [CommandSpec] = [CommandSpec("client", -2, []) { $0.client($1) }]

    /// Words behind `CLIENT`, with how many there are then; negative: at least.
    static let clientWords: [(word: String, arity: Int)] = [
        ("setinfo", 4), ("setname", 3), ("getname", 2), ("id", 2), ("info", 2), ("list", -2), ("no-evict", 3),
        ("no-touch", 3), ("reply", 3), ("tracking", -3), ("caching", 3), ("getredir", 2), ("trackinginfo", 2),
    ]
}

extension RedisSession {
    func client(_ arguments: [[UInt8]]) -> Outcome {
        let word = String(decoding: arguments[1].lowercasedASCII, as: UTF8.self)
        guard let known = CommandTable.clientWords.first(where: { $0.word == word }) else {
            return .now(.unknownSubcommand(arguments[1], of: "CLIENT"))
        }
        guard known.arity >= 0 ? arguments.count == known.arity : arguments.count >= -known.arity else {
            return .now(.wrongArity("client|\(word)"))
        }
        switch word {
        case "setinfo": return .now(setInfo(arguments))
        case "setname":
            guard let name = clientName(arguments[2]) else { return .now(.badName) }
            self.name = name
            return .now(.ok)
        case "getname": return .now(name.isEmpty ? .null : .bulk(name))
        case "id": return .now(.integer(Int64(id)))
        case "info": return .now(.verbatim(line(at: lastUse) + "\n"))
        case "list": return list()
        case "no-evict", "no-touch":
            return .now(arguments[2].isWord("ON") || arguments[2].isWord("OFF") ? .ok : .syntaxError)
        case "reply": return .now(setAnswers(arguments[2]))
        case "tracking": return .now(setTracking(arguments))
        case "caching": return .now(setCaching(arguments[2]))
        case "getredir": return .now(.integer(isTracking ? 0 : -1))
        default: return .now(trackingInfo())
        }
    }

    private func setInfo(_ arguments: [[UInt8]]) -> Reply {
        let isName = arguments[2].isWord("LIB-NAME")
        guard isName || arguments[2].isWord("LIB-VER") else {
            return .error("ERR Unrecognized option '\(String(decoding: arguments[2], as: UTF8.self))'")
        }
        guard let value = clientName(arguments[3]) else {
            return .error(
                "ERR \(isName ? "lib-name" : "lib-ver") cannot contain spaces, newlines or special characters.")
        }
        if isName { library = value } else { libraryVersion = value }
        return .ok
    }

    private func setAnswers(_ word: [UInt8]) -> Reply {
        if word.isWord("ON") {
            answers = .all
            return .ok
        }
        if word.isWord("OFF") {
            answers = .none
            return .silent
        }
        guard word.isWord("SKIP") else { return .syntaxError }
        if answers != .none { answers = .allButNext }
        return .silent
    }

    /// Whether the command that begins now is answered (`CLIENT REPLY`).
    func takesAnswer() -> Bool {
        switch answers {
        case .all: return true
        // What turns answers on again is answered itself; see where this is asked.
        case .none: return true
        case .allButNext:
            answers = .allButThis
            return false
        case .allButThis:
            answers = .all
            return true
        }
    }

    /// A line of `CLIENT LIST`.
    func line(at now: Instant) -> String {
        let written = { (bytes: [UInt8]) in String(decoding: bytes, as: UTF8.self) }
        return
            "id=\(id) addr=\(remote) laddr=\(local) fd=0 name=\(written(name)) age=\((now - start).components.seconds) "
            + "idle=\((now - lastUse).components.seconds) flags=\(transaction == nil ? isTracking ? "t" : "N" : "x") db=0 "
            + "sub=0 psub=0 ssub=0 multi=\(transaction?.commands.count ?? -1) watch=0 cmd=\(lastCommand) "
            + "user=\(user?.name ?? "(none)") redir=\(isTracking ? 0 : -1) resp=\(version.rawValue) "
            + "lib-name=\(written(library)) lib-ver=\(written(libraryVersion))"
    }

    /// The connections of the same tenant: what others do is not this one's business.
    private func list() -> Outcome {
        let loops = door.loops.withLock { $0 }
        let tenant = user?.tenant
        return .later(
            Errand(limit: door.options.answerWithin) {
                var lines: [String] = []
                for loop in loops {
                    let some = try? await loop.eventLoop.submit {
                        loop.value.connections.values.filter { $0.session.user?.tenant == tenant }
                            .sorted { $0.session.id < $1.session.id }
                            .map { $0.session.line(at: loop.value.coarseNow) }
                    }.get()
                    lines += some ?? []
                }
                return .verbatim(lines.map { $0 + "\n" }.joined())
            })
    }

    // MARK: Tracking

    private func setTracking(_ arguments: [[UInt8]]) -> Reply {
        let isOn = arguments[2].isWord("ON")
        guard isOn || arguments[2].isWord("OFF") else { return .syntaxError }
        var mode = TrackingMode()
        var isBroadcast = false
        var prefixes: [[UInt8]] = []
        var index = 3
        while index < arguments.count {
            let word = arguments[index]
            let next = index + 1 < arguments.count ? arguments[index + 1] : nil
            if word.isWord("BCAST") {
                isBroadcast = true
            } else if word.isWord("OPTIN") {
                mode.isOptIn = true
            } else if word.isWord("OPTOUT") {
                mode.isOptOut = true
            } else if word.isWord("NOLOOP") {
                mode.isNoLoop = true
            } else if word.isWord("PREFIX"), let next {
                prefixes.append(next)
                index += 1
            } else if word.isWord("REDIRECT"), let next {
                guard Int64(redis: next) != nil else { return .notInteger }
                return .error("ERR The client ID you want redirect to does not exist")
            } else {
                return .syntaxError
            }
            index += 1
        }
        guard isOn else {
            stopTracking()
            return .ok
        }
        if !isBroadcast, !prefixes.isEmpty { return .error("ERR PREFIX option requires BCAST mode to be enabled") }
        if let tracking, (tracking.broadcastPrefixes != nil) != isBroadcast {
            return .error(
                "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with a different mode."
            )
        }
        if isBroadcast, mode.isOptIn || mode.isOptOut {
            return .error("ERR OPTIN and OPTOUT are not compatible with BCAST")
        }
        if mode.isOptIn, mode.isOptOut { return .error("ERR You can't specify both OPTIN mode and OPTOUT mode") }
        if let tracking, tracking.isOptIn && mode.isOptOut || tracking.isOptOut && mode.isOptIn {
            return .error(
                "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it with a different mode."
            )
        }
        if let overlap = overlap(in: prefixes + (tracking?.broadcastPrefixes ?? [])) { return overlap }
        guard let keyspace, let inbox else { return .noAuthentication }
        if isBroadcast {
            let all = prefixes + (tracking?.broadcastPrefixes ?? [])
            mode.broadcastPrefixes = all
            door.tracking.begin(
                id, inbox, prefixes: all.isEmpty ? [keyspace.prefix] : all.map { keyspace.name(of: $0) })
        } else {
            door.tracking.begin(id, inbox, prefixes: nil)
        }
        setOwnWrites(mode.isNoLoop ? keyspace.ownWrites ?? OwnWrites() : nil)
        tracking = mode
        return .ok
    }

    /// All are compared with all, and each with every change.
    private static let maximumPrefixes = 256

    private func overlap(in prefixes: [[UInt8]]) -> Reply? {
        guard prefixes.count <= Self.maximumPrefixes else {
            return .error("ERR a client has at most \(Self.maximumPrefixes) prefixes")
        }
        for (index, one) in prefixes.enumerated() {
            for other in prefixes[(index + 1)...] where one.starts(with: other) || other.starts(with: one) {
                return .error(
                    "ERR Prefix '\(String(decoding: one, as: UTF8.self))' overlaps with another provided prefix '\(String(decoding: other, as: UTF8.self))'. Prefixes for a single client must not overlap."
                )
            }
        }
        return nil
    }

    private func setCaching(_ word: [UInt8]) -> Reply {
        guard let tracking, tracking.isOptIn || tracking.isOptOut else {
            return .error(
                "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled"
            )
        }
        if word.isWord("YES") {
            guard tracking.isOptIn else {
                return .error("ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.")
            }
            caching = true
        } else if word.isWord("NO") {
            guard tracking.isOptOut else {
                return .error("ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.")
            }
            caching = false
        } else {
            return .syntaxError
        }
        return .ok
    }

    private func trackingInfo() -> Reply {
        var flags: [Reply] = [.text(isTracking ? "on" : "off")]
        if let tracking {
            if tracking.broadcastPrefixes != nil { flags.append(.text("bcast")) }
            if tracking.isOptIn { flags.append(.text("optin")) }
            if tracking.isOptOut { flags.append(.text("optout")) }
            if caching == true { flags.append(.text("caching-yes")) }
            if caching == false { flags.append(.text("caching-no")) }
            if tracking.isNoLoop { flags.append(.text("noloop")) }
        }
        return .map([
            .text("flags"), .set(flags), .text("redirect"), .integer(isTracking ? 0 : -1), .text("prefixes"),
            .array((tracking?.broadcastPrefixes ?? []).map { .bulk($0) }),
        ])
    }
}
