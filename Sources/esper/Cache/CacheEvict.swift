import ArgumentParser
import EsperClient

struct CacheEvict: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "evict", abstract: "Drop a name, or copies of its bytes.",
        discussion: """
            Without an option the name goes: afterwards there is nothing under it anywhere. --copy drops the asked node's \
            memory alone, --tier the copies in one tier. From the asked node's disk (peer) they go when the catalog or \
            the archive gave all of them back, from redis when one of these or a disk has them, from the catalog when \
            the archive gave them back, from the archive never.
            """)

    @OptionGroup var name: ArtifactArgument

    @Flag(help: "Only the copies in the memory of the node that is asked.")
    var copy = false

    @Option(
        help: """
            Only the copies in this tier: memory or peer (the memory, or the disk, of the node that is asked; other nodes \
            keep theirs), redis, catalog or archive.
            """, transform: WrittenTier.read)
    var tier: WrittenTier?

    @Option(help: "Only while the name has this version.")
    var expectVersion: UInt64?

    @OptionGroup var cluster: ClusterOptions

    func validate() throws {
        guard [copy, tier != nil, expectVersion != nil].count(where: { $0 }) <= 1 else {
            throw ValidationError("give one of --copy, --tier and --expect-version")
        }
    }

    func run() async throws {
        let subject: EvictSubject =
            copy ? .copy : tier.map { .tier($0.tier) } ?? .name(version: expectVersion)
        try await cluster.changing { client in
            let answer = try await client.cache.evict(name.artifact, subject)
            let head: [JSON.Field] = [.init(name: "outcome", value: "committed")] + name.artifact.fields
            cluster.output.print(
                .object(
                    head + [
                        .init(name: "previous", value: .optional(answer.previous) { $0.json }),
                        .init(name: "copies", value: .unsigned(answer.copies)),
                        .init(name: "bytes", value: .unsigned(answer.bytes)),
                    ]),
                text: text(answer, subject))
        }
    }

    private func text(_ answer: EvictAnswer, _ subject: EvictSubject) -> String {
        guard case .name = subject else { return "\(answer.copies) copies, \(WrittenSize.text(answer.bytes))" }
        return answer.previous.map { "evicted: \($0.text)" } ?? "there was nothing under this name"
    }
}
