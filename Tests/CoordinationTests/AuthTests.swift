import Coordination
import EsperTypes
import Testing

extension Replica {
    @discardableResult
    mutating func auth(_ command: AuthCommand) -> Refusal? { run(.auth(command)).refusal }

    /// With user `root`, and everything in force; asks as `root` from then on.
    mutating func enableAuth() {
        auth(.addUser(name: "root", passwordHash: [1]))
        auth(.grantRole(user: "root", role: "root"))
        auth(.enable(secret: [UInt8](repeating: 7, count: 32)))
        principal = "user/root"
    }

    mutating func addUser(_ name: String, _ permissions: [AuthPermission]) {
        let before = principal
        principal = "user/root"
        auth(.addUser(name: name, passwordHash: []))
        auth(.addRole(name: "of \(name)"))
        auth(.grantRole(user: name, role: "of \(name)"))
        for permission in permissions { auth(.grantPermission(role: "of \(name)", permission)) }
        principal = before
    }

    mutating func run(_ command: Command, as user: String) -> CommandResult {
        let before = principal
        principal = user
        defer { principal = before }
        return run(command)
    }
}

@Suite struct AuthTests {
    private let secret = [UInt8](repeating: 7, count: 32)

    @Test func `users and roles are added, changed and deleted, each refusal by its name`() {
        var replica = Replica()
        let permission = AuthPermission(.prefix("a".bytes), .read)
        let steps: [(AuthCommand, AuthRefusal?)] = [
            (.deleteUser(name: "u"), .userNotFound), (.changePassword(user: "u", passwordHash: [1]), .userNotFound),
            (.grantRole(user: "u", role: "r"), .userNotFound), (.revokeRole(user: "u", role: "r"), .userNotFound),
            (.addUser(name: "u", passwordHash: [1]), nil), (.addUser(name: "u", passwordHash: [2]), .userExists),
            (.grantRole(user: "u", role: "r"), .roleNotFound), (.revokeRole(user: "u", role: "r"), .roleNotGranted),
            (.deleteRole(name: "r"), .roleNotFound), (.grantPermission(role: "r", permission), .roleNotFound),
            (.revokePermission(role: "r", permission.range), .roleNotFound),
            (.addRole(name: "r"), nil), (.addRole(name: "r"), .roleExists),
            (.revokePermission(role: "r", permission.range), .permissionNotGranted),
            (.grantPermission(role: "r", permission), nil), (.grantPermission(role: "r", permission), nil),
            (.grantRole(user: "u", role: "r"), nil), (.grantRole(user: "u", role: "r"), nil),
            (.grantRole(user: "u", role: "root"), nil),
            (.revokePermission(role: "r", .key("a".bytes)), .permissionNotGranted),
            (.revokePermission(role: "r", permission.range), nil), (.revokeRole(user: "u", role: "root"), nil),
            (.deleteRole(name: "r"), nil), (.revokeRole(user: "u", role: "r"), .roleNotGranted),
            (.deleteUser(name: "u"), nil), (.disable, nil),
        ]
        for (command, refusal) in steps {
            #expect(replica.auth(command) == refusal.map { .auth($0) }, "\(command)")
        }
        #expect(replica.machine.auth.users.isEmpty && replica.machine.auth.roles.isEmpty)
    }

    @Test func `it is enabled once root has the role root, who keeps both until it is disabled`() {
        var replica = Replica()
        #expect(replica.auth(.enable(secret: secret)) == .auth(.rootUserMissing))
        replica.auth(.addUser(name: "root", passwordHash: [1]))
        #expect(replica.auth(.enable(secret: secret)) == .auth(.rootRoleMissing))
        replica.auth(.grantRole(user: "root", role: "root"))
        replica.auth(.addRole(name: "root"))
        #expect(replica.auth(.enable(secret: [1])) == .invalid(.digestLength(1)))
        #expect(replica.auth(.enable(secret: secret)) == nil)
        replica.principal = "client/root"
        #expect(replica.auth(.enable(secret: [UInt8](repeating: 8, count: 32))) == nil)
        #expect(replica.machine.auth.secret == secret, "it was enabled already")
        #expect(replica.auth(.deleteUser(name: "root")) == .auth(.rootNeeded))
        #expect(replica.auth(.revokeRole(user: "root", role: "root")) == .auth(.rootNeeded))
        #expect(replica.auth(.deleteRole(name: "root")) == .auth(.rootNeeded))
        #expect(replica.auth(.disable) == nil)
        replica.principal = "client/anybody"
        #expect(replica.auth(.deleteUser(name: "root")) == nil)
    }

    @Test func `a user's generation rises with the password, and one that is added again is another`() {
        var replica = Replica()
        func generation() -> UInt64 { replica.machine.auth.user("u")?.generation ?? 0 }
        var seen: [UInt64] = []
        for command in [
            AuthCommand.addUser(name: "u", passwordHash: [1]), .changePassword(user: "u", passwordHash: [2]),
            .deleteUser(name: "u"), .addUser(name: "u", passwordHash: [1]),
        ] {
            replica.auth(command)
            seen.append(generation())
        }
        #expect(seen[0] > 0 && seen[1] > seen[0] && seen[2] == 0 && seen[3] > seen[1])
        replica.auth(.grantRole(user: "u", role: "root"))
        #expect(generation() == seen[3])
    }

    @Test func `the revision counts changes, not refusals`() {
        var replica = Replica()
        #expect(replica.machine.auth.revision == 1)
        #expect(replica.run(.auth(.addRole(name: "r"))) == .authChanged(revision: 2))
        replica.auth(.addRole(name: "r"))
        #expect(replica.machine.auth.revision == 2)
        replica.enableAuth()
        #expect(replica.machine.auth.status == AuthStatus(isEnabled: true, revision: 4))
        replica.auth(.disable)
        #expect(replica.machine.auth.status == AuthStatus(isEnabled: false, revision: 5))
    }

    @Test func `the table is part of the state, through snapshots too`() throws {
        var replica = Replica()
        replica.enableAuth()
        replica.addUser("ann", [.init(.prefix("a/".bytes), .readWrite), .init(.from("x".bytes), .read)])
        replica.addUser("añn", [.init(.key("k".bytes), .write)])
        let copy = try restored(replica.machine)
        #expect(copy.auth == replica.machine.auth)
        #expect(copy.stateHash == replica.machine.stateHash)
        var without = Replica(try restored(replica.machine))
        without.principal = "user/root"
        without.auth(.revokePermission(role: "of ann", .prefix("a/".bytes)))
        #expect(without.machine.stateHash != replica.machine.stateHash)
        let kinds = replica.machine.outboxRecords(after: .zero, limit: 100)
        #expect(kinds.map(\.subject).contains("auth.permission_granted"))
        #expect(!kinds.contains { $0.fields.contains { $0.value.contains("7, 7") } })
    }

    @Test func `names that only look alike are different users`() {
        var replica = Replica()
        let (composed, decomposed) = ("\u{e9}", "e\u{301}")
        replica.auth(.addUser(name: composed, passwordHash: [1]))
        #expect(replica.auth(.addUser(name: decomposed, passwordHash: [2])) == nil)
        #expect(replica.machine.auth.user(composed)?.passwordHash == [1])
        #expect(replica.machine.auth.user(decomposed)?.passwordHash == [2])
        replica.auth(.addRole(name: composed))
        #expect(replica.auth(.grantRole(user: composed, role: decomposed)) == .auth(.roleNotFound))
    }

    @Test func `the table has a bound`() {
        var replica = Replica()
        replica.auth(.addRole(name: "r"))
        var added = 0
        let upper = [UInt8](repeating: 0x7e, count: 4096)
        for number in 0..<3000 {
            let lower = withUnsafeBytes(of: UInt64(number).bigEndian) { Array($0) } + [UInt8](repeating: 1, count: 4088)
            let refusal = replica.auth(.grantPermission(role: "r", .init(.keys(from: lower, before: upper), .read)))
            if let refusal {
                #expect(refusal == .auth(.tableFull))
                break
            }
            added += 1
        }
        #expect(added == CoordinationLimits.authBytes / (2 * 4096 + 64))
        #expect(replica.auth(.deleteRole(name: "r")) == nil)
        #expect(replica.auth(.addRole(name: "r")) == nil)
    }
}

@Suite struct KeyCoverageTests {
    @Test(arguments: 1...40 as ClosedRange<UInt64>)
    func `a range is covered when each of its keys is`(seed: UInt64) {
        var random = Seeded(seed)
        // Every key of up to two bytes out of three, and what lies just behind each.
        let letters: [UInt8] = [0, 1, 2]
        let keys = [[]] + letters.map { [$0] } + letters.flatMap { first in letters.map { [first, $0] } }
        func range() -> KeyRange {
            let (one, two) = (keys.randomElement(using: &random)!, keys.randomElement(using: &random)!)
            switch Int.random(in: 0..<4, using: &random) {
            case 0 where !one.isEmpty: return .key(one)
            case 1: return .from(one)
            case 2: return .prefix(one)
            default: return .keys(from: one, before: two)
            }
        }
        let all = keys + keys.map { $0 + [0] } + keys.map { $0 + [0, 0] } + keys.map { $0 + [9] } + [[9], [9, 9]]
        for _ in 0..<200 {
            let ranges = (0..<Int.random(in: 0...5, using: &random)).map { _ in range() }
            let wanted = range()
            if wanted.isEmpty { continue }
            let expected = all.filter(wanted.contains).allSatisfy { key in ranges.contains { $0.contains(key) } }
            let isBeyond = wanted.end == .unbounded && !ranges.contains { $0.end == .unbounded && !wanted.isEmpty }
            #expect(KeyCoverage(ranges).covers(wanted) == (expected && !isBeyond), "\(ranges) \(wanted)")
            let parts = KeyCoverage(union: ranges.map { KeyCoverage([$0]) })
            #expect(parts == KeyCoverage(ranges))
        }
    }
}
