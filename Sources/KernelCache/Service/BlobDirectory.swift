public import CacheCore
public import EsperTypes
import Glibc
import NIOPosix
import RaftRuntime
import Synchronization

/// Blobs on this node's own disk, one file each: `ab/cdef….SIZE` by the digits of the digest. What is there stands in memory
/// too (about 64 bytes for each), so that only reading and writing blobs touches the disk.
///
/// A blob is written beside its place, synced when that is asked for, and moved there: under a digest there is the whole of it
/// or nothing. What is read is checked, and a damaged file is removed.
public final class BlobDirectory: Sendable {
    public struct Entry: Hashable, Sendable {
        public var digest: Digest
        public var size: UInt32
        /// Since a store wanted it last, or since this process began.
        public var idle: Duration
    }

    private struct Record {
        var size: UInt32
        var touched: Instant
        /// By this process; what an earlier one wrote may not have been.
        var isSynced: Bool
        /// Another number for each file that was ever put in the same place.
        var file: UInt64
    }

    /// By shard: nobody who asks for one looks at the others.
    private struct Index {
        private var shards = Array(repeating: [Digest: Record](), count: ShardID.count)
        private var shardBytes = Array(repeating: UInt64(0), count: ShardID.count)
        private(set) var count = 0
        private(set) var bytes: UInt64 = 0

        subscript(digest: Digest) -> Record? {
            get { shards[Int(ShardID(of: digest).rawValue)][digest] }
            set {
                let shard = Int(ShardID(of: digest).rawValue)
                let old = shards[shard][digest]
                shards[shard][digest] = newValue
                count += (newValue == nil ? 0 : 1) - (old == nil ? 0 : 1)
                let (added, lost) = (UInt64(newValue?.size ?? 0), UInt64(old?.size ?? 0))
                shardBytes[shard] = shardBytes[shard] + added - lost
                bytes = bytes + added - lost
            }
        }

        subscript(shard: ShardID) -> [Digest: Record] { shards[Int(shard.rawValue)] }

        func bytes(of shard: ShardID) -> UInt64 { shardBytes[Int(shard.rawValue)] }
    }

    private let path: String
    private let pool: NIOThreadPool
    private let counter = Atomic<UInt64>(0)
    private let damagedFiles = Count("esper_cache_corrupt", [("tier", "disk")])
    private let index = Mutex(Index())

    /// Makes the directory if it has to be made, and reads what there is; blocks while it does.
    ///
    /// - Throws: ``PeerFailure`` with the reason in words.
    public init(path: String, threads: Int = 2) throws {
        self.path = path
        pool = NIOThreadPool(numberOfThreads: threads)
        for number in 0..<256 {
            let directory = path + "/" + Self.hex(UInt8(number))
            if mkdir(directory, 0o700) != 0, errno == ENOENT {
                try Self.makeAll(path)
                _ = mkdir(directory, 0o700)
            }
        }
        guard access(path + "/00", W_OK) == 0 else { throw Self.failure("cannot write in \(path)") }
        scan()
        pool.start()
    }

    public var size: (blobs: UInt64, bytes: UInt64) { index.withLock { (UInt64($0.count), $0.bytes) } }

    /// Of each shard that has any.
    public var shardBytes: [ShardID: UInt64] {
        index.withLock { index in
            var bytes: [ShardID: UInt64] = [:]
            for number in 0..<ShardID.count {
                guard let shard = ShardID(number), index.bytes(of: shard) > 0 else { continue }
                bytes[shard] = index.bytes(of: shard)
            }
            return bytes
        }
    }

    /// Files that were not as they were written.
    public var damaged: UInt64 { damagedFiles.current }

    public func has(_ digest: Digest) -> Bool { index.withLock { $0[digest] != nil } }

    /// Those that are there; a store wants them, so they count as used now.
    public func touch(_ digests: [Digest]) -> Set<Digest> {
        let now = NodeClock.now()
        return index.withLock { index in
            Set(
                digests.filter { digest in
                    guard index[digest] != nil else { return false }
                    index[digest]?.touched = now
                    return true
                })
        }
    }

    /// Those of the digests that are known to outlive a loss of power.
    public func synced(_ digests: [Digest]) -> Set<Digest> {
        index.withLock { index in Set(digests.filter { index[$0]?.isSynced ?? false }) }
    }

    /// Those of the digests that are there, made sure to outlive a loss of power: what an earlier process wrote, or somebody without
    /// waiting, is checked and synced first.
    public func secure(_ digests: [Digest]) async -> Set<Digest> {
        var secured = synced(digests)
        let unsynced = digests.filter { !secured.contains($0) && has($0) }
        for start in stride(from: 0, to: unsynced.count, by: Self.securedAtOnce) {
            let part = Array(unsynced[start..<min(start + Self.securedAtOnce, unsynced.count)])
            // What cannot be read now does not count.
            guard let bytes = try? await get(part) else { continue }
            let blobs = bytes.map { Blob(digest: $0.key, bytes: $0.value) }
            // What cannot be synced does not count.
            if (try? await put(blobs, isSynced: true)) != nil { secured.formUnion(bytes.keys) }
        }
        return secured
    }

    private static let securedAtOnce = 16

    /// Everything, or what belongs to one shard.
    public func entries(of shard: ShardID? = nil) -> [Entry] {
        let now = NodeClock.now()
        return index.withLock { index in
            (shard.map { [$0] } ?? (0..<ShardID.count).compactMap { ShardID($0) }).flatMap { shard in
                index[shard].map { digest, record in
                    Entry(digest: digest, size: record.size, idle: now - record.touched)
                }
            }
        }
    }

    /// Those of the digests that are there and whole; a damaged one is removed.
    ///
    /// - Throws: when one cannot be read, which says nothing about what is there.
    public func get(_ digests: [Digest]) async throws(PeerFailure) -> [Digest: [UInt8]] {
        try await read(digests).found
    }

    /// Reads them, and removes those that are damaged.
    ///
    /// - Returns: which those were.
    func scrub(_ digests: [Digest]) async throws(PeerFailure) -> [Digest] { try await read(digests).damaged }

    private struct Reading: Sendable {
        var found: [Digest: [UInt8]] = [:]
        var damaged: [Digest] = []
    }

    private func read(_ digests: [Digest]) async throws(PeerFailure) -> Reading {
        let there = index.withLock { index in digests.compactMap { digest in index[digest].map { (digest, $0) } } }
        if there.isEmpty { return Reading() }
        let outcome = await run { directory -> Result<Reading, PeerFailure> in
            var reading = Reading()
            do throws(PeerFailure) {
                for (digest, record) in there {
                    if let bytes = try directory.read(digest, record.size), Digest(hashing: bytes) == digest {
                        reading.found[digest] = bytes
                    } else if directory.remove(digest, file: record.file) {
                        // Else somebody has removed it, and perhaps put it there anew.
                        directory.damagedFiles.add()
                        reading.damaged.append(digest)
                    }
                }
                return .success(reading)
            } catch { return .failure(error) }
        }
        guard let outcome else { throw Self.closed }
        return try outcome.get()
    }

    /// - Parameter isSynced: returns when the blobs outlive a loss of power; otherwise when they outlive this process.
    public func put(_ blobs: [Blob], isSynced: Bool) async throws(PeerFailure) {
        var rest = blobs
        while !rest.isEmpty { rest = try await write(rest, isSynced: isSynced) }
    }

    /// - Returns: those that were removed meanwhile: they are to be written again.
    private func write(_ blobs: [Blob], isSynced: Bool) async throws(PeerFailure) -> [Blob] {
        let outcome = await run { directory -> Result<[Blob], PeerFailure> in
            do throws(PeerFailure) {
                var files: [Digest: UInt64] = [:]
                for blob in blobs { files[blob.digest] = try directory.write(blob, isSynced: isSynced) }
                if isSynced { try directory.syncParents(of: blobs) }
                return .success(blobs.filter { !directory.isThere($0.digest, file: files[$0.digest], isSynced) })
            } catch { return .failure(error) }
        }
        guard let outcome else { throw Self.closed }
        return try outcome.get()
    }

    /// Whether it is the file that was written or found; if so it counts as used, and as synced when it has been.
    private func isThere(_ digest: Digest, file: UInt64?, _ isSynced: Bool) -> Bool {
        let now = NodeClock.now()
        return index.withLock { index in
            guard let file, index[digest]?.file == file else { return false }
            index[digest]?.touched = now
            if isSynced { index[digest]?.isSynced = true }
            return true
        }
    }

    /// - Parameter idle: only what no store has wanted for so long by then.
    /// - Returns: those that were there and are not any more.
    @discardableResult
    public func delete(_ digests: [Digest], idleFor idle: Duration = .zero) async -> [Digest] {
        await run { directory in digests.filter { directory.remove($0, idleFor: idle) } } ?? []
    }

    /// Keeps a list of what was most worth having in memory, in place of the one before; made on a thread of its own.
    /// A list that cannot be written is one that is missed at the next start, no more.
    func keep(_ list: @escaping @Sendable () -> HotList) async {
        _ = await run { directory in
            let draft = directory.hotListPath + ".draft"
            guard let file = fopen(draft, "w") else { return }
            let bytes = list().encoded()
            let isWritten = fwrite(bytes, 1, bytes.count, file) == bytes.count
            guard fclose(file) == 0, isWritten, rename(draft, directory.hotListPath) == 0 else {
                unlink(draft)
                return
            }
        }
    }

    /// The list that was kept last; nil when there is none, or none that makes sense.
    public func hotList() async -> HotList? {
        await run { directory -> HotList? in
            guard let file = fopen(directory.hotListPath, "r") else { return nil }
            defer { fclose(file) }
            var bytes: [UInt8] = []
            var part = [UInt8](repeating: 0, count: 1 << 20)
            while case let count = fread(&part, 1, part.count, file), count > 0 { bytes += part[..<count] }
            return try? HotList(decoding: bytes)
        } ?? nil
    }

    private var hotListPath: String { path + "/hot" }

    public func close() async { try? await pool.shutdownGracefully() }

    // MARK: On the threads

    private func run<Value: Sendable>(_ body: @escaping @Sendable (BlobDirectory) -> Value) async -> Value? {
        try? await pool.runIfActive { body(self) }
    }

    private func place(of digest: Digest, _ size: UInt32) -> String {
        let name = digest.description
        return "\(path)/\(name.prefix(2))/\(name.dropFirst(2)).\(size)"
    }

    /// Nil when it is not there or has another length.
    private func read(_ digest: Digest, _ size: UInt32) throws(PeerFailure) -> [UInt8]? {
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
    private func write(_ blob: Blob, isSynced: Bool) throws(PeerFailure) -> UInt64? {
        if let known = index.withLock({ $0[blob.digest] }) { return try sync(blob, known, if: isSynced) }
        let file = counter.add(1, ordering: .relaxed).newValue
        let draft = "\(path)/\(Self.hex(UInt8(blob.digest.prefix >> 56)))/.\(file)"
        try write(blob.bytes, to: draft, isSynced: isSynced)
        let place = place(of: blob.digest, UInt32(blob.bytes.count))
        let now = NodeClock.now()
        // Named under the lock: no file takes the place of one that somebody relies on.
        let outcome: Result<Record?, PeerFailure> = index.withLock { index in
            if let other = index[blob.digest] { return .success(other) }
            guard rename(draft, place) == 0 else { return .failure(Self.failure("cannot name \(place)")) }
            index[blob.digest] = Record(
                size: UInt32(blob.bytes.count), touched: now, isSynced: false, file: file)
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

    private func write(_ bytes: [UInt8], to draft: String, isSynced: Bool) throws(PeerFailure) {
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

    private func syncParents(of blobs: [Blob]) throws(PeerFailure) {
        for first in Set(blobs.map { UInt8($0.digest.prefix >> 56) }) {
            let directory = open("\(path)/\(Self.hex(first))", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
            guard directory >= 0 else { throw Self.failure("cannot open a directory of \(path)") }
            defer { Glibc.close(directory) }
            guard fsync(directory) == 0 else { throw Self.failure("cannot sync a directory of \(path)") }
        }
    }

    /// The file goes under the lock: whoever finds the record afterwards finds a file that was put there after that.
    ///
    /// - Parameter file: only if it is this one.
    private func remove(_ digest: Digest, file: UInt64? = nil, idleFor idle: Duration = .zero) -> Bool {
        let now = NodeClock.now()
        return index.withLock { index in
            guard let record = index[digest], now - record.touched >= idle, file ?? record.file == record.file else {
                return false
            }
            index[digest] = nil
            // Not there any more: just as well.
            unlink(place(of: digest, record.size))
            return true
        }
    }

    private func scan() {
        let now = NodeClock.now()
        var found = Index()
        for number in 0...255 {
            let prefix = Self.hex(UInt8(number))
            guard let directory = opendir("\(path)/\(prefix)") else { continue }
            defer { closedir(directory) }
            while let entry = readdir(directory) {
                let name = withUnsafePointer(to: &entry.pointee.d_name) {
                    $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
                }
                if name == "." || name == ".." { continue }
                let parts = name.split(separator: ".", omittingEmptySubsequences: false)
                guard parts.count == 2, let digest = Digest(prefix + parts[0]), let size = UInt32(parts[1]),
                    size <= UInt32(CacheLimits.blobBytes)
                else {
                    // A draft of a process that ended.
                    if name.hasPrefix(".") { unlink("\(path)/\(prefix)/\(name)") }
                    continue
                }
                found[digest] = Record(
                    size: size, touched: now, isSynced: false, file: counter.add(1, ordering: .relaxed).newValue)
            }
        }
        index.withLock { $0 = found }
    }

    // MARK: Helpers

    private static let closed = PeerFailure("the directory is closed")

    private static func makeAll(_ path: String) throws(PeerFailure) {
        var made = ""
        for part in path.split(separator: "/", omittingEmptySubsequences: true) {
            made += (made.isEmpty && !path.hasPrefix("/") ? "" : "/") + part
            if mkdir(made, 0o700) != 0, errno != EEXIST { throw failure("cannot make \(made)") }
        }
    }

    private static func failure(_ words: String) -> PeerFailure {
        PeerFailure("\(words): \(String(cString: strerror(errno)))")
    }

    private static func hex(_ byte: UInt8) -> String {
        let digits = String(byte, radix: 16)
        return digits.utf8.count == 1 ? "0" + digits : digits
    }
}
