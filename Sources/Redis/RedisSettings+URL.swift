extension RedisSettings {
    /// Reads `redis://[user[:password]@]host[:port][/database]` and `rediss://…`, which is TLS and may go on with
    /// `?ca_file=PATH&cert_file=PATH&key_file=PATH`. User, password and paths are percent-encoded where need be;
    /// `redis://:password@host` is the default user's password.
    ///
    /// - Throws: ``RedisError/Kind/invalidRequest`` that says what is wrong and repeats nothing of the text, any part of which
    ///   may be a password that was not encoded.
    public init(url: String) throws(RedisError) {
        var rest = Substring(url)
        let isTLS = rest.hasPrefix("rediss://")
        guard isTLS || rest.hasPrefix("redis://") else { throw Self.wrong("it must begin with redis:// or rediss://") }
        rest = rest.dropFirst(isTLS ? 9 : 8)
        guard !rest.contains("#") else { throw Self.wrong("a # must be written as %23") }
        let query = Self.cut(&rest, at: "?")
        let path = Self.cut(&rest, at: "/")
        var credentials: Substring?
        if let at = rest.lastIndex(of: "@") {
            credentials = rest[..<at]
            rest = rest[rest.index(after: at)...]
        }
        self.init(endpoint: try Self.endpoint(rest))
        if let credentials { try readCredentials(credentials) }
        if let path, !path.isEmpty {
            guard let number = Self.number(path) else { throw Self.wrong("after the host comes a database's number") }
            database = number
        }
        if isTLS { tls = TLS() }
        if let query { try readParameters(query) }
        if let tls, (tls.certificatePath == nil) != (tls.privateKeyPath == nil) {
            throw Self.wrong("cert_file and key_file come together")
        }
    }

    private static func endpoint(_ text: Substring) throws(RedisError) -> Endpoint {
        var host = text
        var port = 6379
        let end = text.hasPrefix("[") ? text.firstIndex(of: "]") ?? text.startIndex : text.startIndex
        if let colon = text[end...].firstIndex(of: ":") {
            host = text[..<colon]
            guard let given = number(text[text.index(after: colon)...]), (1...65_535).contains(given) else {
                throw wrong("the port must be a number from 1 to 65535")
            }
            port = given
        }
        if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
        guard !host.isEmpty, !host.contains(where: { $0.isWhitespace || "[]%".contains($0) }) else {
            throw wrong("no host is given")
        }
        return Endpoint(host: String(host), port: port)
    }

    private mutating func readCredentials(_ text: Substring) throws(RedisError) {
        var name = text
        guard let secret = Self.cut(&name, at: ":") else {
            throw Self.wrong("a user has a password: user:password@host, or :password@host for the default user")
        }
        let user = try Self.decoded(name)
        self.user = user.isEmpty ? nil : user
        password = Secret(try Self.decoded(secret))
    }

    private mutating func readParameters(_ query: Substring) throws(RedisError) {
        for parameter in query.split(separator: "&") {
            var name = parameter
            guard let text = Self.cut(&name, at: "=") else { throw Self.wrong("a parameter has no value") }
            guard tls != nil else { throw Self.wrong("parameters belong to rediss://") }
            let value = try Self.decoded(text)
            switch name {
            case "ca_file": tls?.authoritiesPath = value
            case "cert_file": tls?.certificatePath = value
            case "key_file": tls?.privateKeyPath = value
            default: throw Self.wrong("a parameter is none of ca_file, cert_file, key_file")
            }
        }
    }

    /// Leaves what comes before the mark and returns what comes after it; nil without one.
    private static func cut(_ text: inout Substring, at mark: Character) -> Substring? {
        guard let place = text.firstIndex(of: mark) else { return nil }
        defer { text = text[..<place] }
        return text[text.index(after: place)...]
    }

    /// Digits alone.
    private static func number(_ text: Substring) -> Int? {
        text.utf8.allSatisfy { (0x30...0x39).contains($0) } ? Int(text) : nil
    }

    private static func decoded(_ text: Substring) throws(RedisError) -> String {
        var bytes: [UInt8] = []
        var rest = text.utf8[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            let digits = String(decoding: rest.prefix(2), as: UTF8.self)
            guard digits.count == 2, digits.allSatisfy(\.isHexDigit), let value = UInt8(digits, radix: 16) else {
                throw wrong("a % must be followed by two hexadecimal digits; % itself is %25")
            }
            bytes.append(value)
            rest = rest.dropFirst(2)
        }
        guard let text = String(validating: bytes, as: UTF8.self) else { throw wrong("it is not UTF-8 when decoded") }
        return text
    }

    private static func wrong(_ what: String) -> RedisError { RedisError(.invalidRequest, "the Redis URL: \(what)") }
}
