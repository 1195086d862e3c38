import EsperTypes

extension SettingsReader {
    static let redisDoorKeys: [(name: String, help: String)] = [
        ("cache.redis_door.address", "host:port for clients of Redis; default: none"),
        (
            "cache.redis_door.users_file",
            "YAML file of users and tenants, the same on every node (docs/REDIS.md); default: whoever connects is 'default'"
        ),
        ("cache.redis_door.insecure", "true serves them in plaintext beyond loopback too; default: false"),
        ("cache.redis_door.tls", "true serves TLS on loopback too; default: beyond it, unless insecure"),
        ("cache.redis_door.certificate", "PEM file shown to clients of Redis; default: tls.certificate"),
        ("cache.redis_door.private_key", "PEM file of its key; default: tls.private_key"),
        (
            "cache.redis_door.client_certificates",
            "optional or required, with TLS; default: required without users_file, optional with it"
        ),
        ("cache.redis_door.value_memory", "of long values on their way in and out; default: 1GiB"),
        ("cache.redis_door.answer_within", "an answer comes in this time, or the connection is closed; default: 1s"),
    ]

    private enum ClientCertificates: String, CaseIterable {
        case optional
        case required
    }

    mutating func readRedisDoor() -> NodeSettings.RedisDoor? {
        guard let address = scalar("cache.redis_door.address").map({ hostPort("cache.redis_door.address", $0) }) else {
            for (key, _) in Self.redisDoorKeys where layers.values[key] != nil {
                complain(key, "needs cache.redis_door.address")
            }
            return nil
        }
        let isInsecure = flag("cache.redis_door.insecure")
        let hasTLS = flag("cache.redis_door.tls", default: !address.isLoopback && !isInsecure)
        if !hasTLS, !address.isLoopback, !isInsecure {
            complain(
                "cache.redis_door.tls",
                "'\(address)' is not on loopback, so it takes TLS, or cache.redis_door.insecure must say otherwise")
        }
        let valueBytes = bytes("cache.redis_door.value_memory", default: 1 << 30, atLeast: 16 << 20)
        if valueBytes > 2 << 30 { complain("cache.redis_door.value_memory", "must be at most 2GiB") }
        let answerWithin = duration("cache.redis_door.answer_within", default: .seconds(1))
        if !(.milliseconds(300) ... .seconds(60)).contains(answerWithin) {
            complain("cache.redis_door.answer_within", "must be from 300ms to 1m")
        }
        let usersFile = scalar("cache.redis_door.users_file")?.text
        return NodeSettings.RedisDoor(
            address: address, usersFile: usersFile, tls: readRedisTLS(hasTLS, hasUsers: usersFile != nil),
            valueBytes: valueBytes, answerWithin: answerWithin)
    }

    private mutating func readRedisTLS(_ hasTLS: Bool, hasUsers: Bool) -> NodeSettings.RedisDoor.TLS? {
        let certificate = scalar("cache.redis_door.certificate")?.text
        let key = scalar("cache.redis_door.private_key")?.text
        let asked = choice(
            "cache.redis_door.client_certificates", from: ClientCertificates.allCases,
            default: hasUsers ? .optional : .required)
        guard hasTLS else {
            for name in ["certificate", "private_key", "client_certificates"]
            where layers.values["cache.redis_door.\(name)"] != nil {
                complain("cache.redis_door.\(name)", "is for TLS, which this port does not speak")
            }
            return nil
        }
        if (certificate == nil) != (key == nil) {
            complain(
                "cache.redis_door.\(certificate == nil ? "certificate" : "private_key")",
                "is missing: a certificate and its key go together")
        }
        if asked == .optional, !hasUsers {
            complain(
                "cache.redis_door.client_certificates",
                "must be required, or whoever reaches the port may write; or give a users_file")
        }
        return NodeSettings.RedisDoor.TLS(
            shown: certificate.flatMap { certificate in key.map { .init(certificate: certificate, privateKey: $0) } },
            requiresCertificates: asked == .required)
    }
}
