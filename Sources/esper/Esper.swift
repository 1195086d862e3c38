import ArgumentParser
import Glibc

/// The operator's command: everything it tells a cluster goes through EsperClient.
struct Esper: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "esper",
        abstract: "Talk to an Esper cluster, or run one on this host.",
        discussion: """
            Exit codes: 0 done, 1 refused or failed, 2 usage, 3 unknown outcome (asked, not confirmed), \
            4 timed out waiting.
            """,
        version: "0.1.0",
        subcommands: [
            ClusterCommand.self, KVCommand.self, CacheCommand.self, LockCommand.self, ElectionCommand.self,
            SessionCommand.self, NodeCommand.self, PKICommand.self, DevCommand.self, BenchCommand.self,
        ])
}

@main
enum Main {
    /// Parses, runs away from the main actor (a hop to it costs more than a request), and exits.
    static func main() async {
        signal(SIGPIPE, SIG_IGN)
        exit(await run(Array(CommandLine.arguments.dropFirst())))
    }

    /// - Returns: the exit code. Errors are one line on standard error.
    @concurrent
    private static func run(_ arguments: [String]) async -> Int32 {
        do {
            var command = try Esper.parseAsRoot(arguments)
            if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
            return 0
        } catch let failure as CommandFailure {
            if !failure.message.isEmpty { Terminal.complain(failure.message) }
            return failure.code.rawValue
        } catch let code as ExitCode {
            return code.rawValue
        } catch {
            if Esper.exitCode(for: error).isSuccess {
                print(Esper.fullMessage(for: error))
                return 0
            }
            if Esper.exitCode(for: error) == .validationFailure {
                Terminal.complain("\(Esper.message(for: error)); see --help")
                return CommandFailure.Code.usage.rawValue
            }
            let failure = CommandFailure(describing: error)
            Terminal.complain(failure.message)
            return failure.code.rawValue
        }
    }
}
