import NIOCore
import Redis
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(2))) struct RedisClusterTests {
    @Test func `keys are found wherever they are, while slots move and when a server is gone`() async throws {
        try await withPrivateRedisCluster { servers in
            try await withClient(servers[0].settings) { client in
                try await everyKey(client, servers)
                try await movingSlot(client, servers)
                try await missingServer(client, servers)
            }
        }
    }

    private func everyKey(_ client: RedisClient, _ servers: [PrivateRedis]) async throws {
        let keys = (0..<200).map { bytes("k\($0)") }
        // Before it is known that this is a cluster.
        #expect(try await client.values(of: keys, within: ample) == keys.map { _ in .null })
        #expect(try await client.send(keys.map { .set($0, $0) }, within: ample) == keys.map { _ in .status("OK") })
        #expect(try await client.values(of: keys, within: ample) == keys.map { .bytes($0) })
        #expect(try await client.send(keys.map { .exists($0) }, within: ample) == keys.map { _ in .integer(1) })
        for server in servers { #expect(try await server.cli("DBSIZE") != "0") }
        try await client.ping(within: ample)
    }

    /// Redis Cluster specification, "Live resharding": from one server to another, key by key.
    private func movingSlot(_ client: RedisClient, _ servers: [PrivateRedis]) async throws {
        // `foo` is in slot 12,182, of the last server.
        let (slot, source, target) = ("12182", servers[2], servers[0])
        let keys = ["{foo}1", "{foo}2", "{foo}3"]
        _ = try await client.send(keys[..<2].map { .set(bytes($0), bytes($0)) }, within: ample)
        let (from, to) = (try await source.cli("CLUSTER", "MYID"), try await target.cli("CLUSTER", "MYID"))
        #expect(try await target.cli("CLUSTER", "SETSLOT", slot, "IMPORTING", from) == "OK")
        #expect(try await source.cli("CLUSTER", "SETSLOT", slot, "MIGRATING", to) == "OK")
        #expect(try await source.cli("MIGRATE", "127.0.0.1", "\(target.port)", keys[0], "0", "5000") == "OK")
        // One key has gone, one has not, and a new one is made where the slot goes.
        #expect(
            try await client.send(
                [.get(bytes(keys[0])), .get(bytes(keys[1])), .setIfAbsent(bytes(keys[2]), bytes(keys[2]))],
                within: ample) == [.bytes(bytes(keys[0])), .bytes(bytes(keys[1])), .status("OK")])
        #expect(try await source.cli("CLUSTER", "COUNTKEYSINSLOT", slot) == "1")
        #expect(try await target.cli("CLUSTER", "COUNTKEYSINSLOT", slot) == "2")
        // Together they cannot be had anywhere.
        #expect(try await client.values(of: keys.map(bytes), within: ample) == keys.map { .bytes(bytes($0)) })
        #expect(try await source.cli("MIGRATE", "127.0.0.1", "\(target.port)", keys[1], "0", "5000") == "OK")
        for server in [target, source, servers[1]] {
            #expect(try await server.cli("CLUSTER", "SETSLOT", slot, "NODE", to) == "OK")
        }
        #expect(try await source.cli("GET", keys[0]).hasPrefix("MOVED"))
        #expect(try await client.values(of: keys.map(bytes), within: ample) == keys.map { .bytes(bytes($0)) })
        #expect(try await client.send(.delete(bytes(keys[0])), within: ample) == .integer(1))
    }

    private func missingServer(_ client: RedisClient, _ servers: [PrivateRedis]) async throws {
        // `bar` is in slot 5061, of the first server; `a` in 15,495, of the last.
        await servers[2].kill()
        #expect(try await client.send(.get(bytes("bar")), within: ample) == .null)
        let error = await failure { () throws(RedisError) in
            try await client.send([.get(bytes("bar")), .get(bytes("a"))], within: ample)
        }
        #expect(error?.kind == .unavailable || error?.kind == .connectionLost)
        let ping = await failure { () throws(RedisError) in try await client.ping(within: ample) }
        #expect(ping?.kind == .unavailable)
        try await servers[2].startServer()
        try await until("the cluster to be whole") {
            (try? await client.send(.get(bytes("a")), within: ample)) == .null
        }
    }
}
