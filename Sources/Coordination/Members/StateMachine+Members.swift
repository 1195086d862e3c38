import EsperTypes

extension StateMachine {
    mutating func foundMembers(
        _ founders: [MemberRecord], _ context: inout ApplyContext, _ output: inout ApplyOutput
    ) throws(Refusal) -> CommandResult {
        guard members.isEmpty else { throw .membersFounded }
        members.found(founders, at: context.index)
        for record in members.records { audit("voter_added", record, &context, &output) }
        output.membersChanged = true
        return .recorded
    }

    mutating func admitMember(
        _ new: NewMember, _ context: inout ApplyContext, _ output: inout ApplyOutput
    ) throws(Refusal) -> CommandResult {
        // Before the founders are known, one of theirs would be given.
        guard !members.isEmpty else { throw .invalid(.memberCount(0)) }
        // Asked again after a lost answer: the same node is admitted once.
        if let record = members.record(named: new.name), !record.isEnrolled, record.described == new {
            return .memberAdmitted(record.id)
        }
        if let conflict = members.conflict(with: new) { throw conflict }
        let record = members.admit(new, at: context.index)
        audit("admitted", record, &context, &output)
        output.membersChanged = true
        return .memberAdmitted(record.id)
    }

    mutating func noteMember(
        _ id: NodeID, _ isEnrolled: Bool, _ incarnation: Incarnation?, _ context: inout ApplyContext,
        _ output: inout ApplyOutput
    ) throws(Refusal) -> CommandResult {
        guard
            let changed = members.note(id, isEnrolled: isEnrolled, incarnation: incarnation, at: context.index)
        else { throw .memberNotFound(id) }
        if changed { output.membersChanged = true }
        return .recorded
    }

    mutating func forgetMember(
        _ id: NodeID, _ context: inout ApplyContext, _ output: inout ApplyOutput
    ) throws(Refusal) -> CommandResult {
        guard let record = members.forget(id, at: context.index) else { throw .memberNotFound(id) }
        joinTokens.forget(id)
        audit("forgotten", record, &context, &output)
        output.membersChanged = true
        return .recorded
    }

    mutating func audit(
        _ change: String, _ record: MemberRecord, _ context: inout ApplyContext, _ output: inout ApplyOutput
    ) {
        audit(
            .membershipChanged, record.name,
            [
                .init("node_id", record.id.description), .init("change", change),
                .init("peer", record.peer.description), .init("api", record.api.description),
                .init("zone", record.zone),
            ], &context, &output)
    }
}
