import CacheCore
import EsperNode
import EsperTypes
import RedisDoor
import Testing

@Suite struct RedisUsersFileTests {
    private static let hash = String(repeating: "ab", count: 32)

    private static func problems(_ text: String) -> [String] {
        do {
            _ = try RedisUsersFile.read(text, named: "users.yaml")
            return []
        } catch {
            return error.problems.map(\.description)
        }
    }

    @Test func `users have what the file and their tenants say, and little else to state`() throws {
        let users = try RedisUsersFile.read(
            """
            tenants:
              - {name: ray, kind: store, mode: archived, consistency: linearizable}
              - {name: steady, kind: store, consistency: stale}
            users:
              - {name: builder, tenant: builds, password_sha256: \(Self.hash)}
              - {name: ci, tenant: builds, certificate: client/ci, rights: read}
              - {name: ray, password_sha256: \(Self.hash), certificate: node/n1}
              - {name: guest, tenant: steady, no_password: true, rights: write}
            """, named: "users.yaml")
        #expect(users.map(\.tenant) == ["builds", "builds", "ray", "steady"])
        #expect(users.map(\.kind) == [.cache, .cache, .store, .store])
        #expect(users.map(\.mode) == [.memory, .memory, .archived, .durable])
        #expect(users.map(\.consistency) == [.linearizable, .linearizable, .linearizable, .stale])
        #expect(users.map(\.rights) == [[.read, .write], .read, [.read, .write], .write])
        #expect(users.map(\.certificate) == [nil, "client/ci", "node/n1", nil])
        if case .sha256(let digest) = users[0].password { #expect(digest == Digest(Self.hash)) } else { Issue.record() }
        if case .impossible = users[1].password {} else { Issue.record("a certificate is no password") }
        if case .none = users[3].password {} else { Issue.record("no password was wanted") }
    }

    @Test(arguments: [
        ("users: []", "users.yaml: lists no users; without any nobody could come in"),
        ("", "users.yaml: lists no users; without any nobody could come in"),
        ("users: builder", "users.yaml:1: users must be a list"),
        ("users: [builder]", "users.yaml:1: each of users is a mapping, such as {name: …}"),
        ("user: []", "users.yaml:1: 'user' is neither users nor tenants"),
        ("users: [{tenant: t}]", "users.yaml:1: a user needs a name"),
        ("users: [{name: a}]", "users.yaml:1: a user needs password_sha256, certificate or no_password: true"),
        (
            "users: [{name: a, password_sha256: secret}]",
            "users.yaml:1: password_sha256 must be the SHA-256 of the password, 64 hexadecimal digits"
        ),
        (
            "users: [{name: a, password: secret}]",
            "users.yaml:1: password is none of certificate, name, no_password, password_sha256, rights, tenant"
        ),
        (
            "users: [{name: a, no_password: true, rights: all}]",
            "users.yaml:1: rights 'all' is none of read, write, read-write"
        ),
        (
            "users: [{name: a, tenant: b/c, no_password: true}]",
            "users.yaml:1: a tenant's name has up to 128 letters, digits and marks, no space and no slash"
        ),
        (
            "users: [{name: a, certificate: alice}]",
            "users.yaml:1: certificate must be client/NAME or node/NAME, as 'esper pki inspect' shows it"
        ),
        (
            "users: [{name: a, no_password: true}, {name: a, no_password: true}]",
            "users.yaml: two users have the name 'a'"
        ),
        (
            "tenants: [{name: t, kind: strict}]\nusers: [{name: a, tenant: t, no_password: true}]",
            "users.yaml:1: kind 'strict' is none of cache, store"
        ),
        (
            "tenants: [{name: t, kind: store, mode: memory}]\nusers: [{name: a, tenant: t, no_password: true}]",
            "users.yaml:1: a store keeps what it acknowledges: its mode is durable or archived"
        ),
        (
            "tenants: [{name: t, consistency: eventual}]\nusers: [{name: a, tenant: t, no_password: true}]",
            "users.yaml:1: consistency 'eventual' is none of linearizable, stale"
        ),
        (
            "users: [{name: a, no_password: true, consistency: stale}]",
            "users.yaml:1: consistency is none of certificate, name, no_password, password_sha256, rights, tenant"
        ),
    ])
    func `each mistake has its line, and no secret is in it`(text: String, expected: String) {
        let problems = Self.problems(text)
        #expect(problems.contains(expected), "\(problems)")
        #expect(!problems.contains { $0.contains("secret") })
    }
}
