import CacheCore
import EsperTypes
import KernelCache
import RaftRuntime
import TestSupport
import Testing

/// Who may make what is missing, when word comes late or not at all.
@Suite(.serialized, .timeLimit(.minutes(1))) struct MakerTests {
    private func name(_ text: String) -> [UInt8] { Array("default/\(text)".utf8) }

    @Test func `word of a store that comes late ends no newer right`() async throws {
        try await CacheCluster.run(1) { cluster in
            let (service, name) = (cluster[0].service, name("again"))
            _ = try await cluster.founded()
            try await cluster.coordinated(name)
            let stored = try await cluster[0].store("again", noise(10)).binding.version
            _ = try await service.evict(
                EvictRequest(
                    name: name, subject: .name(version: nil), principal: "client/test", deadline: .soon))
            func token(_ action: PeerTokenRequest.Action) -> PeerTokenReply {
                service.token(
                    PeerTokenRequest(
                        name: name, holder: "n1", action: action, epoch: cluster.agreement.map?.epoch.rawValue ?? 0))
            }
            func isGranted() -> Bool {
                if case .answer(.granted) = token(.ask(expected: nil)) { true } else { false }
            }
            #expect(isGranted())
            #expect(token(.stored(stored)) == .done)
            #expect(!isGranted(), "what was stored is gone: somebody makes it anew")
            let newer = try await cluster[0].store("again", noise(20)).binding.version
            #expect(newer > stored)
            #expect(isGranted())
            #expect(token(.stored(newer)) == .done)
            #expect(isGranted())
        }
    }

    @Test func `the right of a node that has left goes on to others at once`() async throws {
        var options = CacheOptions.quick
        options.tokens.lifetimes = .seconds(3600) ... .seconds(7200)
        try await CacheCluster.run(3, options: options) { cluster in
            let map = try await cluster.founded()
            let text = try #require(
                (0..<1000).map { "k\($0)" }.first {
                    map[ShardID(of: Digest(hashing: name($0)))].coordinator == NodeID(1)
                })
            try await cluster.coordinated(name(text))
            try await cluster[1].applied(map.epoch)
            guard case .make = try await cluster[1].retrieve(text, wantsToMake: true).result else {
                Issue.record("no right to make it")
                return
            }
            #expect(try await cluster[0].statistics().tokens == 1)
            cluster.agreement.become(cluster.agreement.members.filter { $0.name != "n2" })
            guard case .make = try await cluster[2].retrieve(text, wantsToMake: true).result else {
                Issue.record("no right to make it")
                return
            }
        }
    }
}
