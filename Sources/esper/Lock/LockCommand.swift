import ArgumentParser

struct LockCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lock", abstract: "Fair locks with fencing tokens.",
        subcommands: [LockAcquire.self, LockRelease.self, LockList.self])
}
