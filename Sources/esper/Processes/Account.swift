import Glibc

/// The account that servers run under which refuse to be root.
enum Account {
    /// The account to use when we are root: the one Debian's PostgreSQL brings, else the one every system has.
    static var unprivileged: String? {
        guard geteuid() == 0 else { return nil }
        return ["postgres", "nobody"].first { getpwnam($0) != nil }
    }

    /// The command, run under the unprivileged account when we are root. The process number stays the command's own.
    static func dropping(_ arguments: [String]) -> [String] {
        guard let account = unprivileged, let entry = getpwnam(account)?.pointee else { return arguments }
        return [
            "/usr/bin/setpriv", "--reuid=\(entry.pw_uid)", "--regid=\(entry.pw_gid)", "--init-groups", "--",
        ] + arguments
    }

    /// Gives a directory to the account.
    static func own(_ path: String) throws {
        guard let account = unprivileged, let entry = getpwnam(account)?.pointee else { return }
        guard chown(path, entry.pw_uid, entry.pw_gid) == 0 else { throw Files.failure("give away", path) }
    }

    /// Whether the account can pass through to `path`.
    static func reaches(_ path: String) async -> Bool {
        guard unprivileged != nil else { return true }
        do {
            try await Spawn.run(dropping(["/usr/bin/test", "-x", path]))
            return true
        } catch {
            // The answer is no; a test that cannot run is no better.
            return false
        }
    }
}
