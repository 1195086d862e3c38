package import Coordination
import Crypto

/// A snapshot as etcd's tools expect one to end: whole sectors, then the SHA-256 of them.
package struct SnapshotStream: Sendable {
    package struct Chunk: Sendable {
        package var bytes: [UInt8]
        /// At least so many bytes follow; how many exactly is known at the end.
        package var remaining: UInt64
    }

    private static let sectorBytes = 512

    private var encoder: SnapshotEncoder
    private var digest = SHA256()
    private var count = 0
    private var isDone = false

    package init(_ state: StateMachine) { encoder = SnapshotEncoder(state) }

    package mutating func next() -> Chunk? {
        if let bytes = encoder.next() {
            digest.update(data: bytes)
            count += bytes.count
            return Chunk(bytes: bytes, remaining: UInt64(SHA256.byteCount))
        }
        guard !isDone else { return nil }
        isDone = true
        let padding = [UInt8](repeating: 0, count: (Self.sectorBytes - count % Self.sectorBytes) % Self.sectorBytes)
        digest.update(data: padding)
        return Chunk(bytes: padding + digest.finalize(), remaining: 0)
    }
}
