import ArgumentParser
import CacheCore
import EsperClient
import EsperTypes

struct CacheStatCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "stat", abstract: "How a node's cache stands; with a name, also where its bytes are.")

    @Argument(help: "An artifact's name.")
    var name: String?

    @OptionGroup var tenant: TenantOption
    @OptionGroup var cluster: ClusterOptions

    func run() async throws {
        try await cluster.withClient { client in
            let artifact = name.map { ArtifactName($0, tenant: tenant.tenant) }
            let stat = try await client.cache.stat(artifact)
            cluster.output.print(json(stat), text: text(stat))
            if let name, stat.artifact == nil {
                throw CommandFailure(.failed, "there is no artifact \(name)", reason: "not_found")
            }
        }
    }

    private func json(_ stat: CacheStat) -> JSON {
        var fields: [JSON.Field] = [
            .init(name: "node", value: .string(stat.node)), .init(name: "policy", value: .string(stat.policy)),
        ]
        fields += stat.figures.map { .init(name: $0.name, value: .unsigned($0.value)) }
        fields.append(
            .init(
                name: "hits",
                value: .array(
                    stat.hits.map { hits in
                        .fields([
                            "tier": .string(hits.tier.name), "count": .unsigned(hits.count),
                            "bytes": .unsigned(hits.bytes), "cost_ms": .unsigned(hits.costMilliseconds),
                        ])
                    })))
        fields.append(
            .init(
                name: "shadows",
                value: .array(
                    stat.shadows.map { shadow in
                        .fields([
                            "policy": .string(shadow.policy), "hits": .unsigned(shadow.hits),
                            "misses": .unsigned(shadow.misses),
                        ])
                    })))
        fields.append(
            .init(
                name: "tiers",
                value: .array(
                    stat.tiers.map { tier in
                        .fields([
                            "tier": .string(tier.tier.name), "breaker": .string(tier.breaker),
                            "failures": .unsigned(tier.failures), "corrupt": .unsigned(tier.corrupt),
                            "reason": .string(tier.reason), "hits": .unsigned(tier.hits),
                            "hit_bytes": .unsigned(tier.hitBytes), "misses": .unsigned(tier.misses),
                            "writes": .unsigned(tier.writes), "written_bytes": .unsigned(tier.writtenBytes),
                        ])
                    })))
        fields.append(
            .init(
                name: "peers",
                value: .array(
                    stat.peers.map { peer in
                        .fields([
                            "name": .string(peer.name), "connected": .bool(peer.isConnected),
                            "breaker": .string(peer.breaker),
                            "fetched_blobs": .unsigned(peer.fetchedBlobs),
                            "fetched_bytes": .unsigned(peer.fetchedBytes),
                            "pushed_blobs": .unsigned(peer.pushedBlobs), "pushed_bytes": .unsigned(peer.pushedBytes),
                            "failures": .unsigned(peer.failures), "corrupt": .unsigned(peer.corrupt),
                            "latency_us": .unsigned(peer.latencyMicroseconds),
                        ])
                    })))
        if name != nil { fields.append(.init(name: "artifact", value: .optional(stat.artifact) { json($0) })) }
        return .object(fields)
    }

    private func json(_ status: ArtifactStatus) -> JSON {
        .fields([
            "binding": status.binding.json, "writer": .optional(status.manifest) { .string($0.writer) },
            "files": .array(status.manifest?.files.map { .object($0.fields) } ?? []),
            "blobs": .int(status.blobs),
            "held": .array(
                status.held.map { .fields(["tier": .string($0.tier.name), "blobs": .int($0.blobs)]) }),
        ])
    }

    private func text(_ stat: CacheStat) -> String {
        var lines: [String] = []
        if let status = stat.artifact {
            lines.append(status.binding.text)
            for file in status.manifest?.files ?? [] where !file.name.isEmpty {
                lines.append("  \(file.name)  \(WrittenSize.text(file.size))")
            }
            if status.manifest == nil { lines.append("  no tier has its manifest") }
            let held = status.held.map { "\($0.tier.name) \($0.blobs)" }.joined(separator: ", ")
            lines.append("  \(status.blobs) blobs; held by \(held.isEmpty ? "nobody" : held)")
        }
        func size(_ figure: String) -> String { WrittenSize.text(stat[figure] ?? 0) }
        func count(_ figure: String) -> String { "\(stat[figure] ?? 0)" }
        lines.append(
            "node \(stat.node): memory \(size("memory_bytes")) of \(size("memory_limit_bytes")), "
                + "\(count("memory_entries")) entries, policy \(stat.policy)")
        let hits = stat.hits.map { "\($0.tier.name) \($0.count)" }.joined(separator: ", ")
        lines.append(
            "hits \(hits.isEmpty ? "none" : hits); absent \(count("absent")), lost \(count("lost")), "
                + "coalesced \(count("coalesced")); stores \(count("stores"))")
        for tier in stat.tiers {
            let reason = tier.reason.isEmpty ? "" : " (\(tier.reason))"
            lines.append(
                "tier \(tier.tier.name): \(tier.breaker)\(reason); \(tier.hits) hits (\(WrittenSize.text(tier.hitBytes))), "
                    + "\(tier.misses) misses, \(tier.writes) writes (\(WrittenSize.text(tier.writtenBytes))), "
                    + "\(tier.failures) failures, \(tier.corrupt) corrupt")
        }
        for peer in stat.peers {
            let late = peer.breaker == "closed" ? "" : ", answers too late (\(peer.breaker))"
            lines.append("peer \(peer.name): \(peer.isConnected ? "connected" : "not connected")\(late)")
        }
        return lines.joined(separator: "\n")
    }
}
