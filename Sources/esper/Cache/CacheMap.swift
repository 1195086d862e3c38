import ArgumentParser
package import EsperClient

struct CacheMap: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "map", abstract: "Which node holds which shard of the cache, and what moves.")

    enum Format: String, CaseIterable, ExpressibleByArgument {
        case table, json, svg
    }

    @OptionGroup var config: ConfigOption

    @Option(name: [.short, .long], help: "table for people, json, or svg: a picture on standard output.")
    var output = Format.table

    @Option(help: "How long the call may take, retries included.", transform: WrittenDuration.read)
    var timeout = WrittenDuration(.seconds(10))

    func run() async throws {
        try await Connecting.withClient(try config.path(), timeout: timeout.duration) { client in
            let places = try await client.cache.shardPlaces()
            switch output {
            case .table: Terminal.line(places.text)
            case .json: Terminal.line(places.json.text)
            case .svg: Terminal.line(ShardPicture(places).svg)
            }
        }
    }
}

extension ShardPlaces {
    private func name(_ id: UInt64) -> JSON { .string(hosts.first { $0.id == id }?.name ?? "\(id)") }

    var json: JSON {
        .fields([
            "epoch": .unsigned(epoch), "copies": .int(copies),
            "hosts": .array(
                hosts.map { host in
                    .fields([
                        "name": .string(host.name), "weight": .unsigned(UInt64(host.weight)),
                        "zone": .string(host.zone), "draining": .bool(host.isDraining), "down": .bool(host.isDown),
                        "owned": .int(host.owned), "held": .int(host.held),
                    ])
                }),
            "shards": .array(
                shards.map { shard in
                    .fields([
                        "members": .array(shard.members.map(name)), "epoch": .unsigned(shard.epoch),
                        "step": .string(shard.step), "target": .array(shard.target.map(name)),
                    ])
                }),
        ])
    }

    package var text: String {
        guard epoch > 0 else { return "there is no map of shards yet" }
        var table = Table("node", "owned", "held", "weight", "zone", "state")
        for host in hosts {
            table.add(
                host.name, "\(host.owned)", "\(host.held)", "\(host.weight)", host.zone,
                host.isDown ? "down" : host.isDraining ? "draining" : "up")
        }
        let moving = shards.count { $0.step != "stable" }
        return table.text + "\nepoch \(epoch), \(shards.count) shards, \(copies) copies, \(moving) moving"
    }
}
