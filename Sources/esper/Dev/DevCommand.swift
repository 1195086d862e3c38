import ArgumentParser

struct DevCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "dev", abstract: "A cluster on this host, all of it under one directory.",
        subcommands: [
            DevUp.self, DevDown.self, DevStatus.self, DevKill.self, DevPause.self, DevResume.self, DevPartition.self,
            DevHeal.self, DevAdd.self, DevRemove.self,
        ])
}
