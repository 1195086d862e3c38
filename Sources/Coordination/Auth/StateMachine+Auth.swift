import EsperTypes

extension StateMachine {
    mutating func changeAuth(
        _ command: AuthCommand, _ context: inout ApplyContext, _ output: inout ApplyOutput
    ) throws(Refusal) -> CommandResult {
        try admitAudited()
        do throws(AuthRefusal) { try auth.perform(command) } catch { throw .auth(error) }
        audit(.administration, command.word, command.auditFields, &context, &output)
        return .authChanged(revision: auth.revision)
    }

    func authUser(_ name: String) throws(Refusal) -> AuthUser {
        guard let user = auth.user(name) else { throw .auth(.userNotFound) }
        return user
    }

    func authRole(_ name: String) throws(Refusal) -> AuthRole {
        guard let role = auth.role(name) else { throw .auth(.roleNotFound) }
        return role
    }
}

extension AuthCommand {
    /// Who and what; never a secret.
    fileprivate var auditFields: [OutboxRecord.Field] {
        switch self {
        case .enable, .disable: []
        case .addUser(let name, _), .deleteUser(let name), .changePassword(let name, _): [.init("user", name)]
        case .grantRole(let user, let role), .revokeRole(let user, let role):
            [.init("user", user), .init("role", role)]
        case .addRole(let name), .deleteRole(let name): [.init("role", name)]
        case .grantPermission(let role, let permission):
            [.init("role", role), .init("access", "\(permission.access)")] + permission.range.auditFields
        case .revokePermission(let role, let range): [.init("role", role)] + range.auditFields
        }
    }
}

extension KeyRange {
    fileprivate var auditFields: [OutboxRecord.Field] {
        let key = OutboxRecord.Field("key", String(decoding: lower, as: UTF8.self))
        switch end {
        case .single: return [key]
        case .unbounded: return [key, .init("range", "to the last key")]
        case .before(let upper): return [key, .init("range_end", String(decoding: upper, as: UTF8.self))]
        }
    }
}
