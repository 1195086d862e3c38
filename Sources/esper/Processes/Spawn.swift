import Foundation
package import Glibc

/// Starting other programs.
package enum Spawn {
    /// Not in every libc header that Swift sees; the value is part of glibc's interface since 2.26.
    private static let newSession: Int16 = 0x80

    /// Starts a program that outlives us: a session of its own, no standard input, its output appended to a file, and
    /// nothing else that we have open, so that nobody waits for us at the other end of a pipe.
    package static func detached(_ arguments: [String], log: String) throws -> ProcessRecord {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, log, O_WRONLY | O_CREAT | O_APPEND, 0o644)
        posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO)
        keepToOurselves()
        let pid = try spawn(arguments, environment: nil, actions: &actions, flags: newSession)
        guard let record = ProcessRecord(running: pid) else {
            throw CommandFailure("\(arguments[0]) ended at once; see \(log)")
        }
        return record
    }

    /// Marks what is open beyond the three standard descriptors to be closed in programs that we start. Whoever started us
    /// may have given us ends of pipes; a daemon that kept one would keep them waiting.
    private static func keepToOurselves() {
        let open = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")) ?? []
        for file in open.compactMap({ Int32($0) }) where file > STDERR_FILENO {
            // Fails only for the descriptor of the listing itself, which is gone.
            _ = fcntl(file, F_SETFD, FD_CLOEXEC)
        }
    }

    /// Starts a program in a process group of its own, with our standard input and output.
    ///
    /// - Parameter environment: added to ours.
    static func foreground(
        _ arguments: [String], environment: [String: String], outputToError: Bool
    ) throws -> pid_t {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        if outputToError { posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO) }
        return try spawn(
            arguments, environment: environment, actions: &actions,
            flags: Int16(POSIX_SPAWN_SETPGROUP))
    }

    /// Runs a program to its end and returns what it printed.
    ///
    /// - Throws: ``CommandFailure`` with the program's last lines when it does not exit with 0.
    @discardableResult
    package static func run(_ arguments: [String], environment: [String: String] = [:]) async throws -> String {
        let output = "\(NSTemporaryDirectory())/esper.\(getpid()).\(UInt64.random(in: 0 ... .max)).out"
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, output, O_WRONLY | O_CREAT | O_EXCL, 0o600)
        posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO)
        defer { unlink(output) }
        let pid = try spawn(arguments, environment: environment, actions: &actions, flags: 0)
        let status = await ending(of: pid)
        let text = (try? Files.read(output)) ?? ""
        guard status == 0 else {
            let lines = text.split(whereSeparator: \.isNewline).suffix(3).joined(separator: "; ")
            let program = arguments.first { !$0.contains("setpriv") && !$0.hasPrefix("--") && $0.hasPrefix("/") }
            throw CommandFailure("\(program ?? arguments[0]) failed with \(status): \(lines)")
        }
        return text
    }

    /// Waits for a child on a thread of its own, since the wait blocks.
    ///
    /// - Returns: its exit code, or 128 and the signal that ended it, as shells have it.
    package static func ending(of pid: pid_t) async -> Int32 {
        await withCheckedContinuation { continuation in
            Thread.detachNewThread {
                var status: Int32 = 0
                while waitpid(pid, &status, 0) < 0, errno == EINTR {}
                let signal = status & 0x7f
                continuation.resume(returning: signal == 0 ? (status >> 8) & 0xff : 128 + signal)
            }
        }
    }

    private static func spawn(
        _ arguments: [String], environment: [String: String]?, actions: inout posix_spawn_file_actions_t, flags: Int16
    ) throws -> pid_t {
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        // We ignore SIGPIPE; the programs we start shall find the usual answer to it.
        var defaults = sigset_t()
        sigemptyset(&defaults)
        sigaddset(&defaults, SIGPIPE)
        posix_spawnattr_setsigdefault(&attributes, &defaults)
        // Threads of a task pool block signals, and a child inherits that from the thread that starts it.
        var unblocked = sigset_t()
        sigemptyset(&unblocked)
        posix_spawnattr_setsigmask(&attributes, &unblocked)
        posix_spawnattr_setflags(&attributes, flags | Int16(POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK))
        var variables = ProcessInfo.processInfo.environment
        variables.merge(environment ?? [:]) { _, new in new }
        let argv = CStrings(arguments)
        let envp = CStrings(variables.map { "\($0.key)=\($0.value)" }.sorted())
        var pid: pid_t = 0
        let result = posix_spawnp(&pid, arguments[0], &actions, &attributes, argv.pointers, envp.pointers)
        guard result == 0 else {
            throw CommandFailure("cannot start \(arguments[0]): \(String(cString: strerror(result)))")
        }
        return pid
    }
}

/// A null-terminated array of C strings, freed with the value that owns it.
private final class CStrings {
    private(set) var pointers: [UnsafeMutablePointer<CChar>?]

    init(_ strings: [String]) { pointers = strings.map { strdup($0) } + [nil] }

    deinit { for pointer in pointers { free(pointer) } }
}
