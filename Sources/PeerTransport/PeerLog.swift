import Logging
package import NIOCore

/// Keys of this target's log lines.
enum LogKey {
    static let peer = "peer.id"
    static let name = "peer.name"
    static let address = "peer.address"
    static let link = "peer.link"
    static let reason = "reason"
    static let error = "error"
    static let suppressed = "suppressed"
}

/// Lets a few lines per reason through and counts the rest, so that a flood of garbage is no flood of log.
package struct LogLimiter {
    package static let lines = 5
    package static let window = TimeAmount.seconds(10)

    private struct Window {
        var start: NIODeadline
        var lines = 0
        var suppressed = 0
    }

    private var windows: [String: Window] = [:]

    package init() {}

    /// - Returns: nil to keep silent, else how many lines of this reason were kept back before.
    package mutating func admit(_ reason: String, at now: NIODeadline) -> Int? {
        var window = windows[reason] ?? Window(start: now)
        let suppressed = window.suppressed
        if now - window.start >= Self.window { window = Window(start: now) }
        defer { windows[reason] = window }
        guard window.lines < Self.lines else {
            window.suppressed += 1
            return nil
        }
        window.lines += 1
        window.suppressed = 0
        return suppressed
    }
}
