public import EsperTypes
public import KernelCache

/// Keys with values that are durable and agreed before they are acknowledged: where hashes live, one key for each field.
///
/// Reads are linearizable. With `allowsStale` they tell what this node knew last when nothing confirms it.
public protocol HashStore: AnyObject, Sendable {
    func read(
        _ keys: [[UInt8]], allowsStale: Bool, principal: String, by deadline: Instant
    ) async throws(CacheFailure) -> [HashEntry?]

    /// In order of their bytes.
    func page(
        startingWith prefix: [UInt8], after key: [UInt8]?, limit: Int, allowsStale: Bool, principal: String,
        by deadline: Instant
    ) async throws(CacheFailure) -> (entries: [HashEntry], more: Bool)

    func count(
        _ prefix: [UInt8], allowsStale: Bool, principal: String, by deadline: Instant
    ) async throws(CacheFailure) -> Int

    /// All at once, or nothing when a condition does not hold.
    ///
    /// - Returns: which of the puts were of keys that were not there; nil: a condition did not hold.
    func write(
        _ puts: [(key: [UInt8], value: [UInt8])], when conditions: [HashCondition], principal: String,
        by deadline: Instant
    ) async throws(CacheFailure) -> [Bool]?

    /// - Returns: how many there were.
    func delete(_ keys: [[UInt8]], principal: String, by deadline: Instant) async throws(CacheFailure) -> Int

    func deleteAll(_ prefix: [UInt8], principal: String, by deadline: Instant) async throws(CacheFailure) -> Int
}

public struct HashEntry: Sendable {
    public var key: [UInt8]
    public var value: [UInt8]
    public var revision: UInt64

    public init(key: [UInt8], value: [UInt8], revision: UInt64) {
        self.key = key
        self.value = value
        self.revision = revision
    }
}

public struct HashCondition: Sendable {
    public var key: [UInt8]
    /// 0: there is nothing.
    public var revision: UInt64

    public init(key: [UInt8], revision: UInt64) {
        self.key = key
        self.revision = revision
    }
}

/// Where the fields of a tenant's hashes stand: `_redis/TENANT/KEY`, an end that no key contains, and the field.
package enum HashKey {
    private static let root = Array("_redis/".utf8)
    private static let end: [UInt8] = [0, 1]

    /// Before all hashes of a tenant.
    package static func tenant(_ prefix: [UInt8]) -> [UInt8] { root + prefix }

    /// Before all fields of a hash.
    package static func fields(of key: [UInt8], in prefix: [UInt8]) -> [UInt8] {
        var bytes = root + prefix
        bytes.reserveCapacity(bytes.count + key.count + 2)
        for byte in key {
            bytes.append(byte)
            // So that the end is found, and order is kept.
            if byte == 0 { bytes.append(0xFF) }
        }
        return bytes + end
    }

    package static func field(_ field: [UInt8], of key: [UInt8], in prefix: [UInt8]) -> [UInt8] {
        fields(of: key, in: prefix) + field
    }

    /// The hash and the field of a stored key.
    package static func parse(_ stored: [UInt8], in prefix: [UInt8]) -> (key: [UInt8], field: [UInt8])? {
        let start = root.count + prefix.count
        guard stored.count >= start + end.count else { return nil }
        var key: [UInt8] = []
        var index = start
        while index < stored.count {
            guard stored[index] == 0 else {
                key.append(stored[index])
                index += 1
                continue
            }
            guard index + 1 < stored.count else { return nil }
            if stored[index + 1] == 1 { return (key, Array(stored[(index + 2)...])) }
            key.append(0)
            index += 2
        }
        return nil
    }
}
