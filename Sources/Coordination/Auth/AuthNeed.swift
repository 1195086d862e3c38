import CacheCore
package import EsperTypes

/// What a request needs while permissions are in force. The nodes themselves and users with role `root` may do everything.
package enum AuthNeed: Hashable, Sendable {
    /// Anybody may.
    case nothing
    /// Whoever is a user.
    case user
    case root
    /// The user itself, or root.
    case oneself(String)
    /// Those who have the role, or root.
    case role(String)
    /// A user with permission on all of these; none of them: whoever is a user.
    case keys([Key])

    package struct Key: Hashable, Sendable {
        package var range: KeyRange
        package var isWritten: Bool

        static func read(_ range: KeyRange) -> Key { Key(range: range, isWritten: false) }
        static func write(_ range: KeyRange) -> Key { Key(range: range, isWritten: true) }
    }

    package static func read(_ range: KeyRange) -> AuthNeed { .keys([.read(range)]) }
}

// The table: what each request needs.
extension StateMachine {
    func need(of command: Command) -> AuthNeed {
        switch command {
        case .put(let put): return .keys(needs(of: put))
        case .delete(let delete): return .keys(needs(of: delete))
        case .transaction(let transaction): return .keys(needs(of: transaction))
        case .grantSession, .registerClient: return .user
        case .revokeSession(let session): return .keys(attached(session).map { .write(.key($0)) })
        case .acquireLock(let request): return claim(.lock, request.name, request.session)
        case .releaseLock(let name, let session), .cancelLockWait(let name, let session):
            return claim(.lock, name, session)
        case .campaign(let name, let session, _), .proclaim(let name, let session, _), .resign(let name, let session),
            .cancelCandidacy(let name, let session):
            return claim(.election, name, session)
        // Who redeems a token is known by its secret.
        case .redeemJoinToken: return .nothing
        // History is everybody's: who cuts it off ends other users' reads and watches of the past.
        case .compact: return .root
        case .expireSessions, .foundMembers, .admitMember, .noteMember, .forgetMember, .createJoinToken,
            .revokeJoinToken, .acknowledgeOutbox, .configure, .record, .auth:
            return .root
        case .cache(let command): return need(of: command)
        }
    }

    func need(of query: Query) -> AuthNeed {
        switch query {
        case .range(let request): return .read(request.range)
        case .transaction(let transaction): return .keys(needs(of: transaction))
        case .sessions, .session(_, withKeys: false): return .user
        case .session(let session, withKeys: true): return need(ofKeysOf: session)
        case .locks(let prefix, _, _): return .read(.prefix(ClaimIndex.prefix(.lock) + ClaimName.escaped(prefix)))
        case .elections(let prefix, _, _):
            return .read(.prefix(ClaimIndex.prefix(.election) + ClaimName.escaped(prefix)))
        case .lock(let name, _): return .read(.prefix(ClaimIndex.queue(.lock, name)))
        case .election(let name, _), .electionLeader(let name):
            return .read(.prefix(ClaimIndex.queue(.election, name)))
        case .binding(let name): return .read(.key(CacheKey.key(name)))
        case .bindings(let prefix, _, _): return .read(.prefix(CacheKey.key(prefix)))
        case .members, .summary, .cacheSummary, .shardMap: return .nothing
        case .user(let name): return .oneself(name)
        case .role(let name): return .role(name)
        case .outbox, .outboxStatus, .settings, .joinTokens, .auth, .authStatus: return .root
        }
    }

    /// The name NAME of the cache is the key `_cache/NAME` of permissions. The answer tells what there is, so whoever may
    /// change a name must be permitted to read it too.
    private func need(of command: CacheCommand) -> AuthNeed {
        switch command {
        case .change(let changes):
            return .keys(
                changes.flatMap { change -> [AuthNeed.Key] in
                    let key = KeyRange.key(CacheKey.key(change.name))
                    return [.read(key), .write(key)]
                })
        case .expire, .noteTiers, .forgetTombstones, .map: return .root
        }
    }

    /// Of being told which keys a session has.
    package func need(ofKeysOf session: SessionID) -> AuthNeed { .keys(attached(session).map { .read(.key($0)) }) }

    private func attached(_ session: SessionID) -> [[UInt8]] { keyspace.attachedKeys(session) }

    private func claim(_ kind: Grant.Kind, _ name: String, _ session: SessionID) -> AuthNeed {
        .keys([.write(.key(ClaimIndex.key(ClaimIndex.queue(kind, name), session)))])
    }

    /// Who attaches a key to a session must be able to end it.
    private func needs(of put: Command.Put) -> [AuthNeed.Key] {
        var needs = [AuthNeed.Key.write(.key(put.key))]
        if put.returnsPrevious { needs.append(.read(.key(put.key))) }
        if let session = put.session { needs += attached(session).map { .write(.key($0)) } }
        return needs
    }

    private func needs(of delete: Command.Delete) -> [AuthNeed.Key] {
        delete.returnsPrevious ? [.write(delete.range), .read(delete.range)] : [.write(delete.range)]
    }

    /// Of both branches, so that what is permitted does not tell what the compares found.
    private func needs(of transaction: Transaction) -> [AuthNeed.Key] {
        var needs = transaction.compares.map { AuthNeed.Key.read($0.range) }
        for operation in transaction.success + transaction.failure {
            switch operation {
            case .put(let put): needs += self.needs(of: put)
            case .delete(let delete): needs += self.needs(of: delete)
            case .range(let request): needs.append(.read(request.range))
            case .transaction(let inner): needs += self.needs(of: inner)
            }
        }
        return needs
    }
}
