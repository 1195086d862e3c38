import Testing

@Suite(.timeLimit(.minutes(1))) struct `A disk that hangs` {
    @Test func `under the leader costs it the leadership, and no write`() async throws {
        try await TestCluster.run(3) { cluster in
            let leader = try await cluster.leader()
            try await cluster.put("before", "1", on: leader)
            let disk = cluster.disk(of: leader)
            disk.stall()
            defer { disk.resume() }
            // The two others have it on their disks; the leader's own hangs on to it, and so it hands over.
            try await cluster.put("during", "2", on: try await cluster.follower())
            let next = try await cluster.leader(otherThan: leader)
            try await cluster.put("after", "3", on: next)
            disk.resume()
            for (key, value) in [("before", "1"), ("during", "2"), ("after", "3")] {
                #expect(try await cluster.get(key, on: leader) == value)
            }
        }
    }
}
