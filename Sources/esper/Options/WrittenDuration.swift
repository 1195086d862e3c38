import ArgumentParser
import EsperTypes

/// A duration as people write it: `500ms`, `15s`, `2m`, `1h`, `90d`; several parts may follow one another (`1m30s`).
package struct WrittenDuration: Equatable, Sendable, CustomStringConvertible {
    package var duration: Duration

    package init(_ duration: Duration) { self.duration = duration }

    package static func read(_ text: String) throws -> Self {
        guard let duration = Duration(written: text) else {
            throw ValidationError("write a duration such as 500ms, 15s, 2m, 1h30m or 90d")
        }
        return Self(duration)
    }

    var seconds: Double { Double(duration.nanoseconds) / 1e9 }

    var milliseconds: UInt64 { UInt64(max(0, duration.nanoseconds) / 1_000_000) }

    package var description: String { duration.written }
}
