// Permissions are judged here and nowhere else, whatever door a request came by: commands when they are applied, everything
// else by whoever serves it, from its own state.
extension StateMachine {
    /// - Parameter principal: `client/NAME` and `user/NAME` are the user NAME; `node/NAME` may do everything.
    /// - Throws: ``Refusal/permissionDenied``, or ``AuthRefusal/userUnknown`` when the principal is nobody.
    package func authorize(
        _ need: @autoclosure () -> AuthNeed, by principal: @autoclosure () -> String
    ) throws(Refusal) {
        guard auth.isEnabled else { return }
        let principal = principal()
        if principal.utf8.starts(with: "node/".utf8) { return }
        let need = need()
        if need == .nothing { return }
        guard let name = Self.userName(of: principal) else { throw .auth(.userUnknown) }
        guard let user = auth.user(name) else { throw .permissionDenied }
        if user.has(AuthTable.root) { return }
        let isPermitted =
            switch need {
            case .nothing, .user: true
            case .root: false
            case .oneself(let wanted): wanted.isWritten(as: name)
            case .role(let role): user.has(role)
            case .keys(let keys): keys.allSatisfy { auth.permits(user, $0.range, writes: $0.isWritten) }
            }
        guard isPermitted else { throw .permissionDenied }
    }

    package func authorize(_ query: Query, by principal: @autoclosure () -> String) throws(Refusal) {
        try authorize(need(of: query), by: principal())
    }

    func authorize(_ command: Command, by principal: @autoclosure () -> String) throws(Refusal) {
        try authorize(need(of: command), by: principal())
    }

    /// Whether answers kept for a client may be given to this principal: they hold what not everybody may read.
    func isSameUser(_ owner: String, as principal: @autoclosure () -> String) -> Bool {
        guard auth.isEnabled, !owner.isEmpty else { return true }
        let principal = principal()
        guard let name = Self.userName(of: principal), let ownerName = Self.userName(of: owner) else {
            return owner.isWritten(as: principal)
        }
        return name.isWritten(as: ownerName)
    }

    private static func userName(of principal: String) -> String? {
        for prefix in ["client/", "user/"] where principal.utf8.starts(with: prefix.utf8) {
            let name = principal.utf8.dropFirst(prefix.utf8.count)
            return name.isEmpty ? nil : String(Substring(name))
        }
        return nil
    }
}
