import CacheCore
import EsperTypes
import KernelCache
import Synchronization

/// Commands between `MULTI` and `EXEC`.
struct RedisTransaction {
    var commands: [(spec: CommandSpec, arguments: [[UInt8]])] = []
    /// One of them was refused: `EXEC` does nothing.
    var isBroken = false
    let lease: ValueLease

    init(_ lease: ValueLease) { self.lease = lease }

    /// - Returns: False when there is no room for what the command brings with it.
    mutating func append(_ spec: CommandSpec, _ arguments: [[UInt8]]) -> Bool {
        unleased += arguments.reduce(64) { $0 + $1.count + 32 }
        // Small commands are counted together.
        if unleased > 16 << 10 {
            guard lease.take(unleased) else { return false }
            unleased = 0
        }
        commands.append((spec, arguments))
        return true
    }

    private var unleased = 0
}

/// Keys and the versions they had when they were watched; nil: there was nothing.
final class WatchedKeys: Sendable {
    let versions = Mutex<[[UInt8]: LogIndex?]>([:])
}

extension CommandTable {
    static let transactionCommands: [CommandSpec] = [
        CommandSpec("multi", 1, [.fast, .immediate, .alone]) { session, _ in
            guard session.transaction == nil else { return .now(.error("ERR MULTI calls can not be nested")) }
            session.transaction = RedisTransaction(ValueLease(session.door.values))
            return .now(.ok)
        },
        CommandSpec("exec", 1, [.immediate, .alone]) { session, _ in session.executeTransaction() },
        CommandSpec("discard", 1, [.fast, .immediate, .alone]) { session, _ in
            guard session.transaction != nil else { return .now(.error("ERR DISCARD without MULTI")) }
            session.transaction = nil
            session.watched = nil
            return .now(.ok)
        },
        CommandSpec("watch", -2, [.fast, .immediate, .alone], (1, -1, 1)) { $0.watch($1) },
        CommandSpec("unwatch", 1, [.fast, .alone]) { session, _ in
            session.watched = nil
            return .now(.ok)
        },
    ]
}

extension RedisSession {
    func watch(_ arguments: [[UInt8]]) -> Outcome {
        guard transaction == nil else { return .now(.error("ERR WATCH inside MULTI is not allowed")) }
        let watched = watched ?? WatchedKeys()
        self.watched = watched
        return ask { keyspace, deadline async throws(CacheFailure) in
            for key in arguments.dropFirst() {
                let version = try await keyspace.binding(key, by: deadline)?.version
                watched.versions.withLock { if $0[key] == nil { $0[key] = .some(version) } }
            }
            return .ok
        }
    }

    /// Runs what was queued, one after the other, unless a watched key is another one than it was. Others' commands may come
    /// between: no command of a transaction is undone, and none is hidden until the last is done.
    func executeTransaction() -> Outcome {
        guard let transaction else { return .now(.error("ERR EXEC without MULTI")) }
        let watched = watched
        self.transaction = nil
        self.watched = nil
        guard !transaction.isBroken else {
            return .now(.error("EXECABORT Transaction discarded because of previous errors."))
        }
        let limit = min(
            .seconds(60), answerTime(long: false, payload: 0) + .milliseconds(50 * transaction.commands.count))
        shareOfTransaction = (limit, transaction.lease)
        defer { shareOfTransaction = nil }
        let outcomes = transaction.commands.map { execute($0.spec, $0.arguments) }
        guard let keyspace else { return .now(.noAuthentication) }
        let deadline = door.clock.now() + (limit - .milliseconds(100))
        let lease = transaction.lease
        return .later(
            Errand(limit: limit, lease: lease) {
                do throws(CacheFailure) {
                    for (key, version) in watched?.versions.withLock({ $0 }) ?? [:] {
                        guard try await keyspace.binding(key, by: deadline)?.version == version else {
                            return .nullArray
                        }
                    }
                } catch {
                    return .failure(error)
                }
                var replies: [Reply] = []
                for outcome in outcomes {
                    switch outcome {
                    case .now(let reply): replies.append(reply)
                    case .later(let errand): replies.append(await errand.work())
                    }
                }
                return .array(replies)
            })
    }
}
