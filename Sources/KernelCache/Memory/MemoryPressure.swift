package import CacheCore
internal import Foundation

/// Reads what this process's control group (version 2) says of its memory.
package struct MemoryPressure {
    /// Holds `memory.max`, `memory.current` and `memory.pressure`; nil: there is none, and no pressure is seen.
    private let directory: String?

    package init(directory: String?) { self.directory = directory }

    /// The group that this process is in.
    package init() {
        guard let groups = Self.read("/proc/self/cgroup"),
            let line = groups.split(separator: "\n").first(where: { $0.hasPrefix("0::") })
        else {
            directory = nil
            return
        }
        let directory = "/sys/fs/cgroup" + line.dropFirst(3)
        self.directory = FileManager.default.fileExists(atPath: directory + "/memory.max") ? directory : nil
    }

    package func reading() -> LimitGovernor.Reading {
        guard let directory else { return LimitGovernor.Reading() }
        return LimitGovernor.Reading(
            maximumBytes: Self.read(directory + "/memory.max").flatMap(Self.number),
            currentBytes: Self.read(directory + "/memory.current").flatMap(Self.number),
            stalledPercent: Self.read(directory + "/memory.pressure").flatMap(Self.stalledPercent))
    }

    /// `max` is no number: unlimited.
    private static func number(_ text: String) -> UInt64? {
        UInt64(text.split(whereSeparator: \.isWhitespace).first ?? "")
    }

    /// From `some avg10=1.25 avg60=… avg300=… total=…`.
    static func stalledPercent(_ text: String) -> Double? {
        guard let line = text.split(separator: "\n").first(where: { $0.hasPrefix("some ") }),
            let field = line.split(separator: " ").first(where: { $0.hasPrefix("avg10=") })
        else { return nil }
        return Double(field.dropFirst("avg10=".count))
    }

    private static func read(_ path: String) -> String? { try? String(contentsOfFile: path, encoding: .utf8) }
}
