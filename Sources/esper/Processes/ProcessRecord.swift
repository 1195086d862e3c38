package import Glibc

/// A process that we started, recorded so that no other is ever signalled in its place.
///
/// Process numbers are used again; a number together with the moment its process began, counted in ticks of one boot
/// of the machine, is not.
package struct ProcessRecord: Equatable, Sendable {
    package var pid: pid_t
    package var startTicks: UInt64
    var boot: String

    /// What runs under `pid` at present; nil when nothing does.
    package init?(running pid: pid_t) {
        guard let stat = Self.stat(of: pid), let boot = Self.bootID() else { return nil }
        self.pid = pid
        startTicks = stat.startTicks
        self.boot = boot
    }

    /// Reads what ``write(to:)`` wrote; nil when there is no such file or it is not ours.
    package init?(file path: String) {
        guard let text = try? Files.read(path) else { return nil }
        let parts = text.split(whereSeparator: \.isWhitespace)
        guard parts.count == 3, let pid = pid_t(parts[0]), pid > 1, let ticks = UInt64(parts[1]) else { return nil }
        self.pid = pid
        startTicks = ticks
        boot = String(parts[2])
    }

    package func write(to path: String) throws {
        try Files.write("\(pid) \(startTicks) \(boot)\n", to: path, mode: 0o644)
    }

    /// Whether the recorded process still runs; one that only waits to be collected does not.
    ///
    /// The first thread may have ended before the others: until the last has, files and locks stay open.
    package var isRunning: Bool {
        guard let stat = Self.stat(of: pid) else { return false }
        let hasEnded = stat.state == "X" || stat.state == "Z" && stat.threads <= 1
        return stat.startTicks == startTicks && !hasEnded && boot == Self.bootID()
    }

    /// Whether it was stopped by a signal and waits for SIGCONT.
    var isPaused: Bool { isRunning && Self.stat(of: pid)?.state == "T" }

    /// Sends a signal, unless the process has gone.
    ///
    /// - Returns: whether it was there to be signalled.
    @discardableResult
    package func signal(_ number: CInt) -> Bool { isRunning && kill(pid, number) == 0 }

    /// CPU seconds used since it started, user and system.
    var cpuSeconds: Double? { Self.stat(of: pid).map { Double($0.cpuTicks) / Double(sysconf(CInt(_SC_CLK_TCK))) } }

    /// Resident memory in bytes.
    var residentBytes: UInt64? {
        guard let text = try? Files.read("/proc/\(pid)/statm") else { return nil }
        let fields = text.split(separator: " ")
        guard fields.count > 1, let pages = UInt64(fields[1]) else { return nil }
        return pages * UInt64(sysconf(CInt(_SC_PAGESIZE)))
    }

    private struct Stat {
        var state: Character
        var threads: Int
        var cpuTicks: UInt64
        var startTicks: UInt64
    }

    private static func stat(of pid: pid_t) -> Stat? {
        guard let text = try? Files.read("/proc/\(pid)/stat"), let close = text.lastIndex(of: ")") else { return nil }
        // The command stands in parentheses and may hold blanks; the third field follows it.
        let fields = text[text.index(after: close)...].split(separator: " ")
        guard fields.count > 19, let state = fields[0].first, let user = UInt64(fields[11]),
            let system = UInt64(fields[12]), let threads = Int(fields[17]), let start = UInt64(fields[19])
        else { return nil }
        return Stat(state: state, threads: threads, cpuTicks: user + system, startTicks: start)
    }

    private static func bootID() -> String? {
        (try? Files.read("/proc/sys/kernel/random/boot_id")).map { String($0.prefix { !$0.isWhitespace }) }
    }
}
