import ArgumentParser

struct KVCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "kv", abstract: "The replicated keyspace.",
        subcommands: [KVPut.self, KVGet.self, KVDelete.self, KVList.self, KVWatch.self, KVCompact.self])
}

/// Freshness and age of what is read.
struct ReadOptions: ParsableArguments {
    @Option(help: "Read the keyspace as of this revision.")
    var revision: UInt64?

    @Flag(help: "Read what the asked node has applied, without asking a quorum; possibly old.")
    var local = false
}
