import EsperTypes
import Glibc

/// How long this process's threads wait for a processor before they run, as the kernel counts it (`schedstat`, in proc(5)).
///
/// That is what a request meets on a host with too little processor, whoever else uses it, and long before anything takes so
/// long that its time shows it.
package struct ProcessorWait: Sendable {
    private struct Thread {
        var waited: UInt64
        var times: UInt64
    }

    private let directory: String
    private var known: [String: Thread] = [:]

    /// - Parameter directory: has a directory for each thread.
    package init(directory: String = "/proc/self/task") { self.directory = directory }

    /// What a thread waited on average each time that it ran since the last call; nil: nothing ran, or the kernel does not tell. Threads
    /// that the last call did not see count from this one on.
    package mutating func takeMean() -> Duration? {
        guard let threads = threads() else { return nil }
        defer { known = threads }
        var (waited, times): (UInt64, UInt64) = (0, 0)
        for (name, thread) in threads {
            // Another thread may have been given the number of one that ended.
            guard let before = known[name], thread.waited >= before.waited, thread.times >= before.times else {
                continue
            }
            waited &+= thread.waited - before.waited
            times &+= thread.times - before.times
        }
        return times > 0 ? .nanoseconds(Int64(clamping: waited / times)) : nil
    }

    private func threads() -> [String: Thread]? {
        guard let tasks = opendir(directory) else { return nil }
        defer { closedir(tasks) }
        var threads: [String: Thread] = [:]
        while let entry = readdir(tasks) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if !name.hasPrefix("."), let thread = thread("\(directory)/\(name)/schedstat") { threads[name] = thread }
        }
        return threads
    }

    /// From three numbers: nanoseconds on a processor, nanoseconds of waiting for one, and how many times it ran.
    private func thread(_ path: String) -> Thread? {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return nil }
        defer { close(file) }
        var line = [UInt8](repeating: 0, count: 128)
        let count = read(file, &line, line.count)
        guard count > 0 else { return nil }
        let numbers = line[..<count].split { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\n") }
            .map { UInt64(String(decoding: $0, as: UTF8.self)) }
        guard numbers.count == 3, let waited = numbers[1], let times = numbers[2] else { return nil }
        return Thread(waited: waited, times: times)
    }
}
