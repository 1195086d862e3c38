import Foundation
import Glibc

/// A child process whose input is a pipe that nothing else holds.
///
/// Foundation's `Process` hands a pipe made for one child to all that are spawned at the same moment; a server that
/// inherits one keeps it open for ever.
package struct Child: Sendable {
    package struct Failure: Error, CustomStringConvertible {
        package var description: String
    }

    package let pid: Int32
    private let input: Int32
    /// Between a descriptor's birth and its mark no other child of ours is born.
    private static let births = NSLock()

    /// - Parameter output: a file for what the child prints to both of its outputs.
    package init(_ program: String, _ arguments: [String], output: String) throws {
        Self.births.lock()
        defer { Self.births.unlock() }
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { throw Failure(description: "no pipe: error \(errno)") }
        for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        defer { close(ends[0]) }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, ends[0], 0)
        posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        posix_spawn_file_actions_adddup2(&actions, 1, 2)
        // Signals that this process ignores or blocks are not the child's business.
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var signals = sigset_t()
        sigemptyset(&signals)
        posix_spawnattr_setsigmask(&attributes, &signals)
        sigfillset(&signals)
        posix_spawnattr_setsigdefault(&attributes, &signals)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))
        var words = ([program] + arguments).map { strdup($0) }
        defer { for word in words { free(word) } }
        words.append(nil)
        var pid: pid_t = 0
        let failure = posix_spawn(&pid, program, &actions, &attributes, words, environ)
        guard failure == 0 else {
            close(ends[1])
            throw Failure(description: "cannot run \(program): error \(failure)")
        }
        self.pid = pid
        input = ends[1]
    }

    package func writeLine() { _ = write(input, "\n", 1) }

    /// Waits for the end. Once only.
    ///
    /// - Returns: the exit status, or the signal plus 128.
    package func wait() -> Int32 {
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0, errno == EINTR {}
        close(input)
        return status & 0x7f == 0 ? status >> 8 & 0xff : status & 0x7f + 128
    }

    /// Runs a program to its end and returns what it printed.
    @discardableResult
    package static func run(_ program: String, _ arguments: [String]) throws -> String {
        let output = "/tmp/esper-run-\(getpid())-\(UInt32.random(in: 0 ... .max))"
        defer { unlink(output) }
        let child = try Child(program, arguments, output: output)
        let status = child.wait()
        let text = (try? String(contentsOfFile: output, encoding: .utf8)) ?? ""
        guard status == 0 else { throw Failure(description: "\(program) \(arguments): status \(status): \(text)") }
        return text.trimmingCharacters(in: .whitespacesAndNewlines)
    }
}

/// Runs what blocks on a thread of its own, so that no cooperative thread waits.
public func onThread<Value: Sendable>(_ body: @escaping @Sendable () throws -> Value) async throws -> Value {
    try await withCheckedThrowingContinuation { continuation in
        Thread.detachNewThread { continuation.resume(with: Result(catching: body)) }
    }
}

/// Runs what blocks on a thread of its own, so that no cooperative thread waits.
public func onThread(_ body: @escaping @Sendable () -> Void) async {
    await withCheckedContinuation { continuation in
        Thread.detachNewThread {
            body()
            continuation.resume()
        }
    }
}
