internal import CoreMetrics
public import Logging
public import NIOCore
internal import NIOSSL
internal import Synchronization

/// A client of one Redis server, version 7 or newer, or of a Redis Cluster, which it recognises by itself.
///
/// Commands are pipelined: many are in flight on a few connections to each server. Every call ends by its deadline.
/// Connections are made when they are needed and again after pauses with jitter; while a server cannot be reached, calls for
/// it fail at once with the cause. In a cluster commands go to the owner of their key's slot; redirections are
/// followed, and the map of slots is asked for again when it turns out to be old.
///
/// The event-loop group must outlive the client.
public final class RedisClient: Sendable {
    private struct State {
        var pools: [RedisSettings.Endpoint: ServerPool] = [:]
        var isClosed = false
        /// When the cluster's map may be asked for again.
        var refreshAfter = NIODeadline.uptimeNanoseconds(0)
    }

    private let settings: RedisSettings
    private let tls: NIOSSLContext?
    private let group: any EventLoopGroup
    private let seed: UInt64
    private let logger: Logger
    private let metrics = RedisMetrics()
    private let state = Mutex(State())
    private let map = SharedMap()

    /// Connects to nothing yet.
    ///
    /// - Parameter seed: of the jitter between attempts to connect; different for each node.
    /// - Throws: ``RedisError/Kind/invalidRequest`` when a file that the settings name cannot be used.
    public init(
        settings: RedisSettings, on group: any EventLoopGroup, seed: UInt64, logger: Logger
    ) throws(RedisError) {
        self.settings = settings
        self.group = group
        self.seed = seed
        self.logger = logger
        tls = try settings.tls?.context()
    }

    /// The answer to one command.
    ///
    /// - Throws: ``RedisError``, of kind `server` when that is what the server answered.
    public func send(_ command: RedisCommand, within limit: Duration) async throws(RedisError) -> RedisReply {
        let reply = try await send([command], within: limit)[0]
        if case .error(let error) = reply { throw error }
        return reply
    }

    /// The answers to several commands, in their order, with the errors that servers answered among them.
    ///
    /// Those for one server run in their order, unless a cluster is moving their slot. When a server fails, the whole call
    /// does, and what became of the commands is not known.
    public func send(_ commands: [RedisCommand], within limit: Duration) async throws(RedisError) -> [RedisReply] {
        if commands.isEmpty { return [] }
        let deadline = NIODeadline.now() + TimeAmount(limit)
        var replies = [RedisReply](repeating: .null, count: commands.count)
        var errands = commands.indices.map { Errand(index: $0, command: commands[$0], way: .owner) }
        for attempt in 1...Self.maximumAttempts {
            if attempt > 1 { metrics.redirects.increment(by: errands.count) }
            var again: [Errand] = []
            var isMapOld = false
            var isBusy = false
            for (errand, reply, server) in try await run(errands, deadline: deadline) {
                replies[errand.index] = reply
                guard let redirection = Redirection(reply, from: server) else { continue }
                var errand = errand
                switch redirection {
                case .moved(let slot, let owner):
                    map.move(slot, to: owner)
                    errand.way = .owner
                    isMapOld = true
                case .ask(let other): errand.way = .asking(other)
                case .tryAgain: isBusy = true
                }
                again.append(errand)
            }
            if again.isEmpty || attempt == Self.maximumAttempts { break }
            if isMapOld { await refresh(deadline: deadline) }
            if isBusy { try await pause(Self.busyPause * Double(attempt), deadline: deadline) }
            errands = again
        }
        return replies
    }

    /// The values of the keys, whatever slots they are in; null for what does not exist.
    ///
    /// - Returns: in the order of the keys; errors that servers answered stand for all keys they were asked for together.
    public func values(of keys: [[UInt8]], within limit: Duration) async throws(RedisError) -> [RedisReply] {
        if keys.isEmpty { return [] }
        let deadline = NIODeadline.now() + TimeAmount(limit)
        let wasCluster = map.isCluster
        var found = try await askTogether(keys, deadline: deadline)
        // The first connection tells that it is a cluster; what was asked before asked for keys of several slots.
        if !wasCluster, map.isCluster { found = try await askTogether(keys, deadline: deadline) }
        // While a slot moves, its keys can be had one at a time only.
        let split = keys.indices.filter { Redirection(found[$0], from: settings.endpoint) == .tryAgain }
        if !split.isEmpty {
            let replies = try await send(split.map { .get(keys[$0]) }, within: Duration(deadline - .now()))
            for (index, reply) in zip(split, replies) { found[index] = reply }
        }
        return found
    }

    private func askTogether(_ keys: [[UInt8]], deadline: NIODeadline) async throws(RedisError) -> [RedisReply] {
        let groups =
            map.isCluster
            ? Array(Dictionary(grouping: keys.indices) { HashSlot.of(keys[$0]) }.values) : [Array(keys.indices)]
        let replies = try await send(
            groups.map { group in .mget(group.map { keys[$0] }) }, within: Duration(deadline - .now()))
        var found = [RedisReply](repeating: .null, count: keys.count)
        for (group, reply) in zip(groups, replies) {
            switch reply {
            case .array(let values) where values.count == group.count:
                for (index, value) in zip(group, values) { found[index] = value }
            case .error: for index in group { found[index] = reply }
            default: throw RedisError(.malformedAnswer, "Redis answers MGET with something else than the values")
            }
        }
        return found
    }

    /// Returns when every server that commands may go to answers.
    public func ping(within limit: Duration) async throws(RedisError) {
        let deadline = NIODeadline.now() + TimeAmount(limit)
        let servers = map.masters ?? [settings.endpoint]
        let errands = servers.indices.map { Errand(index: $0, command: .ping, way: .at(servers[$0])) }
        for (_, reply, _) in try await run(errands, deadline: deadline) {
            if case .error(let error) = reply { throw error }
        }
    }

    /// Fails what is under way and returns when all connections are closed. Again is harmless.
    public func close() async {
        let pools = state.withLock { state in
            state.isClosed = true
            return Array(state.pools.values)
        }
        for pool in pools { await pool.close() }
    }

    // MARK: Ways

    private enum Way: Hashable {
        /// The owner of the key's slot; any server for a command without a key.
        case owner
        case at(RedisSettings.Endpoint)
        case asking(RedisSettings.Endpoint)
    }

    private struct Errand {
        /// Among the caller's commands.
        var index: Int
        var command: RedisCommand
        var way: Way
    }

    /// What a server said to the errands it was sent, in their order.
    private struct Answer {
        var server: RedisSettings.Endpoint
        var replies: Result<[RedisReply], RedisError>
    }

    /// Follows a slot that moves while it is asked for, and no circle.
    private static let maximumAttempts = 5
    private static let busyPause: Duration = .milliseconds(10)
    private static let refreshInterval: TimeAmount = .seconds(1)
    private static let refreshLimit: TimeAmount = .milliseconds(500)

    private func run(
        _ errands: [Errand], deadline: NIODeadline
    ) async throws(RedisError) -> [(Errand, RedisReply, RedisSettings.Endpoint)] {
        let groups = Dictionary(grouping: errands) { server(for: $0) }
        var answers: [Answer] = []
        if groups.count == 1, let (server, errands) = groups.first {
            answers = [await ask(server, errands, deadline: deadline)]
        } else {
            answers = await withTaskGroup(of: Answer.self) { tasks in
                for (server, errands) in groups {
                    tasks.addTask { await self.ask(server, errands, deadline: deadline) }
                }
                return await tasks.reduce(into: []) { $0.append($1) }
            }
        }
        var found: [(Errand, RedisReply, RedisSettings.Endpoint)] = []
        for answer in answers {
            let server = answer.server
            switch answer.replies {
            case .success(let replies):
                for (errand, reply) in zip(groups[server] ?? [], replies) { found.append((errand, reply, server)) }
            case .failure(let error):
                // Its slots may have another owner by now.
                if map.isCluster, error.kind == .unavailable || error.kind == .connectionLost {
                    await refresh(deadline: deadline, without: server)
                }
                throw error
            }
        }
        return found
    }

    private func server(for errand: Errand) -> RedisSettings.Endpoint {
        switch errand.way {
        case .owner: errand.command.key.flatMap { map.owner(of: HashSlot.of($0)) } ?? settings.endpoint
        case .at(let server), .asking(let server): server
        }
    }

    private func ask(
        _ server: RedisSettings.Endpoint, _ errands: [Errand], deadline: NIODeadline
    ) async -> Answer {
        let pool: ServerPool
        do throws(RedisError) { pool = try self.pool(of: server) } catch {
            return Answer(server: server, replies: .failure(error))
        }
        let commands = errands.flatMap { errand in
            if case .asking = errand.way { [.asking, errand.command] } else { [errand.command] }
        }
        let replies = await pool.send(commands, deadline: deadline).map { replies in
            var rest = replies[...]
            return errands.compactMap { errand in
                if case .asking = errand.way { rest = rest.dropFirst() }
                return rest.popFirst()
            }
        }
        return Answer(server: server, replies: replies)
    }

    private func pool(of server: RedisSettings.Endpoint) throws(RedisError) -> ServerPool {
        let pool: ServerPool? = state.withLock { state in
            if state.isClosed { return nil }
            if let pool = state.pools[server] { return pool }
            let pool = ServerPool(
                server, settings: settings, tls: tls, on: group.next(), seed: seed &+ UInt64(state.pools.count),
                metrics: metrics, logger: logger
            ) { [map] in map.learnFirst($0, from: server) }
            state.pools[server] = pool
            return pool
        }
        guard let pool else { throw RedisError(.shuttingDown, "the client of Redis is closed") }
        return pool
    }

    // MARK: The map

    /// Asks a server of the cluster for its map, now and then at most; when none answers, the old one stays.
    private func refresh(deadline: NIODeadline, without failed: RedisSettings.Endpoint? = nil) async {
        let now = NIODeadline.now()
        let isDue = state.withLock { state in
            guard now >= state.refreshAfter else { return false }
            state.refreshAfter = now + Self.refreshInterval
            return true
        }
        guard isDue else { return }
        for server in (map.masters ?? []) + [settings.endpoint] where server != failed {
            let limit = min(deadline, .now() + Self.refreshLimit)
            guard let pool = try? pool(of: server),
                case .success(let replies) = await pool.send([.clusterSlots], deadline: limit),
                map.learn(replies.first, from: server)
            else { continue }
            return
        }
    }

    private func pause(_ time: Duration, deadline: NIODeadline) async throws(RedisError) {
        guard NIODeadline.now() + TimeAmount(time) < deadline else {
            throw RedisError(.deadlineExceeded, "Redis moves the keys and has not ended in time")
        }
        do { try await Task.sleep(for: time, clock: .continuous) } catch {
            throw RedisError(.cancelled, "the caller was cancelled")
        }
    }
}
