import ClusterSupport
import EsperClient
import EsperProtocol
import EsperTypes
import SwiftProtobuf
import Synchronization
import TestSupport
import Testing

/// A single link that fails is everyday life: nobody outside may notice.
@Suite(.timeLimit(.minutes(4)))
struct CutLinkTests {
    @Test func `one cut link anywhere between five nodes changes no leader and fails no put`() async throws {
        try await LocalCluster.run(5) { cluster in
            let observatory = Observatory(cluster)
            let leader = try await observatory.leader()
            for member in cluster.members { try await observatory.waitUntilCaughtUp(member.name) }
            let term = try #require(await observatory.status(of: leader)).term
            let names = cluster.members.map(\.name)
            let client = try cluster.client(of: names)
            defer { client.close() }

            let isOver = Mutex(false)
            let puts = Task {
                var slowest = Duration.zero
                var count = 0
                while !isOver.withLock({ $0 }) {
                    let start = ContinuousClock.now
                    try await client.put(.init("link"), .init("\(count)"))
                    slowest = max(slowest, start.duration(to: .now))
                    count += 1
                }
                return (count, slowest)
            }
            for (place, name) in names.enumerated() {
                for peer in names[(place + 1)...] {
                    let door = try await observatory.door(name)
                    let _: ProtoIsolateResponse = try await door.call(
                        .isolate, ProtoIsolateRequest.with { $0.peers = [peer] })
                    // Longer than any election timeout.
                    await pause(.milliseconds(500))
                    let _: ProtoHealResponse = try await door.call(.heal, ProtoHealRequest())
                }
            }
            isOver.withLock { $0 = true }
            let (count, slowest) = try await puts.value
            print("ten links cut in turn: \(count) puts, the slowest took \(slowest)")
            let after = try #require(await observatory.status(of: leader))
            #expect(after.leader == leader && after.term == term)
            #expect(count > 100)
            for name in names { try await observatory.waitUntilCaughtUp(name) }
        }
    }
}
