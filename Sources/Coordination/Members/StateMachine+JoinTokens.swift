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
        if let member = members.record(named: new.name), joinTokens.isKey(redemption.keyDigest, of: member.id) {
            // The same node, after a lost answer or for a new certificate, whichever token it shows now.
            guard member.described == new else { throw .memberNameTaken(by: member.id) }
            auditUse(of: record, by: member, "renewed", &context, &output)
            return .joinTokenRedeemed(member.id)
        }
        guard record.used.count < record.uses else { throw .joinTokenUsedUp }
        guard !members.isEmpty else { throw .invalid(.memberCount(0)) }
        if let conflict = members.conflict(with: new) { throw conflict }
        let member = members.admit(new, at: context.index)
        joinTokens.use(record.id, by: member, keyDigest: redemption.keyDigest)
        auditUse(of: record, by: member, "joined", &context, &output)
        audit("admitted", member, &context, &output)
        output.membersChanged = true
        return .joinTokenRedeemed(member.id)
    }

    private mutating func auditUse(
        of record: JoinTokenRecord, by member: MemberRecord, _ what: String, _ context: inout ApplyContext,
        _ output: inout ApplyOutput
    ) {
        audit(
            .joinTokenUsed, record.id.description,
            [.init("node", member.name), .init("node_id", member.id.description), .init("change", what)], &context,
            &output)
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
