public import EsperTypes

/// One version of one key: what was written, when, and by which session it is held.
///
/// A reference to immutable storage, so that the current keyspace, its history, watch events and answers share one
/// copy of the bytes; copying a `KeyValue` costs one retain. Source: etcd's data model (`mvccpb.KeyValue`).
public struct KeyValue: Hashable, Sendable, CustomStringConvertible {
    /// The bytes and numbers, written once.
    package final class Storage: Sendable {
        let key: [UInt8]
        let value: [UInt8]
        let createRevision: Revision
        let modRevision: Revision
        let version: UInt64
        let session: SessionID

        init(
            key: [UInt8], value: [UInt8], createRevision: Revision, modRevision: Revision, version: UInt64,
            session: SessionID
        ) {
            self.key = key
            self.value = value
            self.createRevision = createRevision
            self.modRevision = modRevision
            self.version = version
            self.session = session
        }
    }

    package let storage: Storage

    /// - Parameter session: the session whose end deletes the key, or `nil`.
    public init(
        key: [UInt8], value: [UInt8], createRevision: Revision, modRevision: Revision, version: UInt64,
        session: SessionID? = nil
    ) {
        storage = Storage(
            key: key, value: value, createRevision: createRevision, modRevision: modRevision, version: version,
            session: session ?? Self.noSession)
    }

    @inline(__always)
    package init(_ storage: Storage) { self.storage = storage }

    public var key: [UInt8] { storage.key }

    /// Empty for a deletion, and where only keys were asked for.
    public var value: [UInt8] { storage.value }

    /// The revision that created this life of the key; 0 for a deletion.
    public var createRevision: Revision { storage.createRevision }

    /// The revision that wrote this version.
    public var modRevision: Revision { storage.modRevision }

    /// How often this life of the key has been written; 0 means deleted.
    public var version: UInt64 { storage.version }

    /// The session whose end deletes the key.
    public var session: SessionID? { storage.session == Self.noSession ? nil : storage.session }

    /// Whether this version says that the key does not exist.
    public var isDeletion: Bool { storage.version == 0 }

    /// The same version without its value.
    public var withoutValue: KeyValue {
        KeyValue(
            key: key, value: [], createRevision: createRevision, modRevision: modRevision, version: version,
            session: session)
    }

    public static func == (left: KeyValue, right: KeyValue) -> Bool {
        left.storage === right.storage
            || (left.modRevision == right.modRevision && left.version == right.version
                && left.createRevision == right.createRevision && left.storage.session == right.storage.session
                && left.key == right.key && left.value == right.value)
    }

    public func hash(into hasher: inout Hasher) {
        hasher.combine(modRevision)
        hasher.combine(key)
    }

    public var description: String {
        "\(String(decoding: key, as: UTF8.self))@\(modRevision) (created \(createRevision), version \(version))"
    }

    /// Session identifiers are log indexes, which start at 1.
    package static let noSession = SessionID(0)
}
