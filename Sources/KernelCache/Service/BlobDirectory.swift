public import CacheCore
public import EsperTypes
import Glibc
public import NIOCore
public import NIOPosix
import RaftRuntime
import Synchronization

/// Blobs on this node's own disk, one file each: `ab/cdef….SIZE` by the digits of the digest. What is there stands in memory
/// too (about 64 bytes for each), so that only reading and writing blobs touches the disk.
///
/// A blob is written beside its place, synced when that is asked for, and moved there: under a digest there is the whole of it
/// or nothing. What is read is checked, and a damaged file is removed.
///
/// The disk is touched by ``DiskThreads`` alone, and by none of them under the lock of what stands in memory: a disk that hangs
/// holds up nobody beyond his deadline.
public final class BlobDirectory: Sendable {
    public struct Entry: Hashable, Sendable {
        public var digest: Digest
        public var size: UInt32
        /// Since a store wanted it last, or since this process began.
        public var idle: Duration
    }

    struct Record {
        var size: UInt32
        var touched: Instant
        /// By this process; what an earlier one wrote may not have been.
        var isSynced: Bool
        /// Another number for each file that was ever put in the same place.
        var file: UInt64
    }

    /// By shard: nobody who asks for one looks at the others.
    struct Index {
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

    let path: String
    let threads: DiskThreads
    let counter = Atomic<UInt64>(0)
    private let damagedFiles = Count("esper_cache_corrupt", [("tier", "disk")])
    let index = Mutex(Index())
    /// Held by threads of the disk while they name or remove a file.
    let naming = Mutex(())
    /// Held while a note is written.
    private let notes = Mutex(())

    /// Makes the directory if it has to be made, and reads what there is; blocks while it does.
    ///
    /// - Parameters:
    ///   - threads: as many as a disk that hangs may take.
    ///   - stall: after so long without an answer to anything the disk is not asked for more until it answers.
    ///   - eventLoop: for deadlines.
    /// - Throws: ``PeerFailure`` with the reason in words.
    public init(
        path: String, threads: Int = 2, stall: Duration = .seconds(5),
        eventLoop: any EventLoop = MultiThreadedEventLoopGroup.singleton.any()
    ) throws {
        self.path = path
        self.threads = DiskThreads(count: threads, stall: stall, eventLoop: eventLoop)
        for number in 0..<256 {
            let directory = path + "/" + Self.hex(UInt8(number))
            if mkdir(directory, 0o700) != 0, errno == ENOENT {
                try Self.makeAll(path)
                _ = mkdir(directory, 0o700)
            }
        }
        guard access(path + "/00", W_OK) == 0 else { throw Self.failure("cannot write in \(path)") }
        scan()
        self.threads.start()
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
    public func secure(_ digests: [Digest], deadline: Instant = limit) async -> Set<Digest> {
        var secured = synced(digests)
        let unsynced = digests.filter { !secured.contains($0) && has($0) }
        for start in stride(from: 0, to: unsynced.count, by: Self.securedAtOnce) {
            let part = Array(unsynced[start..<min(start + Self.securedAtOnce, unsynced.count)])
            // What cannot be read now does not count.
            guard let bytes = try? await get(part, deadline: deadline) else { continue }
            let blobs = bytes.map { Blob(digest: $0.key, bytes: $0.value) }
            // What cannot be synced does not count.
            if (try? await put(blobs, isSynced: true, deadline: deadline)) != nil { secured.formUnion(bytes.keys) }
        }
        return secured
    }

    private static let securedAtOnce = 16

    /// For whoever does not say.
    public static var limit: Instant { NodeClock.now() + .seconds(30) }

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
    /// - Throws: when one cannot be read, or not by the deadline, which says nothing about what is there.
    public func get(
        _ digests: [Digest], deadline: Instant = limit
    ) async throws(PeerFailure) -> [Digest: [UInt8]] {
        try await read(digests, deadline).found
    }

    /// Reads them, and removes those that are damaged.
    ///
    /// - Returns: which those were.
    func scrub(_ digests: [Digest], deadline: Instant = limit) async throws(PeerFailure) -> [Digest] {
        try await read(digests, deadline).damaged
    }

    private struct Reading: Sendable {
        var found: [Digest: [UInt8]] = [:]
        var damaged: [Digest] = []
    }

    private func read(_ digests: [Digest], _ deadline: Instant) async throws(PeerFailure) -> Reading {
        let there = index.withLock { index in digests.compactMap { digest in index[digest].map { (digest, $0) } } }
        if there.isEmpty { return Reading() }
        return try await threads.run(by: deadline) { () throws(PeerFailure) in
            var reading = Reading()
            for (digest, record) in there {
                // Nobody waits for the rest.
                guard NodeClock.now() < deadline else { throw PeerFailure("the disk has not answered in time") }
                if let bytes = try self.read(digest, record.size), Digest(hashing: bytes) == digest {
                    reading.found[digest] = bytes
                } else if self.remove(digest, file: record.file) {
                    // Else somebody has removed it, and perhaps put it there anew.
                    self.damagedFiles.add()
                    reading.damaged.append(digest)
                }
                self.threads.step()
            }
            return reading
        }
    }

    /// - Parameter isSynced: returns when the blobs outlive a loss of power; otherwise when they outlive this process.
    /// - Throws: also when they are not there by the deadline; they may be later.
    public func put(_ blobs: [Blob], isSynced: Bool, deadline: Instant = limit) async throws(PeerFailure) {
        var rest = blobs
        while !rest.isEmpty { rest = try await write(rest, isSynced: isSynced, deadline) }
    }

    /// - Returns: those that were removed meanwhile: they are to be written again.
    private func write(
        _ blobs: [Blob], isSynced: Bool, _ deadline: Instant
    ) async throws(PeerFailure) -> [Blob] {
        try await threads.run(by: deadline) { () throws(PeerFailure) in
            var files: [Digest: UInt64] = [:]
            for blob in blobs {
                files[blob.digest] = try self.write(blob, isSynced: isSynced)
                self.threads.step()
            }
            if isSynced { try self.syncParents(of: blobs) }
            return blobs.filter { !self.isThere($0.digest, file: files[$0.digest], isSynced) }
        }
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
    public func delete(
        _ digests: [Digest], idleFor idle: Duration = .zero, deadline: Instant = limit
    ) async -> [Digest] {
        // What is not gone by then may go later.
        let gone = try? await threads.run(by: deadline) {
            digests.filter { digest in
                defer { self.threads.step() }
                return self.remove(digest, idleFor: idle)
            }
        }
        return gone ?? []
    }

    /// What else this node writes down for its next start.
    enum Note: String {
        /// A ``HotList``.
        case hot
        /// ``CondemnedBlobs``.
        case condemned
    }

    /// Writes it in place of the one before, whole or not at all. On a thread of its own `bytes` tells what there is to write then: of
    /// several that come at once, the last writes the latest.
    ///
    /// - Parameter isSynced: returns when it outlives a loss of power.
    /// - Throws: when it cannot be written, or not in time; then it may be written later.
    func keep(
        _ note: Note, isSynced: Bool = false, _ bytes: @escaping @Sendable () -> [UInt8]
    ) async throws(PeerFailure) {
        try await threads.run(by: Self.noteLimit) { () throws(PeerFailure) in
            let (place, draft) = (self.place(of: note), self.place(of: note) + ".draft")
            let outcome = self.notes.withLock { _ -> Result<Void, PeerFailure> in
                do throws(PeerFailure) {
                    try self.write(bytes(), to: draft, isSynced: isSynced)
                    guard rename(draft, place) == 0 else { throw Self.failure("cannot name \(place)") }
                    if isSynced { try Self.sync(self.path) }
                    return .success(())
                } catch { return .failure(error) }
            }
            try outcome.get()
        }
    }

    /// What was kept last; nil when there is nothing. Blocks while it reads.
    func note(_ note: Note) -> [UInt8]? {
        guard let file = fopen(place(of: note), "r") else { return nil }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var part = [UInt8](repeating: 0, count: 1 << 20)
        while case let count = fread(&part, 1, part.count, file), count > 0 { bytes += part[..<count] }
        return bytes
    }

    /// The list that was kept last; nil when there is none, or none that makes sense.
    public func hotList() async -> HotList? {
        let list = try? await threads.run(by: Self.noteLimit) { () -> HotList? in
            self.note(.hot).flatMap { try? HotList(decoding: $0) }
        }
        return list ?? nil
    }

    private static var noteLimit: Instant { NodeClock.now() + .seconds(5) }

    private func place(of note: Note) -> String { "\(path)/\(note.rawValue)" }

    /// Returns when nothing is under way any more, and at the latest after two seconds.
    public func close() async { await threads.close(by: NodeClock.now() + .seconds(2)) }

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

    private static func makeAll(_ path: String) throws(PeerFailure) {
        var made = ""
        for part in path.split(separator: "/", omittingEmptySubsequences: true) {
            made += (made.isEmpty && !path.hasPrefix("/") ? "" : "/") + part
            if mkdir(made, 0o700) != 0, errno != EEXIST { throw failure("cannot make \(made)") }
        }
    }

    static func failure(_ words: String) -> PeerFailure {
        PeerFailure("\(words): \(String(cString: strerror(errno)))")
    }

    static func hex(_ byte: UInt8) -> String {
        let digits = String(byte, radix: 16)
        return digits.utf8.count == 1 ? "0" + digits : digits
    }
}
