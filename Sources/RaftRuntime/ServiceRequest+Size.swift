import CacheCore
import Coordination
import EsperTypes

extension ServiceRequest.Operation {
    /// Ends a wait, or lets a watch go on.
    var isControl: Bool {
        switch self {
        case .cancel, .watchCredit, .watchProgress: true
        case .command, .claim, .query, .keepAlive, .timeToLive, .watch, .status, .stateCopy, .transferLeadership,
            .changeMembers, .setAside, .isolate, .heal:
            false
        }
    }

    /// About what the request makes us hold beyond its own fixed size: keys and values.
    var heldBytes: Int {
        switch self {
        case .command(let command, _), .claim(let command, _, _): command.heldBytes
        case .query, .keepAlive, .timeToLive, .watch, .watchCredit, .watchProgress, .cancel, .status, .stateCopy,
            .transferLeadership, .changeMembers, .setAside, .isolate, .heal:
            0
        }
    }
}

extension Command {
    var heldBytes: Int {
        switch self {
        case .put(let put): put.heldBytes
        case .delete(let delete): delete.range.heldBytes
        case .transaction(let transaction): transaction.heldBytes
        case .campaign(let name, _, let value), .proclaim(let name, _, let value): name.utf8.count + value.count
        case .acquireLock(let request): request.name.utf8.count
        case .releaseLock(let name, _), .cancelLockWait(let name, _), .resign(let name, _),
            .cancelCandidacy(let name, _):
            name.utf8.count
        case .expireSessions(let sessions, _, _): sessions.count * 8
        case .grantSession(_, _, let label): label.utf8.count
        case .auth(let command): command.heldBytes
        case .cache(let command): command.changedNames.reduce(0) { $0 + $1.count + 96 }
        case .compact, .revokeSession, .registerClient, .acknowledgeOutbox, .configure, .record, .foundMembers,
            .admitMember, .noteMember, .forgetMember, .createJoinToken, .revokeJoinToken, .redeemJoinToken:
            0
        }
    }
}

extension AuthCommand {
    fileprivate var heldBytes: Int {
        switch self {
        case .addUser(let name, let hash), .changePassword(let name, let hash): name.utf8.count + hash.count
        case .grantPermission(_, let permission): permission.range.heldBytes
        case .revokePermission(_, let range): range.heldBytes
        case .enable, .disable, .deleteUser, .grantRole, .revokeRole, .addRole, .deleteRole: 64
        }
    }
}

extension Command.Put {
    fileprivate var heldBytes: Int { key.count + value.count }
}

extension KeyRange {
    fileprivate var heldBytes: Int {
        if case .before(let upper) = end { return lower.count + upper.count }
        return lower.count
    }
}

extension Transaction {
    /// With something for each part: five hundred empty ones are not nothing.
    fileprivate var heldBytes: Int {
        compares.reduce(0) { $0 + $1.heldBytes }
            + (success + failure).reduce(0) { sum, operation in
                switch operation {
                case .put(let put): sum + 64 + put.heldBytes
                case .delete(let delete): sum + 64 + delete.range.heldBytes
                case .range(let request): sum + 64 + request.range.heldBytes
                case .transaction(let inner): sum + 64 + inner.heldBytes
                }
            }
    }
}

extension Compare {
    fileprivate var heldBytes: Int {
        if case .value(let value) = target { return 64 + range.heldBytes + value.count }
        return 64 + range.heldBytes
    }
}
