import CacheCore
import EsperTypes
package import RedisDoor

/// Who may use the Redis door, as a file says it: two lists, of tenants and of users.
///
///     tenants:
///       - {name: ray, kind: store, mode: durable, consistency: linearizable}
///     users:
///       - {name: builder, password_sha256: 2bb8…, tenant: builds, rights: read-write}
///       - {name: ci, certificate: client/ci, tenant: builds, rights: read}
///
/// A tenant that is not listed is a linearizable cache in memory. All mistakes are told at once; passwords and their hashes never.
package struct RedisUsersFile {
    private struct Tenant {
        var kind = RedisUser.Kind.cache
        var mode = StoreMode.memory
        var consistency = RedisUser.Consistency.linearizable
    }

    private let name: String
    private var problems: [SettingsProblem] = []
    private var tenants: [String: Tenant] = [:]

    /// - Parameter name: of the file, for messages.
    package static func read(_ text: String, named name: String) throws(InvalidSettings) -> [RedisUser] {
        var file = RedisUsersFile(name: name)
        let users = file.users(in: text)
        guard file.problems.isEmpty else { throw InvalidSettings(problems: file.problems) }
        return users
    }

    private init(name: String) { self.name = name }

    private mutating func complain(_ place: String, _ message: String) {
        problems.append(SettingsProblem(key: place, message: message))
    }

    private mutating func users(in text: String) -> [RedisUser] {
        var layers = SettingsLayers()
        layers.add(yaml: text, named: name)
        problems = layers.problems
        for (key, value) in layers.values.sorted(by: { $0.key < $1.key }) where key != "users" && key != "tenants" {
            complain(value.origin, "'\(key)' is neither users nor tenants")
        }
        let tenants = entries(layers.values["tenants"], "tenants", ["name", "kind", "mode", "consistency"])
        for (place, fields) in tenants { readTenant(place, fields) }
        let entries = entries(
            layers.values["users"], "users",
            ["name", "tenant", "rights", "password_sha256", "no_password", "certificate"])
        let users = entries.compactMap { readUser($0.place, $0.fields) }
        if entries.isEmpty, problems.isEmpty {
            complain(name, "lists no users; without any nobody could come in")
        }
        refuseRepeats(users.map(\.name), of: "name")
        refuseRepeats(users.compactMap(\.certificate), of: "certificate")
        return users
    }

    private typealias Entry = (place: String, fields: [String: String])

    private mutating func entries(_ value: WrittenValue?, _ key: String, _ known: Set<String>) -> [Entry] {
        guard let value else { return [] }
        guard case .list(let items) = value.content else {
            complain(value.origin, "\(key) must be a list")
            return []
        }
        return items.compactMap { item in
            guard case .mapping(let mapping) = item.content else {
                complain(item.origin, "each of \(key) is a mapping, such as {name: …}")
                return nil
            }
            var fields: [String: String] = [:]
            for (field, value) in mapping.sorted(by: { $0.key < $1.key }) {
                if known.contains(field), case .scalar(let text) = value.content, !text.isEmpty {
                    fields[field] = text
                } else if known.contains(field) {
                    complain(value.origin, "\(field) must be a single value")
                } else {
                    complain(value.origin, "\(field) is none of \(known.sorted().joined(separator: ", "))")
                }
            }
            return (item.origin, fields)
        }
    }

    private mutating func readTenant(_ place: String, _ fields: [String: String]) {
        guard let name = tenantName(place, fields["name"]) else { return }
        let kind = choice(place, "kind", fields["kind"], RedisUser.Kind.allCases.map { ($0.rawValue, $0) }) ?? .cache
        let modes = StoreMode.allCases.map { ($0.name, $0) }
        let mode = choice(place, "mode", fields["mode"], modes) ?? RedisUser.usualMode(of: kind)
        if kind == .store, mode == .memory {
            complain(place, "a store keeps what it acknowledges: its mode is durable or archived")
        }
        let promises = RedisUser.Consistency.allCases.map { ($0.rawValue, $0) }
        let consistency = choice(place, "consistency", fields["consistency"], promises) ?? .linearizable
        let tenant = Tenant(kind: kind, mode: mode, consistency: consistency)
        if tenants.updateValue(tenant, forKey: name) != nil {
            complain(place, "the tenant '\(name)' is listed twice")
        }
    }

    private mutating func readUser(_ place: String, _ fields: [String: String]) -> RedisUser? {
        guard let name = fields["name"] else {
            complain(place, "a user needs a name")
            return nil
        }
        guard name.utf8.allSatisfy({ (33...126).contains($0) }), name.utf8.count <= 128 else {
            complain(place, "a user's name has up to 128 letters, digits and marks, and no spaces")
            return nil
        }
        guard let tenant = tenantName(place, fields["tenant"] ?? name) else { return nil }
        let rights: [(String, RedisUser.Rights)] = [
            ("read", .read), ("write", .write), ("read-write", [.read, .write]),
        ]
        let chosen = choice(place, "rights", fields["rights"], rights) ?? [.read, .write]
        guard let password = password(place, fields) else { return nil }
        let kept = tenants[tenant] ?? Tenant()
        return RedisUser(
            name: name, password: password, certificate: certificate(place, fields["certificate"]), tenant: tenant,
            kind: kept.kind, rights: chosen, mode: kept.mode, consistency: kept.consistency)
    }

    private mutating func password(_ place: String, _ fields: [String: String]) -> RedisUser.Password? {
        let isOpen = fields["no_password"].map { Bool($0) ?? false } ?? false
        if let text = fields["no_password"], Bool(text) == nil {
            complain(place, "no_password must be true or false")
        }
        guard let hash = fields["password_sha256"] else {
            if isOpen { return RedisUser.Password.none }
            if fields["certificate"] != nil { return .impossible }
            complain(place, "a user needs password_sha256, certificate or no_password: true")
            return nil
        }
        if isOpen { complain(place, "no_password and password_sha256 exclude each other") }
        guard let digest = Digest(hash) else {
            complain(
                place, "password_sha256 must be the SHA-256 of the password, 64 hexadecimal digits")
            return nil
        }
        return .sha256(digest)
    }

    private mutating func certificate(_ place: String, _ text: String?) -> String? {
        guard let text else { return nil }
        let parts = text.split(separator: "/", maxSplits: 1)
        guard parts.count == 2, parts[0] == "client" || parts[0] == "node", !parts[1].isEmpty else {
            complain(place, "certificate must be client/NAME or node/NAME, as 'esper pki inspect' shows it")
            return nil
        }
        return text
    }

    /// It is the first part of every name of the tenant, so it must not look like two.
    private mutating func tenantName(_ place: String, _ text: String?) -> String? {
        guard let text, !text.isEmpty else {
            complain(place, "a tenant needs a name")
            return nil
        }
        let isName = text.utf8.allSatisfy { (33...126).contains($0) && $0 != UInt8(ascii: "/") }
        guard isName, text.utf8.count <= 128 else {
            complain(place, "a tenant's name has up to 128 letters, digits and marks, no space and no slash")
            return nil
        }
        return text
    }

    private mutating func choice<Value>(
        _ place: String, _ field: String, _ text: String?, _ values: [(name: String, value: Value)]
    ) -> Value? {
        guard let text else { return nil }
        if let found = values.first(where: { $0.name == text }) { return found.value }
        complain(place, "\(field) '\(text)' is none of \(values.map(\.name).joined(separator: ", "))")
        return nil
    }

    private mutating func refuseRepeats(_ texts: [String], of what: String) {
        var seen: Set<String> = []
        for text in texts where !seen.insert(text).inserted { complain(name, "two users have the \(what) '\(text)'") }
    }
}
