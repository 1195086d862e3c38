public import Logging

/// How log lines look.
public enum LogFormat: String, Sendable, CaseIterable {
    /// One JSON object a line.
    case json
    /// For people.
    case text
}

/// What the settings say about logs.
public struct LogSettings: Sendable {
    public var format: LogFormat
    /// Below this nothing is written.
    public var level: Logger.Level
    /// Levels of parts, by label prefix: `["esper.raft": .debug]`. The longest that fits wins.
    public var levels: [String: Logger.Level]

    public init(format: LogFormat = .json, level: Logger.Level = .info, levels: [String: Logger.Level] = [:]) {
        self.format = format
        self.level = level
        self.levels = levels
    }

    /// The level of a logger with this label.
    public func level(of label: String) -> Logger.Level {
        let matching = levels.filter { label == $0.key || label.hasPrefix($0.key + ".") }
        return matching.max { $0.key.utf8.count < $1.key.utf8.count }?.value ?? level
    }

    /// A factory for `LoggingSystem.bootstrap`, or for loggers that stand alone.
    public func makeHandler(
        label: String, sink: LogSink = .standardError,
        clock: @escaping @Sendable () -> WallTime = { .system }
    ) -> any LogHandler {
        LogOutput(label: label, level: level(of: label), format: format, sink: sink, clock: clock)
    }
}

/// A log handler that writes lines to a ``LogSink``; `critical` lines are written before the call returns.
public struct LogOutput: LogHandler {
    public var logLevel: Logger.Level
    public var metadata: Logger.Metadata = [:]
    public var metadataProvider: Logger.MetadataProvider?

    private let label: String
    private let format: LogFormat
    private let sink: LogSink
    private let clock: @Sendable () -> WallTime

    public init(
        label: String, level: Logger.Level, format: LogFormat, sink: LogSink,
        clock: @escaping @Sendable () -> WallTime
    ) {
        self.label = label
        self.logLevel = level
        self.format = format
        self.sink = sink
        self.clock = clock
    }

    public subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    public func log(event: LogEvent) {
        var merged = metadata
        if let provided = metadataProvider?.get() { merged.merge(provided) { $1 } }
        if let own = event.metadata { merged.merge(own) { $1 } }
        if let error = event.error { merged["error"] = "\(error)" }
        let message = event.message.description
        switch format {
        case .json: sink.write(LogLine.json(event.level, message, merged, label: label, at: clock()))
        case .text: sink.write(LogLine.text(event.level, message, merged, label: label, at: clock()))
        }
        if event.level == .critical { sink.flush() }
    }
}
