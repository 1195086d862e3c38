internal import Glibc

/// The process's own numbers, read from `/proc` when they are asked for.
///
/// The names are those every Prometheus client library uses. What cannot be read is left out.
enum ProcessMetrics {
    static func expose(into output: inout String) {
        let pageBytes = Double(sysconf(Int32(_SC_PAGESIZE)))
        let ticksPerSecond = Double(sysconf(Int32(_SC_CLK_TCK)))
        // The command name may hold blanks and brackets: fields are counted from the last bracket, state being third.
        if let stat = contents(of: "/proc/self/stat"), let end = stat.lastIndex(of: ")") {
            let fields = stat[stat.index(after: end)...].split(separator: " ").map { Double($0) ?? 0 }
            if fields.count > 21 {
                let cpu = (fields[11] + fields[12]) / ticksPerSecond
                sample("process_cpu_seconds_total", "counter", cpu, &output)
                sample("process_threads", "gauge", fields[17], &output)
                sample("process_virtual_memory_bytes", "gauge", fields[20], &output)
                sample("process_resident_memory_bytes", "gauge", fields[21] * pageBytes, &output)
                if let boot = bootTime {
                    sample("process_start_time_seconds", "gauge", boot + fields[19] / ticksPerSecond, &output)
                }
            }
        }
        if let open = openDescriptors() { sample("process_open_fds", "gauge", Double(open), &output) }
        var limit = rlimit()
        if getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 {
            sample("process_max_fds", "gauge", Double(limit.rlim_cur), &output)
        }
    }

    private static func sample(_ name: String, _ kind: String, _ value: Double, _ output: inout String) {
        output += "# TYPE \(name) \(kind)\n"
        appendSample(name, "", formatted(value), to: &output)
    }

    /// When the machine started, in seconds since 1970.
    private static let bootTime: Double? = contents(of: "/proc/stat")?
        .split(separator: "\n").first { $0.hasPrefix("btime ") }
        .flatMap { Double($0.dropFirst(6)) }

    /// Without the one that reads the directory.
    private static func openDescriptors() -> Int? {
        guard let directory = opendir("/proc/self/fd") else { return nil }
        defer { closedir(directory) }
        var count = 0
        while readdir(directory) != nil { count += 1 }
        return max(0, count - 3)
    }

    private static func contents(of path: String) -> String? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 8192)
        while true {
            let count = read(descriptor, &chunk, chunk.count)
            guard count > 0 else { break }
            bytes.append(contentsOf: chunk[..<count])
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
