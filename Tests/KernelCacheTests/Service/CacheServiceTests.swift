import CacheCore
import EsperTypes
import Foundation
import KernelCache
import RaftRuntime
import Synchronization
import TestSupport
import Testing

/// One after the other: each has whole nodes that must answer in time.
@Suite(.serialized, .timeLimit(.minutes(2))) struct CacheServiceTests {
    private func name(_ text: String) -> [UInt8] { Array("default/\(text)".utf8) }

    @Test(arguments: [1, 3]) func `what was stored is found on every node, and evicted on every node`(
        _ count: Int
    ) async throws {
        try await CacheCluster.run(count) { cluster in
            let (small, large) = (noise(2000), noise(3 << 20))
            #expect(try await cluster[0].store("small", small).isStored)
            let reply = try await cluster[0].store("large", large)
            #expect(reply.isStored)
            #expect(reply.tiers.contains(TierSet(.peer)))
            for node in 0..<count {
                #expect(try await cluster[node].value("small") == small)
                #expect(try await cluster[node].value("large") == large)
                guard case .found(_, let value) = cluster[node].service.hit(name("small")) else {
                    Issue.record("no local hit on node \(node)")
                    return
                }
                #expect(value == small)
            }
            let evicted = try await cluster[count - 1].service.evict(
                EvictRequest(
                    name: name("small"), subject: .name(version: nil), principal: "client/test",
                    deadline: NodeClock.now() + .seconds(5)))
            #expect(evicted.previous != nil)
            for node in 0..<count {
                #expect(try await cluster[node].value("small") == nil)
                guard case .absent = cluster[node].service.hit(name("small")) else {
                    Issue.record("still there on node \(node)")
                    return
                }
            }
        }
    }

    @Test func `what is lost is not told to be absent when its name is bound anew meanwhile`() async throws {
        try await CacheCluster.run(1) { cluster in
            _ = try await cluster.founded()
            let node = cluster[0]
            let old = try await node.store("changing", noise(100), kind: .alias).binding.manifest
            let value = noise(200)
            let new = try await node.store("other", value).binding
            node.memory.drop(name: name("changing"))
            node.memory.drop(old)
            await node.disk.delete([old])
            let bind = CacheBind(
                name: name("changing"), kind: .alias, manifest: new.manifest, size: new.size, tiers: new.tiers)
            node.names.beforeChange.withLock {
                $0 = { [agreement = cluster.agreement] change in
                    if case .quarantine = change { _ = agreement.apply(.bind(bind), "client/test") }
                }
            }
            #expect(try await node.value("changing") == value)
            #expect(try await node.statistics().quarantined == 0)
        }
    }

    @Test func `nothing durable is acknowledged by a node that reaches no other, memory neither`() async throws {
        var options = CacheOptions.quick
        // Longer than a lease: until then the others count on the node that is cut off.
        options.copyLimit = .seconds(3)
        try await CacheCluster.run(3, options: options) { cluster in
            _ = try await cluster.map("founded") { _ in true }
            cluster.agreement.lead(NodeID(2))
            try await cluster.cutOff(0)
            for mode in [StoreMode.durable, .memory] {
                let failure = await #expect(throws: CacheFailure.self) {
                    try await cluster[0].store("alone", noise(100), mode: mode)
                }
                #expect(failure?.code == .tierUnavailable)
            }
            #expect(cluster.agreement.binding(name("alone")) == nil)
            #expect(try await cluster[1].store("together", noise(100)).isStored)
        }
    }

    @Test func `a manifest whose blobs nobody has is not bound`() async throws {
        try await CacheCluster.run(1) { cluster in
            let unknown = BlobReference(digest: Digest(hashing: noise(64)), size: 64)
            let failure = await #expect(throws: CacheFailure.self) {
                try await cluster[0].service.store(
                    StoreRequest(
                        name: name("hollow"), kind: .action,
                        manifest: Manifest(
                            writer: "client/test", files: [.init(name: "", content: .blobs([unknown]))]),
                        principal: "client/test", deadline: NodeClock.now() + .seconds(5)))
            }
            #expect(failure?.code == .closureIncomplete)
            #expect(cluster.agreement.binding(name("hollow")) == nil)
        }
    }

    @Test func `a lost copy comes from another node; what all have lost is quarantined and can be made again`()
        async throws
    {
        try await CacheCluster.run(3) { cluster in
            let value = noise(100_000)
            let binding = try await cluster[0].store("lost", value).binding
            var everything: [Digest] = [binding.manifest]
            if case .found(_, let manifest, _) = try await cluster[0].retrieve("lost").result {
                everything += manifest.blobs.map(\.digest)
            }
            for node in 0..<3 { for digest in everything { cluster[node].memory.drop(digest) } }
            // From one disk only.
            let holder = (0..<3).first { cluster[$0].disk.has(binding.manifest) }
            let other = (0..<3).last { cluster[$0].disk.has(binding.manifest) }
            #expect(holder != other)
            await cluster[holder ?? 0].disk.delete(everything)
            #expect(try await cluster[holder ?? 0].value("lost") == value)
            for node in 0..<3 {
                await cluster[node].disk.delete(everything)
                for digest in everything { cluster[node].memory.drop(digest) }
            }
            guard case .absent(let remains) = try await cluster[1].retrieve("lost").result else {
                Issue.record("found without bytes")
                return
            }
            #expect(remains?.state == .quarantined)
            #expect(cluster.agreement.binding(name("lost"))?.state == .quarantined)
            let again = noise(100_000)
            #expect(try await cluster[2].store("lost", again).isStored)
            #expect(try await cluster[0].value("lost") == again)
        }
    }

    @Test func `a flipped bit on a disk is dropped, and the right bytes come from elsewhere`() async throws {
        try await CacheCluster.run(3) { cluster in
            let value = noise(5000)
            let digest = try await cluster[0].store("flipped", value).binding.manifest
            guard let holder = (0..<3).first(where: { cluster[$0].disk.has(digest) }) else {
                Issue.record("on no disk")
                return
            }
            for node in 0..<3 {
                cluster[node].memory.drop(digest)
                cluster[node].memory.drop(name: name("flipped"))
            }
            let text = digest.description
            let directory = "\(cluster[holder].path)/\(text.prefix(2))"
            let file = try #require(
                try FileManager.default.contentsOfDirectory(atPath: directory).first {
                    $0.hasPrefix(String(text.dropFirst(2)))
                })
            var bytes = try #require(FileManager.default.contents(atPath: "\(directory)/\(file)"))
            bytes[bytes.count / 2] ^= 1
            try bytes.write(to: URL(fileURLWithPath: "\(directory)/\(file)"))
            #expect(try await cluster[holder].value("flipped") == value)
            #expect(cluster[holder].disk.damaged == 1)
        }
    }

    @Test func `of eight writers of one action the first stays, with its own files alone`() async throws {
        try await CacheCluster.run(3) { cluster in
            let values = (0..<8).map { _ in noise(40_000) }
            let replies = try await withThrowingTaskGroup(of: (Int, StoreReply).self) { group in
                for (number, value) in values.enumerated() {
                    group.addTask {
                        (number, try await cluster[number % 3].store("raced", value, writer: "client/w\(number)"))
                    }
                }
                return try await group.reduce(into: [Int: StoreReply]()) { $0[$1.0] = $1.1 }
            }
            let winners = replies.filter { $0.value.isStored }.map(\.key)
            #expect(winners.count == 1)
            #expect(Set(replies.values.map(\.binding.manifest)).count == 1)
            for node in 0..<3 {
                guard case .found(_, let manifest, _) = try await cluster[node].retrieve("raced").result else {
                    Issue.record("not found")
                    return
                }
                #expect(manifest.writer == "client/w\(winners[0])")
                #expect(try await cluster[node].value("raced") == values[winners[0]])
            }
        }
    }

    @Test func `many who want one cold name make it once`() async throws {
        try await CacheCluster.run(3) { cluster in
            let value = noise(3000)
            let readers = 1500
            let made = try await withThrowingTaskGroup(of: Int.self) { group in
                for reader in 0..<readers {
                    group.addTask {
                        let node = cluster[reader % 3]
                        switch try await node.retrieve("cold", wantsToMake: true, within: .seconds(60)).result {
                        case .make:
                            await pause(.milliseconds(200))
                            _ = try await node.store("cold", value)
                            return 1
                        case .found: return 0
                        case .absent:
                            Issue.record("neither found nor to be made")
                            return 0
                        }
                    }
                }
                return try await group.reduce(0, +)
            }
            #expect(made == 1)
        }
    }

    @Test func `a token that is not used runs out and goes to the next; an error that comes again is told`()
        async throws
    {
        var options = CacheOptions()
        options.tokens.lifetimes = .milliseconds(300) ... .seconds(60)
        try await CacheCluster.run(3, options: options) { cluster in
            // Where nobody coordinates, and where shards move, every node decides for itself.
            _ = try await cluster.founded()
            _ = try await cluster.map("settled") { $0.isSettled && $0.hosts.count == 3 }
            try await cluster.coordinated(name("dead"))
            guard case .make(let first) = try await cluster[0].retrieve("dead", wantsToMake: true).result else {
                Issue.record("not to be made")
                return
            }
            // Whoever had it never comes back.
            guard case .make(let second) = try await cluster[1].retrieve("dead", wantsToMake: true).result else {
                Issue.record("nobody else was let")
                return
            }
            #expect(first.number != second.number)
            await #expect(throws: CacheFailure.self) {
                try await cluster[0].service.renew(
                    first, name: name("dead"), principal: "client/test", deadline: NodeClock.now() + .seconds(2))
            }
            try await cluster[1].service.reportFailure(
                FailureReport(
                    name: name("dead"), token: second, message: "no such register", isDeterministic: true,
                    principal: "client/test", deadline: NodeClock.now() + .seconds(2)))
            let failure = await #expect(throws: CacheFailure.self) {
                try await cluster[2].retrieve("dead", wantsToMake: true)
            }
            #expect(failure?.code == .makeFailed)
            #expect(failure?.message == "no such register")
            // A store clears it.
            #expect(try await cluster[0].store("dead", noise(10)).isStored)
            #expect(try await cluster[2].value("dead") != nil)
        }
    }

    @Test func `garbage goes after its time, but nothing that a store counts on`() async throws {
        var options = CacheOptions()
        options.garbageGrace = .seconds(3)
        options.garbageInterval = .milliseconds(100)
        try await CacheCluster.run(1, options: options) { cluster in
            let old = noise(50_000)
            try await cluster[0].disk.put(
                [Blob(digest: Digest(hashing: old), bytes: old)], isSynced: true)
            let kept = noise(50_000)
            _ = try await cluster[0].store("kept", kept)
            try await until("the old one is gone") { !cluster[0].disk.has(Digest(hashing: old)) }
            let deadline = NodeClock.now() + .seconds(30)
            let added = try await cluster[0].service.add(noise(50_000), mode: .durable, deadline: deadline)
            #expect(cluster[0].disk.has(added.digest))
            cluster[0].memory.drop(added.digest)
            _ = try await cluster[0].service.store(
                StoreRequest(
                    name: name("late"), kind: .action,
                    manifest: Manifest(writer: "", files: [.init(name: "", content: .blobs([added]))]),
                    principal: "client/test", deadline: deadline))
            #expect(try await cluster[0].value("late") != nil)
            #expect(try await cluster[0].value("kept") == kept)
        }
    }

    @Test func `nodes that differ are made equal, and say so`() async throws {
        try await CacheCluster.run(3) { cluster in
            for number in 0..<20 { _ = try await cluster[0].store("n\(number)", noise(1000)) }
            let victim = cluster[1].disk.entries().map(\.digest)
            await cluster[1].disk.delete(Array(victim.prefix(5)))
            func sync(_ isDryRun: Bool) async throws -> SyncReply {
                try await cluster[1].service.sync(
                    SyncRequest(
                        isDryRun: isDryRun, principal: "client/test", deadline: NodeClock.now() + .seconds(20)))
            }
            #expect(try await sync(true).differences == 5)
            let repaired = try await sync(false)
            #expect(repaired.repairedBlobs == 5)
            #expect(repaired.unreachable.isEmpty)
            let after = try await sync(true)
            #expect(after.differences == 0)
            #expect(after.equal == after.shards)
        }
    }

    @Test func `a read that allows it is answered without a quorum, and marked`() async throws {
        try await CacheCluster.run(1) { cluster in
            let value = noise(100)
            _ = try await cluster[0].store("stale", value)
            cluster[0].names.hasLease.store(false, ordering: .relaxed)
            #expect(try await cluster[0].value("stale") == value)
            cluster[0].names.hasQuorum.store(false, ordering: .relaxed)
            let failure = await #expect(throws: CacheFailure.self) { try await cluster[0].retrieve("stale") }
            #expect(failure?.code == .unconfirmed)
            func retrieve() async throws(CacheFailure) -> RetrieveReply {
                try await cluster[0].service.retrieve(
                    RetrieveRequest(
                        name: name("stale"), deadline: NodeClock.now() + .seconds(5), principal: "client/test",
                        allowsStale: true))
            }
            #expect(try await retrieve().isStale)
            // That the node has too much to do says nothing about the quorum.
            cluster[0].names.isOverloaded.store(true, ordering: .relaxed)
            let refusal = await #expect(throws: CacheFailure.self) { try await retrieve() }
            #expect(refusal?.code == .overloaded)
        }
    }

    @Test func `a quorum that is asked in vain leaves a stale read the time for its bytes`() async throws {
        try await CacheCluster.run(1) { cluster in
            _ = try await cluster[0].store("stale", noise(100))
            let manifest = try #require(cluster.agreement.binding(name("stale"))?.manifest)
            cluster[0].names.hasLease.store(false, ordering: .relaxed)
            cluster[0].names.hasQuorum.store(false, ordering: .relaxed)
            cluster[0].names.isSlow.store(true, ordering: .relaxed)
            // From the disk.
            cluster[0].memory.drop(name: name("stale"))
            cluster[0].memory.drop(manifest)
            let reply = try await cluster[0].service.retrieve(
                RetrieveRequest(
                    name: name("stale"), deadline: NodeClock.now() + .seconds(2), principal: "client/test",
                    allowsStale: true))
            guard case .found(_, _, tier: .peer) = reply.result else {
                Issue.record("\(reply.result)")
                return
            }
            #expect(reply.isStale)
        }
    }
}
