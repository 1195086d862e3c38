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
    enum Cut {
        /// As by a network that swallows what is said: both ends believe in the link.
        case silent
        /// As by a network that says so: both ends see the link close, and cannot make another.
        case closed
    }

    @Test func `one link that is silently cut anywhere between five nodes changes no leader and fails no put`()
        async throws
    {
        try await cutAll(.silent)
    }

    @Test(.enabled(if: LinkCutter.isPossible, "copying the sockets of another process needs more rights"))
    func `one link that is closed anywhere between five nodes changes no leader and fails no put`() async throws {
        try await cutAll(.closed)
    }

    /// Every link in turn, under puts.
    private func cutAll(_ cut: Cut) async throws {
        try await LocalCluster.run(5) { cluster in
            let cutter = cut == .closed ? try LinkCutter(in: cluster.root) : nil
            let names = cluster.members.map(\.name)
            for name in names { try await until("the links of \(name)") { try await links(of: name, cluster) == 4 } }
            let observatory = Observatory(cluster)
            let leader = try await observatory.leader()
            for name in names { try await observatory.waitUntilCaughtUp(name) }
            let term = try #require(await observatory.status(of: leader)).term
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
                    // Of the two, the one whose number is lower has dialled.
                    try cutter?.cut(cluster.process(name), calling: cluster.member(peer).peerPort)
                    // Longer than any election timeout.
                    await pause(.milliseconds(500))
                    for end in [name, peer] {
                        switch cut {
                        case .silent: #expect(try await links(of: end, cluster) == 4, "\(name) to \(peer)")
                        case .closed:
                            try await until("\(end) without \(name) to \(peer)") {
                                try await links(of: end, cluster) == 3
                            }
                        }
                    }
                    let _: ProtoHealResponse = try await door.call(.heal, ProtoHealRequest())
                    for end in [name, peer] {
                        try await until("the links of \(end)") { try await links(of: end, cluster) == 4 }
                    }
                }
            }
            isOver.withLock { $0 = true }
            let (count, slowest) = try await puts.value
            print("ten \(cut) links in turn: \(count) puts, the slowest took \(slowest)")
            let after = try #require(await observatory.status(of: leader))
            #expect(after.leader == leader && after.term == term)
            #expect(count > 100)
            for name in names { try await observatory.waitUntilCaughtUp(name) }
        }
    }

    /// Links that stand, as the node sees it.
    private func links(of name: String, _ cluster: LocalCluster) async throws -> Double? {
        let port = cluster.member(name).probePort
        return try await onThread { Probe.metric("esper_peer_links_up", port: port) }
    }
}
