import ArgumentParser

struct PKICommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pki", abstract: "A cluster's private certificate authority and what it signs.",
        subcommands: [PKIInit.self, PKIIssue.self, PKIRotate.self, PKIInspect.self])
}
