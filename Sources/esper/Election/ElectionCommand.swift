import ArgumentParser

struct ElectionCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "election", abstract: "Elections among clients.",
        subcommands: [ElectionCampaign.self, ElectionObserve.self, ElectionLeader.self, ElectionResign.self])
}
