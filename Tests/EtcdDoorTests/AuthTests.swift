import Coordination
import EsperTypes
import EtcdDoor
import Testing

@Suite struct AuthTests {
    private static let now: UInt64 = 1_800_000_000 * 1_000_000_000

    private static func table(secret: UInt8 = 7) throws -> AuthTable {
        var machine = StateMachine()
        let commands: [AuthCommand] = [
            .addUser(name: "root", passwordHash: [1]), .addUser(name: "bob", passwordHash: [2]),
            .addRole(name: "root"), .grantRole(user: "root", role: "root"),
            .enable(secret: [UInt8](repeating: secret, count: 32)),
        ]
        for (number, command) in commands.enumerated() {
            let envelope = Envelope(
                proposal: ProposalID(origin: NodeID(1), boot: 1, number: UInt64(number)), principal: "node/n1",
                command: .auth(command))
            var output = ApplyOutput()
            machine.apply(
                index: LogIndex(UInt64(number) + 1), term: Term(1), payload: envelope.encoded(), into: &output)
        }
        return machine.auth
    }

    @Test func aTokenNamesItsUser() throws {
        let table = try Self.table()
        let tokens = AuthTokens(table)
        let bob = try #require(table.user("bob"))
        #expect(tokens.user(of: tokens.token(for: bob, at: Self.now), at: Self.now) == "bob")
    }

    @Test func aTokenDiesAfterADay() throws {
        let table = try Self.table()
        let tokens = AuthTokens(table)
        let token = tokens.token(for: try #require(table.user("bob")), at: Self.now)
        let day: UInt64 = 24 * 3600 * 1_000_000_000
        #expect(tokens.user(of: token, at: Self.now + day - 1_000_000_000) == "bob")
        #expect(tokens.user(of: token, at: Self.now + day) == nil)
    }

    @Test func aTokenOfAnotherSecretIsNone() throws {
        let bob = try #require(try Self.table().user("bob"))
        let token = AuthTokens(try Self.table(secret: 8)).token(for: bob, at: Self.now)
        #expect(AuthTokens(try Self.table()).user(of: token, at: Self.now) == nil)
    }

    @Test func aTokenDiesWithItsPassword() throws {
        let table = try Self.table()
        var before = try #require(table.user("bob"))
        before.generation -= 1
        let tokens = AuthTokens(table)
        #expect(tokens.user(of: tokens.token(for: before, at: Self.now), at: Self.now) == nil)
    }

    @Test func anyChangeOfATokenBreaksIt() throws {
        let table = try Self.table()
        let tokens = AuthTokens(table)
        let token = Array(tokens.token(for: try #require(table.user("bob")), at: Self.now))
        for place in token.indices {
            var broken = token
            broken[place] = broken[place] == "1" ? "2" : "1"
            #expect(tokens.user(of: String(broken), at: Self.now) == nil, "changed at \(place)")
            #expect(tokens.user(of: String(token[..<place]), at: Self.now) == nil, "cut at \(place)")
        }
        #expect(tokens.user(of: "", at: Self.now) == nil)
        #expect(tokens.user(of: "....", at: Self.now) == nil)
    }

    @Test func aPasswordMatchesItselfAlone() throws {
        let hash = try PasswordHash(of: "correct horse")
        #expect(hash.matches("correct horse"))
        #expect(!hash.matches("correct horse "))
        #expect(!hash.matches(""))
        #expect(try PasswordHash(of: "correct horse").bytes != hash.bytes, "each has a salt of its own")
        #expect(try #require(PasswordHash(bytes: hash.bytes)).matches("correct horse"))
    }

    @Test func whoHasNoPasswordCannotGiveOne() {
        #expect(PasswordHash(bytes: []) == nil)
        #expect(!PasswordHash.nobody.matches(""))
    }
}
