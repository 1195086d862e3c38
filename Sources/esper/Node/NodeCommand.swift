import ArgumentParser
import Enrollment
import Foundation

struct NodeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "node", abstract: "A node on this host.", subcommands: [NodeJoin.self, NodeRenew.self])
}

/// A join token, as a command is given it.
struct TokenOptions: ParsableArguments {
    @Option(help: "The token. Others on this host see it in the list of processes; --token-file does not show it.")
    var token: String?

    @Option(help: "A file that holds the token; - for standard input.")
    var tokenFile: String?

    func validate() throws {
        if token != nil, tokenFile != nil { throw ValidationError("give --token or --token-file, not both") }
    }

    /// - Returns: nil when none is given.
    func read() throws -> JoinToken? {
        let text: String
        if let token {
            text = token
        } else if let tokenFile {
            text =
                tokenFile == "-"
                ? String(decoding: FileHandle.standardInput.readDataToEndOfFile(), as: UTF8.self)
                : try Files.read(tokenFile)
        } else {
            return nil
        }
        do {
            return try JoinToken(text)
        } catch {
            throw CommandFailure(.usage, "\(error)")
        }
    }
}
