import Coordination
import EsperTypes
import RaftRuntime
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(2)))
struct PermissionTests {
    private let root = "user/root"
    private let ann = "client/ann"

    private func enable(_ cluster: TestCluster) async throws {
        let commands: [AuthCommand] = [
            .addUser(name: "root", passwordHash: [1]), .grantRole(user: "root", role: "root"),
            .addUser(name: "ann", passwordHash: []), .addRole(name: "a"),
            .grantPermission(role: "a", .init(.prefix([97]), .readWrite)), .grantRole(user: "ann", role: "a"),
            .enable(secret: [UInt8](repeating: 3, count: 32)),
        ]
        for command in commands {
            guard case .authChanged = try await cluster.command(.auth(command), on: "n1").result else {
                throw TestCluster.Unexpected(body: "\(command)")
            }
        }
    }

    private func code(_ body: ServiceReply.Body) -> ServiceFailure.Code? {
        if case .failed(let failure) = body { failure.code } else { nil }
    }

    @Test func `permissions hold on every node, for reads and writes alike`() async throws {
        try await TestCluster.run(3) { cluster in
            try await enable(cluster)
            for node in cluster.names {
                func call(_ operation: ServiceRequest.Operation, as principal: String) async -> ServiceReply.Body {
                    await cluster[node].call(operation, principal: principal, timeout: .seconds(20))
                }
                func result(_ body: ServiceReply.Body) -> Refusal? {
                    switch body {
                    case .command(let reply): return reply.result.refusal
                    case .query(let reply):
                        if case .refused(let refusal) = reply.result { return refusal }
                        return nil
                    default: return .malformed(.truncated)
                    }
                }
                for (key, principal, refusal) in [
                    ([97, 1], ann, nil), ([98], ann, Refusal.permissionDenied), ([98], root, nil),
                    ([97], "client/stranger", .permissionDenied), ([97], "", .auth(.userUnknown)),
                    ([98], "node/n1", nil),
                ] as [([UInt8], String, Refusal?)] {
                    #expect(
                        result(await call(.command(.put(.init(key: key, value: [])), nil), as: principal)) == refusal)
                    let query = Query.range(.init(.key(key)))
                    #expect(result(await call(.query(query, linearizable: true), as: principal)) == refusal)
                    #expect(result(await call(.query(query, linearizable: false), as: principal)) == refusal)
                    let watch = await call(.watch(.init(.key(key), fromRevision: Revision(1))), as: principal)
                    switch refusal {
                    case nil: #expect(code(watch) == nil)
                    case .permissionDenied?: #expect(code(watch) == .permissionDenied)
                    default: #expect(code(watch) == .userUnknown)
                    }
                }
                for operation in [
                    ServiceRequest.Operation.stateCopy(linearizable: false), .stateCopy(linearizable: true),
                    .transferLeadership(toMember: nil), .changeMembers([.remove("n9")]), .setAside(member: "n1", false),
                    .isolate(fromPeers: []), .heal,
                ] {
                    #expect(code(await call(operation, as: ann)) == .permissionDenied)
                }
                #expect(code(await call(.stateCopy(linearizable: true), as: root)) == nil)
                #expect(code(await call(.status, as: "")) == nil)
            }
        }
    }

    @Test func `keys of a session are told to those who may read them`() async throws {
        try await TestCluster.run(3) { cluster in
            let follower = try await cluster.follower()
            let session = try await cluster.session(ttl: .seconds(60), on: follower)
            try await cluster.command(.put(.init(key: [97], value: [], session: session)), on: follower)
            try await enable(cluster)
            func ask(_ node: String) async -> ServiceReply.Body {
                await cluster[node].call(.timeToLive(session, withKeys: true), principal: ann, timeout: .seconds(20))
            }
            for node in cluster.names { #expect(code(await ask(node)) == nil) }
            let other = Command.put(.init(key: [98], value: [], session: session))
            _ = await cluster["n1"].call(.command(other, nil), principal: root, timeout: .seconds(20))
            for node in cluster.names {
                #expect(code(await ask(node)) == .permissionDenied)
                let alone = await cluster[node].call(
                    .timeToLive(session, withKeys: false), principal: ann, timeout: .seconds(20))
                #expect(code(alone) == nil)
            }
        }
    }

    @Test func `doors know the table without asking the core loop`() async throws {
        try await TestCluster.run(1) { cluster in
            #expect(!cluster["n1"].auth.isEnabled)
            try await enable(cluster)
            let table = cluster["n1"].auth
            #expect(table.isEnabled && table.secret == [UInt8](repeating: 3, count: 32))
            let before = table.user("ann")?.generation
            let change = Command.auth(.changePassword(user: "ann", passwordHash: [9]))
            _ = await cluster["n1"].call(.command(change, nil), principal: root, timeout: .seconds(20))
            let after = cluster["n1"].auth.user("ann")
            #expect(after?.passwordHash == [9] && after?.generation != before)
        }
    }
}
