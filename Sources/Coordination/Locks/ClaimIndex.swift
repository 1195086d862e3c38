package import EsperTypes

/// The queues of locks and elections, derived from the keyspace so that the first of a queue is found in O(log n).
///
/// A claim is a key as ``ClaimName`` has it, attached to its session.
package struct ClaimIndex: Sendable {
    /// A queue's keys without the session: `_lock/NAME/`.
    package typealias Queue = [UInt8]

    package var claims = Tree<NumberedKey, SessionID>()

    package init() {}

    // MARK: Names

    package static func prefix(_ kind: Grant.Kind) -> [UInt8] {
        switch kind {
        case .lock: ClaimName.lockPrefix
        case .election: ClaimName.electionPrefix
        }
    }

    package static let reserved = [KeyRange.prefix(prefix(.election)), KeyRange.prefix(prefix(.lock))]

    /// Whether a write to the key is a claim or nothing.
    @inline(__always)
    package static func isReserved(_ key: [UInt8]) -> Bool {
        // Every reserved key starts with an underscore, which few others do.
        key.first == 0x5f && reserved.contains { $0.contains(key) }
    }

    package static func queue(_ kind: Grant.Kind, _ name: String) -> Queue {
        prefix(kind) + ClaimName.escaped(name) + [0x2f]
    }

    package static func key(_ queue: Queue, _ session: SessionID) -> [UInt8] { queue + session.description.utf8 }

    /// The queue and the session that a reserved key names; nil when it is no claim's, as written by ``key(_:_:)``.
    package static func claim(of key: [UInt8]) -> (queue: Queue, session: SessionID)? {
        guard let prefix = [ClaimName.lockPrefix, ClaimName.electionPrefix].first(where: { key.starts(with: $0) }),
            key.count > prefix.count + 17,
            let digits = String(validating: key.suffix(16), as: UTF8.self),
            let number = UInt64(digits, radix: 16), Array(SessionID(number).description.utf8) == key.suffix(16)
        else { return nil }
        let queue = queue(ofKey: key)
        // Any other way to write the name would be another queue of the same name.
        let name = name(of: queue)
        guard self.queue(kind(of: queue), name) == queue, name.utf8.count <= CoordinationLimits.nameBytes else {
            return nil
        }
        return (queue, SessionID(number))
    }

    /// The queue that a claim's key belongs to.
    package static func queue(ofKey key: [UInt8]) -> Queue { Array(key.dropLast(16)) }

    package static func kind(of queue: Queue) -> Grant.Kind { queue.count > 1 && queue[1] == 0x6c ? .lock : .election }

    package static func name(of queue: Queue) -> String {
        let escaped = queue[prefix(kind(of: queue)).count...].dropLast()
        var bytes: [UInt8] = []
        var position = escaped.startIndex
        while position < escaped.endIndex {
            if escaped[position] == 0x25, position + 2 < escaped.endIndex {
                bytes.append(escaped[position + 2] == 0x46 ? 0x2f : 0x25)
                position += 3
            } else {
                bytes.append(escaped[position])
                position += 1
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    // MARK: Queues

    /// The claim that holds: the oldest.
    package func head(of queue: Queue) -> (token: FencingToken, session: SessionID)? {
        var cursor = claims.cursor(from: NumberedKey(queue, 0))
        guard let (key, session) = cursor.next(), key.bytes == queue else { return nil }
        return (FencingToken(key.number), session)
    }

    package func count(of queue: Queue) -> Int {
        claims.rank(of: NumberedKey(queue, .max)) - claims.rank(of: NumberedKey(queue, 0))
    }

    package mutating func add(_ keyValue: KeyValue, session: SessionID) {
        claims.set(NumberedKey(Self.queue(ofKey: keyValue.key), keyValue.createRevision.rawValue), session)
    }

    package mutating func remove(_ keyValue: KeyValue) {
        claims.remove(NumberedKey(Self.queue(ofKey: keyValue.key), keyValue.createRevision.rawValue))
    }
}
