public import Coordination
import EsperTypes
public import RaftCore
public import RaftStorage

extension StateMachine {
    /// Reads a stored snapshot back.
    ///
    /// - Throws: `corrupted` when the content is not what this program wrote.
    public init(restoring descriptor: SnapshotDescriptor, from store: SnapshotStore) throws(StorageError) {
        let reader = try store.open(descriptor)
        defer { reader.close() }
        var decoder = SnapshotDecoder()
        var offset: UInt64 = 0
        do {
            var isLast = false
            while !isLast {
                let part = try reader.read(at: offset, maximumBytes: Limits.snapshotChunkBytes)
                try decoder.feed(part.bytes)
                offset += UInt64(part.bytes.count)
                isLast = part.isLast
            }
            self = try decoder.finish()
        } catch let error as StorageError {
            throw error
        } catch {
            throw StorageError(
                .corrupted, "the snapshot \(descriptor.id) cannot be decoded: \(error)",
                path: store.path(descriptor), offset: 0)
        }
    }
}
