import Crypto
import EsperTypes

extension CommandTable {
    static let connectionCommands: [CommandSpec] = [
        CommandSpec("ping", -1, [.fast]) { $0.ping($1) },
        CommandSpec("echo", 2, [.fast]) { $0.echo($1[1]) },
        CommandSpec("hello", -1, [.fast, .noAuth]) { $0.hello($1) },
        CommandSpec("auth", -2, [.fast, .noAuth]) { $0.authenticate($1) },
        CommandSpec("select", 2, [.fast]) { $0.select($1) },
        CommandSpec("quit", -1, [.fast, .noAuth, .alone, .immediate]) { session, _ in
            session.endsAfterAnswer = true
            return .now(.ok)
        },
        CommandSpec("reset", 1, [.fast, .noAuth, .alone, .immediate]) { $0.reset($1) },
    ]
}

extension RedisSession {
    func ping(_ arguments: [[UInt8]]) -> Outcome {
        switch arguments.count {
        case 1: .now(.simple("PONG"))
        case 2: echo(arguments[1])
        default: .now(.wrongArity("ping"))
        }
    }

    /// What is long is counted like any other value.
    func echo(_ bytes: [UInt8]) -> Outcome {
        guard bytes.count > 64 << 10 else { return .now(.bulk(bytes)) }
        return ask(payload: bytes.count) { _, _ in .bulk(bytes) }
    }

    func hello(_ arguments: [[UInt8]]) -> Outcome {
        var wanted = version
        if arguments.count > 1 {
            guard let number = Int64(redis: arguments[1]) else {
                return .now(.error("ERR Protocol version is not an integer or out of range"))
            }
            guard number == 2 || number == 3 else { return .now(.error("NOPROTO unsupported protocol version")) }
            wanted = number == 3 ? .three : .two
        }
        var index = 2
        var credentials: (name: [UInt8], password: [UInt8])?
        var newName: [UInt8]?
        while index < arguments.count {
            let left = arguments.count - index - 1
            if arguments[index].isWord("AUTH"), left >= 2 {
                credentials = (arguments[index + 1], arguments[index + 2])
                index += 3
            } else if arguments[index].isWord("SETNAME"), left >= 1 {
                newName = arguments[index + 1]
                index += 2
            } else {
                return .now(
                    .error("ERR Syntax error in HELLO option '\(String(decoding: arguments[index], as: UTF8.self))'"))
            }
        }
        if let credentials, !logIn(credentials.name, credentials.password) { return .now(.wrongPassword) }
        guard user != nil else {
            return .now(
                .error(
                    "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time"
                ))
        }
        if let newName {
            guard let name = clientName(newName) else { return .now(.badName) }
            self.name = name
        }
        version = wanted
        return .now(
            .map([
                .text("server"), .text("redis"), .text("version"), .text(followedRedisVersion), .text("proto"),
                .integer(Int64(wanted.rawValue)), .text("id"), .integer(Int64(id)), .text("mode"), .text("standalone"),
                .text("role"), .text("master"), .text("modules"), .array([]),
            ]))
    }

    func authenticate(_ arguments: [[UInt8]]) -> Outcome {
        guard arguments.count <= 3 else { return .now(.syntaxError) }
        if arguments.count == 2 {
            guard let user = door.user(named: Array("default".utf8)), case .sha256 = user.password else {
                return .now(
                    .error(
                        "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?"
                    ))
            }
            return .now(logIn(Array("default".utf8), arguments[1]) ? .ok : .wrongPassword)
        }
        return .now(logIn(arguments[1], arguments[2]) ? .ok : .wrongPassword)
    }

    private func logIn(_ name: [UInt8], _ password: [UInt8]) -> Bool {
        if !door.hasUsers { return name.elementsEqual("default".utf8) }
        guard let user = door.user(named: name) else { return false }
        switch user.password {
        case .none: break
        case .impossible: return false
        case .sha256(let expected):
            // Digests: how long it takes to compare them tells nothing about the password.
            guard Digest(bytes: Array(SHA256.hash(data: password))) == expected else { return false }
        }
        become(user)
        return true
    }

    func select(_ arguments: [[UInt8]]) -> Outcome {
        guard let index = Int64(redis: arguments[1]), let number = Int32(exactly: index) else {
            return .now(.notInteger)
        }
        // A tenant is what a database is elsewhere.
        return .now(number == 0 ? .ok : .error("ERR DB index is out of range"))
    }

    func reset(_ arguments: [[UInt8]]) -> Outcome {
        ended()
        version = .two
        name = []
        become(door.initialUser(certificate: certificate))
        return .now(.simple("RESET"))
    }

    /// Nil: it would not fit a line of `CLIENT LIST`.
    func clientName(_ bytes: [UInt8]) -> [UInt8]? {
        bytes.allSatisfy { (33...126).contains($0) } ? bytes : nil
    }
}

extension Reply {
    static let wrongPassword = Reply.error("WRONGPASS invalid username-password pair or user is disabled.")
    static let badName = Reply.error("ERR Client names cannot contain spaces, newlines or special characters.")
}
