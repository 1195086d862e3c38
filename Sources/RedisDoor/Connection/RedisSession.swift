import CacheCore
import EsperTypes
import KernelCache

/// What one connection is to the commands: who it belongs to, which version it speaks, what it has begun. Confined to the
/// connection's loop.
final class RedisSession {
    let door: DoorContext
    let id: UInt64
    let certificate: String?
    let remote: String
    let local: String
    let start: Instant
    private(set) var user: RedisUser?
    private(set) var keyspace: TenantKeyspace?
    var version = ReplyWriter.Version.two
    var name: [UInt8] = []
    var library: [UInt8] = []
    var libraryVersion: [UInt8] = []
    var lastCommand = "NULL"
    var lastUse: Instant
    /// Set by the command that ends the connection.
    var endsAfterAnswer = false

    /// What `MULTI` has begun.
    var transaction: RedisTransaction? { didSet { noteState() } }
    /// What `WATCH` has seen, on its way to `EXEC`.
    var watched: WatchedKeys?
    /// While the commands of a transaction are begun: how long all of them together may take, and what their values are leased by.
    var shareOfTransaction: (limit: Duration, lease: ValueLease)?
    /// Whether the command that is begun may be told what the node knew last: nothing that writes, or decides about a write.
    private var allowsStale = false
    /// `CLIENT REPLY`.
    var answers = Answers.all { didSet { noteState() } }
    var tracking: TrackingMode? { didSet { noteState() } }
    var isTracking: Bool { tracking != nil }
    /// What `CLIENT CACHING` said about the next command.
    var caching: Bool?
    /// Where invalidations for this connection go.
    var inbox: DoorLoop.Inbox?

    enum Answers {
        case all
        case none
        case allButNext
        case allButThis
    }

    /// Whether a plain read may be answered without further thought.
    private(set) var isPlain = false

    init(
        door: DoorContext, id: UInt64, certificate: String? = nil, remote: String = "", local: String = "",
        start: Instant
    ) {
        self.door = door
        self.id = id
        self.certificate = certificate
        self.remote = remote
        self.local = local
        self.start = start
        lastUse = start
        become(door.initialUser(certificate: certificate))
    }

    /// Acts for another user from now on; nil: for nobody.
    func become(_ user: RedisUser?) {
        self.user = user
        keyspace = user.map { user in
            TenantKeyspace(
                cache: door.cache, clock: door.clock, prefix: Array(user.tenant.utf8) + [UInt8(ascii: "/")],
                isCache: user.kind == .cache, mode: user.mode, hashes: door.hashes, lease: ValueLease(door.values),
                ownWrites: nil,
                principal: certificate.flatMap { $0 == user.certificate ? $0 : nil } ?? "redis/\(user.name)")
        }
        noteState()
    }

    func setOwnWrites(_ writes: OwnWrites?) { keyspace?.ownWrites = writes }

    /// To be called whenever something changed that ``isPlain`` depends on.
    func noteState() {
        isPlain = (user?.rights.contains(.read) ?? false) && transaction == nil && !isTracking && answers == .all
    }

    /// Whether a key without a binding is nothing at all, rather than something of another type.
    var knowsOnlyStrings: Bool { keyspace?.isCache ?? false }
    var isInTransaction: Bool { transaction != nil }

    /// The connection is gone, or starts over.
    func ended() {
        stopTracking()
        transaction = nil
        watched = nil
    }

    // MARK: Executing

    /// Everything that Redis checks before it runs a command, then the command.
    func execute(_ spec: CommandSpec?, _ arguments: [[UInt8]]) -> Outcome {
        guard let spec else { return .now(.unknownCommand(arguments)) }
        lastCommand = spec.name
        guard spec.accepts(arguments.count) else { return .now(.wrongArity(spec.name)) }
        guard let user else {
            return spec.flags.contains(.noAuth) ? spec.run(self, arguments) : .now(.noAuthentication)
        }
        if let refusal = refusal(of: user, for: spec) { return .now(refusal) }
        if isTracking, spec.flags.contains(.readonly), spec.keys.0 > 0 { track(spec, arguments) }
        allowsStale = user.consistency == .stale && spec.flags.contains(.readonly)
        return spec.run(self, arguments)
    }

    /// A command as it comes from the connection: run at once, or kept for `EXEC`.
    func receive(_ spec: CommandSpec?, _ arguments: [[UInt8]]) -> Outcome {
        guard transaction != nil, !(spec?.flags.contains(.immediate) ?? false) else {
            defer { if spec?.name != "client" { caching = nil } }
            return execute(spec, arguments)
        }
        guard let spec, spec.accepts(arguments.count) else {
            transaction?.isBroken = true
            return execute(spec, arguments)
        }
        guard let user else { return .now(.noAuthentication) }
        if let refusal = refusal(of: user, for: spec) {
            transaction?.isBroken = true
            return .now(refusal)
        }
        guard transaction?.append(spec, arguments) == true else {
            transaction?.isBroken = true
            return .now(.failure(.noRoom))
        }
        return .now(.simple("QUEUED"))
    }

    private func refusal(of user: RedisUser, for spec: CommandSpec) -> Reply? {
        var needed: RedisUser.Rights = []
        if spec.flags.contains(.write) { needed.insert(.write) }
        if !spec.flags.isDisjoint(with: [.readonly, .revealing]) { needed.insert(.read) }
        return missing(needed, for: spec.name)
    }

    /// The refusal of a command for which the user lacks a right; nil: he has them.
    func missing(_ needed: RedisUser.Rights, for command: String) -> Reply? {
        guard let user, !user.rights.isSuperset(of: needed) else { return nil }
        return .error("NOPERM User \(user.name) has no permissions to run the '\(command)' command")
    }

    /// Asks the cache.
    ///
    /// - Parameters:
    ///   - payload: bytes that the command brings with it, or makes.
    ///   - instead: what a tenant of kind *cache* hears when there is no answer; nil: the error.
    func ask(
        long: Bool = false, payload: Int = 0, instead: Reply? = nil, isWrite: Bool = false,
        _ work: @escaping @Sendable (TenantKeyspace, Instant) async throws(CacheFailure) -> Reply
    ) -> Outcome {
        guard var keyspace else { return .now(.noAuthentication) }
        let limit = shareOfTransaction?.limit ?? answerTime(long: long, payload: payload)
        let deadline = door.clock.now() + (limit - .milliseconds(100))
        let metrics = door.metrics
        let lease = shareOfTransaction?.lease ?? ValueLease(door.values)
        let fits = lease.take(payload)
        keyspace.lease = lease
        keyspace.allowsStale = allowsStale
        let asked = keyspace
        let instead = keyspace.isCache ? instead : nil
        return .later(
            Errand(limit: limit, lease: lease, instead: instead, isWrite: isWrite) {
                do throws(CacheFailure) {
                    guard fits else { throw .noRoom }
                    return try await work(asked, deadline)
                } catch {
                    guard let instead, !error.message.hasPrefix("WRONGTYPE") else { return .failure(error) }
                    if isWrite { metrics.unkept(error.code.rawValue) }
                    return instead
                }
            })
    }

    /// How long a command may take until the connection is closed instead of answered.
    func answerTime(long: Bool, payload: Int) -> Duration {
        if long { return .seconds(60) }
        return door.options.answerWithin
            + .milliseconds(Int64(payload) * 1000 / Int64(max(1, door.options.bytesPerSecond)))
    }
}

extension Reply {
    static func unknownCommand(_ arguments: [[UInt8]]) -> Reply {
        func clean(_ bytes: ArraySlice<UInt8>) -> String { String(decoding: bytes, as: UTF8.self) }
        var given = ""
        for argument in arguments.dropFirst() {
            guard given.utf8.count < 128 else { break }
            given += "'\(clean(argument.prefix(128 - given.utf8.count)))' "
        }
        return .error(
            "ERR unknown command '\(clean(arguments[0].prefix(128)))', with args beginning with: \(given)")
    }

    static func failure(_ failure: CacheFailure) -> Reply {
        if failure.message.hasPrefix("WRONGTYPE") { return .wrongType }
        if failure.outcome == .unknown { return .error("UNKNOWN it may have been done or not: \(failure.message)") }
        switch failure.code {
        case .permissionDenied: return .error("NOPERM \(failure.message)")
        case .overloaded, .storageFull, .outboxFull: return .error("OOM \(failure.code.rawValue): \(failure.message)")
        case .tierUnavailable, .noLeader, .unconfirmed, .timedOut, .draining:
            return .error("TRYAGAIN \(failure.code.rawValue): \(failure.message)")
        case .invalid, .oversized, .conflict, .closureIncomplete, .bytesLost, .clientUnknown, .makeFailed, .disabled:
            return .error("ERR \(failure.code.rawValue): \(failure.message)")
        }
    }
}
