public import EsperTypes

extension StateMachine {
    mutating func createJoinToken(
        _ new: NewJoinToken, _ context: inout ApplyContext, _ output: inout ApplyOutput
    ) throws(Refusal) -> CommandResult {
        try admitAudited()
        // Asked again after a lost answer: it is made once.
        if let record = joinTokens.record(new.id) {
            guard record.isSecret(new.secretDigest) else { throw .joinTokenExists }
            return .joinTokenCreated(expires: record.expires)
        }
        joinTokens.dropExpired(at: time)
        guard joinTokens.records.count < CoordinationLimits.joinTokens else { throw .tooManyJoinTokens }
        let (expires, overflow) = time.addingReportingOverflow(UInt64(new.ttl.nanoseconds))
        let record = JoinTokenRecord(new, expires: overflow ? .max : expires, creator: context.principal)
        joinTokens.records.append(record)
        audit(
            .joinTokenCreated, record.id.description,
            [
                .init("expires_unix_ns", String(record.expires)), .init("uses", String(record.uses)),
                .init("node", record.nodeName),
            ], &context, &output)
        return .joinTokenCreated(expires: record.expires)
    }

    mutating func revokeJoinToken(
        _ id: JoinTokenID, _ context: inout ApplyContext, _ output: inout ApplyOutput
    ) throws(Refusal) -> CommandResult {
        guard let record = joinTokens.revoke(id) else { throw .joinTokenUnknown }
        audit(
            .joinTokenRevoked, record.id.description, [.init("used", String(record.used.count))], &context, &output)
        return .joinTokenRevoked
    }

    /// Counts a use and admits the node, or neither: of two nodes that race for the last use one gets it.
    mutating func redeemJoinToken(
        _ redemption: JoinTokenRedemption, _ context: inout ApplyContext, _ output: inout ApplyOutput
    ) throws(Refusal) -> CommandResult {
        try admitAudited()
        // The clock of this very entry: a token does not live longer because nothing else happens.
        let new = redemption.member
        let record = try joinTokens.judged(
            redemption.token, secretDigest: redemption.secretDigest, name: new.name, at: time)
        if let use = joinTokens.use(by: new.name, keyDigest: redemption.keyDigest) {
            // Asked again with the same key, after a lost answer: it is the same node, whichever token it shows now.
            guard let member = members.record(use.node) else { throw .memberNotFound(use.node) }
            guard member.described == new else { throw .memberNameTaken(by: member.id) }
            return .joinTokenRedeemed(member.id)
        }
        guard record.used.count < record.uses else { throw .joinTokenUsedUp }
        guard !members.isEmpty else { throw .invalid(.memberCount(0)) }
        if let conflict = members.conflict(with: new) { throw conflict }
        let member = members.admit(new, at: context.index)
        joinTokens.use(
            record.id, .init(name: member.name, node: member.id, keyDigest: redemption.keyDigest))
        audit(
            .joinTokenUsed, record.id.description,
            [
                .init("node", member.name), .init("node_id", member.id.description),
                .init("uses_left", String(record.uses - record.used.count - 1)),
            ], &context, &output)
        audit("admitted", member, &context, &output)
        output.membersChanged = true
        return .joinTokenRedeemed(member.id)
    }
}

extension JoinTokenTable {
    /// Whether a token lets this node in, its uses aside. Who does not have the secret learns nothing of the token.
    ///
    /// - Parameter time: in nanoseconds since 1970.
    @discardableResult
    public func judged(
        _ id: JoinTokenID, secretDigest: [UInt8], name: String, at time: UInt64
    ) throws(Refusal) -> JoinTokenRecord {
        guard let record = record(id), record.isSecret(secretDigest) else { throw .joinTokenUnknown }
        guard time < record.expires else { throw .joinTokenExpired }
        guard !record.isRevoked else { throw .joinTokenRevoked }
        guard record.nodeName.isEmpty || record.nodeName == name else { throw .joinTokenOfAnother }
        return record
    }
}
