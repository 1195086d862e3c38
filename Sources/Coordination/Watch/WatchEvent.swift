public import EsperTypes

/// One key changed.
public struct WatchEvent: Hashable, Sendable {
    /// The new version; a deletion has the key, the revision and nothing else.
    public var keyValue: KeyValue
    /// What it replaced or deleted.
    public var previous: KeyValue?

    public init(keyValue: KeyValue, previous: KeyValue?) {
        self.keyValue = keyValue
        self.previous = previous
    }

    public var key: [UInt8] { keyValue.key }
    public var revision: Revision { keyValue.modRevision }
    public var isDeletion: Bool { keyValue.isDeletion }

    /// What the event counts against a watcher's credit: its bytes and about what a message needs around them.
    public var cost: Int {
        keyValue.key.count + keyValue.value.count + 64 + (previous.map { $0.key.count + $0.value.count } ?? 0)
    }
}
