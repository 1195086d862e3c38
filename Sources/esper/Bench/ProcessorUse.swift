import Glibc

/// CPU seconds used so far, to be subtracted from a later reading.
struct ProcessorUse: Sendable {
    private var client: Double
    private var servers: Double
    private var machine: Double
    private var stolen: Double
    private let knowsServers: Bool

    /// - Parameter servers: the nodes' processes, when they run on this host and we know them.
    init(servers processes: [ProcessRecord]) {
        client = Self.own()
        servers = processes.reduce(0) { $0 + ($1.cpuSeconds ?? 0) }
        knowsServers = !processes.isEmpty
        (machine, stolen) = Self.ofMachine()
    }

    /// Cores used between an earlier reading and this one, `seconds` apart.
    func json(since earlier: ProcessorUse, seconds: Double) -> JSON {
        let client = (client - earlier.client) / seconds
        let servers = (servers - earlier.servers) / seconds
        return .fields([
            "client": .rounded(client),
            "servers": knowsServers ? .rounded(servers) : .null,
            "other": knowsServers
                ? .rounded(
                    (machine - earlier.machine) / seconds - client - servers - stolenCores(since: earlier, seconds))
                : .null,
            "stolen": .rounded(stolenCores(since: earlier, seconds)),
        ])
    }

    private func stolenCores(since earlier: ProcessorUse, _ seconds: Double) -> Double {
        (stolen - earlier.stolen) / seconds
    }

    private static func own() -> Double {
        var usage = rusage()
        getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        return Double(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
            + Double(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6
    }

    /// Busy seconds of all cores, and those taken by the hypervisor.
    private static func ofMachine() -> (busy: Double, stolen: Double) {
        guard let text = try? Files.read("/proc/stat"), let line = text.split(separator: "\n").first else {
            return (0, 0)
        }
        let ticks = line.split(separator: " ").dropFirst().prefix(8).map { Double($0) ?? 0 }
        guard ticks.count == 8 else { return (0, 0) }
        let perSecond = Double(sysconf(CInt(_SC_CLK_TCK)))
        // user nice system idle iowait irq softirq steal
        return ((ticks.reduce(0, +) - ticks[3] - ticks[4]) / perSecond, ticks[7] / perSecond)
    }
}
