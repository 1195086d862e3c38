import Coordination
import EsperTypes

extension NodeCore {
    /// Where a session stands in a queue, now.
    enum ClaimPlace {
        case first(FencingToken)
        case waiting
        case absent
    }

    /// Answers a claim whose command was applied, or lets it wait.
    ///
    /// The reply says how the queue stood when the request was *first* executed. One that is sent again, because the node
    /// that took it died, gets that old reply, and the grant may have come meanwhile, with nobody waiting; or the claim may
    /// have been withdrawn when its first call ended. So the state decides, and a claim that is gone is made again.
    func settleClaim(_ key: ClaimKey, _ proposal: PendingProposal, _ reply: CommandReply, _ caller: Caller) {
        switch place(of: key) {
        case .first(let token):
            self.reply(caller, .command(reply.granted(token)))
        case .waiting:
            claimQueued(key, reply, caller)
        case .absent:
            enterAgain(key, proposal, caller)
        }
    }

    private func place(of key: ClaimKey) -> ClaimPlace {
        let queue = ClaimIndex.queue(key.kind, key.name)
        guard let head = state.claims.head(of: queue) else { return .absent }
        if head.session == key.session { return .first(head.token) }
        let own = RangeRequest(.key(ClaimIndex.key(queue, key.session)), countOnly: true)
        guard case .range(let found) = state.answer(.range(own)).result, found.count > 0 else { return .absent }
        return .waiting
    }

    /// Without the request id, whose answer is given for ever; a session enters a queue once, however often it asks.
    private func enterAgain(_ key: ClaimKey, _ proposal: PendingProposal, _ caller: Caller) {
        let now = NodeClock.now()
        guard caller.deadline > now, let envelope = try? Envelope(decoding: proposal.envelope) else {
            return fail(caller, .timedOut, "'\(key.name)' was not granted in time", .notCommitted)
        }
        if let number = addProposal(envelope.command, nil, envelope.principal, caller, claim: key) {
            submit([number], now)
        }
    }
}
