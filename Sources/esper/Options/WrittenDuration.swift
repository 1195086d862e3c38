import ArgumentParser
import EsperTypes

/// A duration as people write it: `500ms`, `15s`, `2m`, `1h`, `90d`; several parts may follow one another (`1m30s`).
package struct WrittenDuration: ExpressibleByArgument, Equatable, Sendable, CustomStringConvertible {
    package var duration: Duration

    package init(_ duration: Duration) { self.duration = duration }

    package init?(argument: String) {
        guard let duration = Duration(written: argument) else { return nil }
        self.duration = duration
    }

    package var defaultValueDescription: String { description }

    var seconds: Double { Double(duration.nanoseconds) / 1e9 }

    var milliseconds: UInt64 { UInt64(max(0, duration.nanoseconds) / 1_000_000) }

    package var description: String { duration.written }
}
