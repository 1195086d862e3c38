import Glibc

/// A command that may run only while something is held.
///
/// It gets our standard input and output and a process group of its own, so that what it starts ends with it.
package struct GuardedChild {
    let pid: pid_t

    /// Between SIGTERM and SIGKILL once the right to run is lost.
    static let grace = Duration.seconds(5)

    /// - Parameter outputToError: keeps our standard output for one document of our own.
    package init(_ command: [String], environment: [String: String], outputToError: Bool) throws {
        pid = try Spawn.foreground(command, environment: environment, outputToError: outputToError)
        // Give it the terminal, if we have one, so that it can read and be interrupted.
        if isatty(STDIN_FILENO) == 1, tcgetpgrp(STDIN_FILENO) == getpgrp() {
            signal(SIGTTOU, SIG_IGN)
            tcsetpgrp(STDIN_FILENO, pid)
        }
    }

    /// Runs until the command ends, or until `lost` returns and the command has been ended.
    ///
    /// - Parameter lost: returns a reason when the right to run is gone; cancelled when the command ended by itself.
    /// - Returns: the command's exit code (128 and the signal when a signal ended it), and the reason if it had to end.
    package func run(until lost: @escaping @Sendable () async -> String?) async -> (code: Int32, lost: String?) {
        await withTaskGroup(of: Ending.self) { group in
            group.addTask { .ended(await Spawn.ending(of: pid)) }
            group.addTask { await lost().map { .lost($0) } ?? .nothing }
            var reason: String?
            while let ending = await group.next() {
                switch ending {
                case .ended(let code):
                    group.cancelAll()
                    takeTerminalBack()
                    return (code, reason)
                case .lost(let why):
                    reason = why
                    kill(-pid, SIGTERM)
                    group.addTask {
                        // A cancelled sleep means that the command has ended meanwhile.
                        guard (try? await Task.sleep(for: Self.grace)) != nil else { return .nothing }
                        kill(-pid, SIGKILL)
                        return .nothing
                    }
                case .nothing:
                    break
                }
            }
            preconditionFailure("the command \(pid) neither ended nor runs")
        }
    }

    /// Passes a signal that we got on to the command.
    func forward(_ signal: CInt) { kill(-pid, signal) }

    private enum Ending: Sendable {
        case ended(Int32)
        case lost(String)
        case nothing
    }

    private func takeTerminalBack() {
        if isatty(STDIN_FILENO) == 1, tcgetpgrp(STDIN_FILENO) == pid { tcsetpgrp(STDIN_FILENO, getpgrp()) }
    }
}
