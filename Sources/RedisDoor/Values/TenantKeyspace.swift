import CacheCore
import EsperTypes
import KernelCache

/// One tenant's keys, as its user may use them: what Redis calls strings, as bindings of the cache.
///
/// A value is an alias binding of a manifest with one file without a name. Whatever changes a value depending on what it was
/// is a compare-and-set on the binding's version, repeated until it fits or the deadline has passed.
struct TenantKeyspace: Sendable {
    let cache: any ArtifactCache
    let clock: DoorClock
    /// The tenant and the slash.
    let prefix: [UInt8]
    let isCache: Bool
    let mode: StoreMode
    let hashes: (any HashStore)?
    /// What the command has of the door's memory for values; another one for each command.
    var lease: ValueLease
    /// Of the command: where nothing confirms what is read, it is told what this node knew last.
    var allowsStale = false
    /// What this connection wrote itself, when it does not want to be told.
    var ownWrites: OwnWrites?
    /// Recorded in each manifest.
    let principal: String

    /// What is under a key: the parts of its value in order, and how it was bound.
    struct Value: Sendable {
        var binding: Binding
        var parts: [[UInt8]]

        var count: Int { parts.reduce(0) { $0 + $1.count } }

        var bytes: [UInt8] {
            if parts.count == 1 { return parts[0] }
            var all: [UInt8] = []
            all.reserveCapacity(count)
            for part in parts { all += part }
            return all
        }
    }

    /// How long something lives that is written now.
    enum Lifetime: Sendable {
        case forever
        /// As long as what it replaces.
        case kept
        case until(milliseconds: Int64)
    }

    func name(of key: [UInt8]) -> [UInt8] {
        var name: [UInt8] = []
        name.reserveCapacity(prefix.count + key.count)
        name += prefix
        name += key
        return name
    }

    // MARK: Reading

    func read(_ key: [UInt8], by deadline: Instant) async throws(CacheFailure) -> Value? {
        let name = name(of: key)
        switch cache.hit(name) {
        case .found(let binding, let value):
            try take(value.count)
            return Value(binding: binding, parts: [value])
        case .absent: return nil
        case nil: break
        }
        guard let (binding, manifest) = try await find(name, by: deadline) else { return nil }
        return Value(binding: binding, parts: try await contents(manifest, by: deadline))
    }

    /// How a key is bound; nil: there is nothing.
    func binding(_ key: [UInt8], by deadline: Instant) async throws(CacheFailure) -> Binding? {
        let name = name(of: key)
        switch cache.hit(name) {
        case .found(let binding, _): return binding
        case .absent: return nil
        case nil: return try await find(name, by: deadline)?.0
        }
    }

    /// As ``read(_:by:)``, but refuses what is not a string.
    func readString(_ key: [UInt8], by deadline: Instant) async throws(CacheFailure) -> Value? {
        if let value = try await read(key, by: deadline) { return value }
        if try await hasHash(key, by: deadline) { throw .wrongType }
        return nil
    }

    func stringBinding(_ key: [UInt8], by deadline: Instant) async throws(CacheFailure) -> Binding? {
        if let binding = try await binding(key, by: deadline) { return binding }
        if try await hasHash(key, by: deadline) { throw .wrongType }
        return nil
    }

    /// Hashes are of tenants of kind *store* only.
    func hasHash(_ key: [UInt8], by deadline: Instant) async throws(CacheFailure) -> Bool {
        guard !isCache, let hashes else { return false }
        return try await hashes.count(
            HashKey.fields(of: key, in: prefix), allowsStale: allowsStale, principal: principal, by: deadline) > 0
    }

    /// Takes a hash away: whether there was one.
    @discardableResult
    func dropHash(_ key: [UInt8], by deadline: Instant) async throws(CacheFailure) -> Bool {
        guard let hashes, try await hasHash(key, by: deadline) else { return false }
        return try await hashes.deleteAll(HashKey.fields(of: key, in: prefix), principal: principal, by: deadline) > 0
    }

    func find(_ name: [UInt8], by deadline: Instant) async throws(CacheFailure) -> (Binding, Manifest)? {
        guard name.count <= CacheLimits.nameBytes else { return nil }
        let reply = try await cache.retrieve(
            RetrieveRequest(name: name, deadline: deadline, principal: principal, allowsStale: allowsStale))
        guard case .found(let binding, let manifest, _) = reply.result else { return nil }
        return (binding, manifest)
    }

    private func contents(_ manifest: Manifest, by deadline: Instant) async throws(CacheFailure) -> [[UInt8]] {
        guard manifest.files.count == 1 else {
            throw CacheFailure(.invalid, "WRONGTYPE this artifact has \(manifest.files.count) files")
        }
        try take(Int(clamping: manifest.size))
        switch manifest.files[0].content {
        case .inline(let bytes): return [bytes]
        case .blobs(let blobs):
            var parts: [[UInt8]] = []
            for blob in blobs { parts.append(try await cache.blob(blob, deadline: deadline).bytes) }
            return parts
        }
    }

    /// - Throws: ``CacheFailure/noRoom``.
    func take(_ bytes: Int) throws(CacheFailure) { if !lease.take(bytes) { throw .noRoom } }

    // MARK: Writing

    /// Puts a string in the place of whatever is there.
    func replace(
        _ key: [UInt8], with value: [UInt8], lifetime: Duration? = nil, by deadline: Instant
    ) async throws(CacheFailure) {
        _ = try await write(key, value, lifetime: lifetime, when: .byKind, by: deadline)
        try await dropHash(key, by: deadline)
    }

    /// - Returns: nil when the condition did not hold.
    func write(
        _ key: [UInt8], _ value: [UInt8], lifetime: Duration?, when condition: StoreRequest.Condition,
        by deadline: Instant
    ) async throws(CacheFailure) -> Binding? {
        try await bind(
            name(of: key), try await manifest(of: value, by: deadline), cost: KernelCost.milliseconds(in: value),
            lifetime: lifetime, when: condition, by: deadline)
    }

    func bind(
        _ name: [UInt8], _ manifest: Manifest, cost: UInt32, lifetime: Duration?,
        when condition: StoreRequest.Condition, by deadline: Instant
    ) async throws(CacheFailure) -> Binding? {
        guard name.count <= CacheLimits.nameBytes else {
            throw CacheFailure(.oversized, "a key has at most \(CacheLimits.nameBytes - prefix.count) bytes")
        }
        let binding: Binding
        do {
            binding = try await cache.store(
                StoreRequest(
                    name: name, kind: .alias, manifest: manifest, mode: mode, condition: condition,
                    costMilliseconds: cost, lifetime: lifetime, principal: principal, deadline: deadline)
            ).binding
        } catch  where error.code == .conflict {
            return nil
        }
        guard binding.kind == .alias else { throw .actionStays }
        ownWrites?.wrote(binding.version)
        return binding
    }

    private func manifest(of value: [UInt8], by deadline: Instant) async throws(CacheFailure) -> Manifest {
        guard value.count > CacheLimits.inlineBytes else {
            return Manifest(writer: principal, files: [.init(name: "", content: .inline(value))])
        }
        var blobs: [BlobReference] = []
        for start in stride(from: 0, to: value.count, by: CacheLimits.blobBytes) {
            let part = Array(value[start..<min(start + CacheLimits.blobBytes, value.count)])
            blobs.append(try await cache.add(part, mode: mode, deadline: deadline))
        }
        return Manifest(writer: principal, files: [.init(name: "", content: .blobs(blobs))])
    }

    /// What ``update(_:by:_:)`` shall do with a key.
    enum Change: Sendable {
        case leave
        case write([UInt8], Lifetime)
        case delete
    }

    /// Reads, decides and writes, again and again until nobody came between.
    ///
    /// - Parameter decide: may run several times; only the last one counts.
    func update<Result: Sendable>(
        _ key: [UInt8], by deadline: Instant,
        _ decide: (Value?) -> (Change, Result)
    ) async throws(CacheFailure) -> Result {
        while true {
            let value = try await readString(key, by: deadline)
            let (change, result) = decide(value)
            let isDone =
                switch change {
                case .leave: true
                case .write(let bytes, let lifetime):
                    try await write(
                        key, bytes, lifetime: duration(lifetime, after: value?.binding),
                        when: .version(value?.binding.version), by: deadline) != nil
                case .delete: try await delete(key, version: value?.binding.version, by: deadline) != nil
                }
            if isDone { return result }
            guard clock.now() < deadline else {
                throw CacheFailure(.timedOut, "others changed the key again and again")
            }
        }
    }

    /// Binds a key's content again, with another time of expiry; nil: forever.
    ///
    /// - Parameter decide: given how it is bound; nil: leave it.
    func rebind(
        _ key: [UInt8], by deadline: Instant, _ decide: (Binding) -> Lifetime?
    ) async throws(CacheFailure) -> Bool {
        let name = name(of: key)
        while true {
            guard let (binding, manifest) = try await find(name, by: deadline), let lifetime = decide(binding) else {
                return false
            }
            let left = duration(lifetime, after: binding)
            let isDone =
                if let left, left <= .zero {
                    try await delete(key, version: binding.version, by: deadline) != nil
                } else {
                    try await bind(
                        name, manifest, cost: binding.costMilliseconds, lifetime: left, when: .version(binding.version),
                        by: deadline) != nil
                }
            if isDone { return true }
            guard clock.now() < deadline else {
                throw CacheFailure(.timedOut, "others changed the key again and again")
            }
        }
    }

    /// Takes away whatever is there: whether there was anything.
    @discardableResult
    func clear(_ key: [UInt8], by deadline: Instant) async throws(CacheFailure) -> Bool {
        let wasString = try await delete(key, version: nil, by: deadline) != nil
        let wasHash = try await dropHash(key, by: deadline)
        return wasString || wasHash
    }

    /// Nil: there was nothing, or another version.
    func delete(_ key: [UInt8], version: LogIndex?, by deadline: Instant) async throws(CacheFailure) -> Binding? {
        let name = name(of: key)
        guard name.count <= CacheLimits.nameBytes else { return nil }
        do {
            let reply = try await cache.evict(
                EvictRequest(name: name, subject: .name(version: version), principal: principal, deadline: deadline))
            if let left = reply.version { ownWrites?.wrote(left) }
            return reply.previous
        } catch  where error.code == .conflict {
            return nil
        }
    }

    func duration(_ lifetime: Lifetime, after binding: Binding?) -> Duration? {
        switch lifetime {
        case .forever: nil
        case .kept: binding.flatMap { remaining($0) }
        case .until(let milliseconds): timeLeft(until: milliseconds)
        }
    }

    /// Until a moment of the wall clock, in milliseconds since 1970; nothing when it is past.
    private func timeLeft(until milliseconds: Int64) -> Duration? {
        let (end, overflow) = UInt64(max(0, milliseconds)).multipliedReportingOverflow(by: 1_000_000)
        let now = clock.wall()
        guard overflow || end > now else { return .zero }
        return .nanoseconds(Int64(clamping: (overflow ? .max : end) - now))
    }

    /// How long a binding lives yet; nil: forever.
    func remaining(_ binding: Binding) -> Duration? {
        guard binding.expires != 0 else { return nil }
        let now = clock.wall()
        return binding.expires > now ? .nanoseconds(Int64(clamping: binding.expires - now)) : .zero
    }

    // MARK: Listing

    /// One page of keys above `key`, in order of their bytes.
    func page(
        startingWith part: [UInt8] = [], after key: [UInt8]?, limit: Int, by deadline: Instant
    ) async throws(CacheFailure) -> (keys: [[UInt8]], more: Bool) {
        let reply = try await cache.list(
            ListRequest(
                prefix: name(of: part), after: key.map { name(of: $0) }, limit: limit, principal: principal,
                deadline: deadline))
        return (reply.bindings.map { Array($0.name.dropFirst(prefix.count)) }, reply.more)
    }
}

extension CacheFailure {
    static let wrongType = CacheFailure(.invalid, "WRONGTYPE")
    static let actionStays = CacheFailure(
        .conflict, "an action is stored under this key and is never replaced; delete it first")
    static let noRoom = CacheFailure(
        .overloaded, "as many long values as the door has memory for are on their way; try again")
}
