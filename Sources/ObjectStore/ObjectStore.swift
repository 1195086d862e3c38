public import EsperTypes

/// Keeps objects by key, each written once: S3, or a directory with the same contract.
///
/// Every method may be called from any thread and repeated. A failure leaves open whether a write has happened.
public protocol ObjectStore: Sendable {
    /// Creates the object, durably, or leaves the one that is there as it is.
    func put(_ key: ObjectKey, _ bytes: [UInt8], deadline: Instant) async throws(ObjectStoreError) -> Creation

    /// As ``put(_:_:deadline:)`` for what is too large to be held at once; readers see all of it or nothing.
    ///
    /// - Parameter next: the next piece, of any size; nil at the end. When it throws, nothing is created.
    func putLarge(
        _ key: ObjectKey, deadline: Instant, pieces next: @Sendable () async throws(ObjectStoreError) -> [UInt8]?
    ) async throws(ObjectStoreError) -> Creation

    /// The object, or the part of it that lies in the range; nil when there is none. Never a part of what was asked for:
    /// bytes that do not all arrive are a failure.
    func get(_ key: ObjectKey, range: Range<UInt64>?, deadline: Instant) async throws(ObjectStoreError) -> [UInt8]?

    /// What the store says of the object; nil when there is none.
    func head(_ key: ObjectKey, deadline: Instant) async throws(ObjectStoreError) -> ObjectFacts?

    /// Afterwards there is none.
    func delete(_ key: ObjectKey, deadline: Instant) async throws(ObjectStoreError)

    /// Deletes the object if its bytes are such. One that somebody puts there meanwhile stays.
    func delete(
        _ key: ObjectKey, if isSuch: @escaping @Sendable ([UInt8]) -> Bool, deadline: Instant
    ) async throws(ObjectStoreError)

    /// Up to `limit` keys that begin with the prefix, above `after`, in order of their bytes.
    func list(
        prefix: String, after: ObjectKey?, limit: Int, deadline: Instant
    ) async throws(ObjectStoreError) -> [ListedObject]

    /// Returns when the store could serve; cheap.
    func probe(deadline: Instant) async throws(ObjectStoreError)

    /// Ends what the store has open; later calls fail.
    func shutdown() async
}

/// What a put has done.
public enum Creation: Hashable, Sendable {
    case created
    /// There is an object of this key; whether of the same bytes is not said.
    case alreadyThere
}

/// What an object store says of one object.
public struct ObjectFacts: Hashable, Sendable {
    public var size: UInt64
    /// SHA-256 of the bytes as the store recorded it when they came; nil when it does not keep one.
    public var sha256: Digest?

    public init(size: UInt64, sha256: Digest? = nil) {
        self.size = size
        self.sha256 = sha256
    }
}

public struct ListedObject: Hashable, Sendable {
    public var key: ObjectKey
    public var size: UInt64
    /// When it was created, in nanoseconds since 1970 on the store's clock; nil when the store does not say.
    public var created: UInt64?

    public init(key: ObjectKey, size: UInt64, created: UInt64? = nil) {
        self.key = key
        self.size = size
        self.created = created
    }
}

/// A relative path of plain components: letters, digits, `-`, `_` and `.`, none of them `.` or `..`, at most 512 bytes.
/// Nothing in it needs quoting in a path or a URL.
public struct ObjectKey: Hashable, Comparable, Sendable, CustomStringConvertible, LosslessStringConvertible {
    public let description: String

    public static let maximumBytes = 512

    public init?(_ description: String) {
        guard !description.isEmpty, description.utf8.count <= Self.maximumBytes else { return nil }
        let components = description.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
        guard components.allSatisfy(Self.isComponent) else { return nil }
        self.description = description
    }

    private static func isComponent(_ component: Substring.UTF8View) -> Bool {
        guard !component.isEmpty, component.count <= 255, !component.elementsEqual(".".utf8),
            !component.elementsEqual("..".utf8)
        else { return false }
        return component.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."):
                true
            default: false
            }
        }
    }

    public static func < (left: ObjectKey, right: ObjectKey) -> Bool {
        left.description.utf8.lexicographicallyPrecedes(right.description.utf8)
    }
}

/// Why a store has not done what it was asked.
public struct ObjectStoreError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Code: String, Hashable, Sendable, CaseIterable {
        /// No connection, or the store says that it cannot serve now.
        case unavailable
        case timedOut = "timed_out"
        /// Somebody else writes the same object at this moment.
        case conflict
        /// The credentials are wrong or allow too little.
        case refused
        /// The store's clock and ours differ by more than signatures allow.
        case clockSkew = "clock_skew"
        /// There is no such bucket or directory.
        case missing
        /// The store wants to be asked elsewhere, which settings must say.
        case redirected
        case full
        /// What came is not what was promised: cut short, or of another checksum.
        case damaged
        /// The store answers what makes no sense.
        case nonsense
        case invalid
        case stopped
    }

    public var code: Code
    /// In words for an operator, without secrets.
    public var message: String

    public init(_ code: Code, _ message: String) {
        self.code = code
        self.message = message
    }

    /// Whether the same call may succeed later.
    public var isRetryable: Bool {
        switch code {
        case .unavailable, .timedOut, .conflict, .full, .damaged, .nonsense: true
        case .refused, .clockSkew, .missing, .redirected, .invalid, .stopped: false
        }
    }

    public var description: String { message }
}
