import CacheCore
import EsperTypes
import Glibc
import RaftRuntime
import Synchronization

/// What the threads of the disk do, and nobody else: each of these may block for as long as the disk likes.
extension BlobDirectory {
    private func place(of digest: Digest, _ size: UInt32) -> String {
        let name = digest.description
        return "\(path)/\(name.prefix(2))/\(name.dropFirst(2)).\(size)"
    }

    /// Nil when it is not there or has another length.
    func read(_ digest: Digest, _ size: UInt32) throws(PeerFailure) -> [UInt8]? {
        let place = place(of: digest, size)
        let file = open(place, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else {
            if errno == ENOENT { return nil }
            throw Self.failure("cannot open \(place)")
        }
        defer { Glibc.close(file) }
        var failed: PeerFailure?
        let bytes = [UInt8](unsafeUninitializedCapacity: Int(size)) { room, count in
            while count < room.count {
                let read = Glibc.read(file, room.baseAddress! + count, room.count - count)
                if read < 0, errno == EINTR { continue }
                if read < 0 { failed = Self.failure("cannot read \(place)") }
                if read <= 0 { break }
                count += read
            }
        }
        if let failed { throw failed }
        return bytes.count == Int(size) ? bytes : nil
    }

    /// - Returns: the file that holds it now; nil when that was removed meanwhile.
    func write(_ blob: Blob, isSynced: Bool) throws(PeerFailure) -> UInt64? {
        if let known = index.withLock({ $0[blob.digest] }) { return try sync(blob, known, if: isSynced) }
        let file = counter.add(1, ordering: .relaxed).newValue
        let draft = "\(path)/\(Self.hex(UInt8(blob.digest.prefix >> 56)))/.\(file)"
        try write(blob.bytes, to: draft, isSynced: isSynced)
        let place = place(of: blob.digest, UInt32(blob.bytes.count))
        let now = NodeClock.now()
        // Named under a lock: no file takes the place of one that somebody relies on.
        let outcome: Result<Record?, PeerFailure> = naming.withLock { _ in
            if let other = index.withLock({ $0[blob.digest] }) { return .success(other) }
            guard rename(draft, place) == 0 else { return .failure(Self.failure("cannot name \(place)")) }
            index.withLock {
                $0[blob.digest] = Record(
                    size: UInt32(blob.bytes.count), touched: now, isSynced: false, file: file)
            }
            return .success(nil)
        }
        if case .success(nil) = outcome { return file }
        unlink(draft)
        return try outcome.get().flatMap { other throws(PeerFailure) in try sync(blob, other, if: isSynced) }
    }

    /// Whoever wrote it may not have waited for the disk.
    private func sync(_ blob: Blob, _ known: Record, if isSynced: Bool) throws(PeerFailure) -> UInt64? {
        guard isSynced, !known.isSynced else { return known.file }
        let place = place(of: blob.digest, known.size)
        let file = open(place, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else {
            if errno == ENOENT {
                _ = remove(blob.digest, file: known.file)
                return nil
            }
            throw Self.failure("cannot open \(place)")
        }
        defer { Glibc.close(file) }
        guard fdatasync(file) == 0 else { throw Self.failure("cannot sync \(place)") }
        return known.file
    }

    func write(_ bytes: [UInt8], to draft: String, isSynced: Bool) throws(PeerFailure) {
        let file = open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard file >= 0 else { throw Self.failure("cannot make \(draft)") }
        var failed: PeerFailure?
        bytes.withUnsafeBytes { bytes in
            var written = 0
            while written < bytes.count {
                let count = Glibc.write(file, bytes.baseAddress! + written, bytes.count - written)
                if count < 0, errno == EINTR { continue }
                if count <= 0 {
                    failed = Self.failure("cannot write \(draft)")
                    return
                }
                written += count
            }
        }
        if failed == nil, isSynced, fdatasync(file) != 0 { failed = Self.failure("cannot sync \(draft)") }
        Glibc.close(file)
        if let failed {
            unlink(draft)
            throw failed
        }
    }

    func syncParents(of blobs: [Blob]) throws(PeerFailure) {
        for first in Set(blobs.map { UInt8($0.digest.prefix >> 56) }) {
            try Self.sync("\(path)/\(Self.hex(first))")
        }
    }

    static func sync(_ path: String) throws(PeerFailure) {
        let directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard directory >= 0 else { throw failure("cannot open \(path)") }
        defer { Glibc.close(directory) }
        guard fsync(directory) == 0 else { throw failure("cannot sync \(path)") }
    }

    /// The file goes before another is named: whoever finds the record afterwards finds a file that was put there after that.
    ///
    /// - Parameter file: only if it is this one.
    func remove(_ digest: Digest, file: UInt64? = nil, idleFor idle: Duration = .zero) -> Bool {
        let now = NodeClock.now()
        return naming.withLock { _ in
            let record = index.withLock { index -> Record? in
                guard let record = index[digest], now - record.touched >= idle, file ?? record.file == record.file
                else { return nil }
                index[digest] = nil
                return record
            }
            guard let record else { return false }
            // Not there any more: just as well.
            unlink(place(of: digest, record.size))
            return true
        }
    }
}
