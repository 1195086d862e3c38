import Coordination
import EsperTypes

// Locks and elections that wait: from the queue to the grant, or out of the queue again.
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
    func settleClaim(_ key: ClaimKey, _ proposal: PendingProposal, _ reply: CommandReply, _ now: Instant) {
        guard let caller = proposal.caller else {
            // Nobody waits for it any more, so it must not stand in the way of others.
            if reply.result.refusal == nil, claims[key] == nil { withdraw(key) }
            return
        }
        cancellable[CallerKey(caller.sink, caller.token)] = nil
        if let refusal = reply.result.refusal {
            if case .lockHeld = refusal { return notGranted(key, caller) }
            return self.reply(caller, .command(reply))
        }
        switch place(of: key) {
        case .first(let token): self.reply(caller, .command(reply.granted(token)))
        case .waiting: claimQueued(key, proposal, reply, caller, now)
        case .absent: enterAgain(key, proposal, caller, now)
        }
    }

    private func place(of key: ClaimKey) -> ClaimPlace {
        let queue = key.queue
        guard let head = state.claims.head(of: queue) else { return .absent }
        if head.session == key.session { return .first(head.token) }
        let own = RangeRequest(.key(ClaimIndex.key(queue, key.session)), countOnly: true)
        guard case .range(let found) = state.answer(.range(own)).result, found.count > 0 else { return .absent }
        return .waiting
    }

    /// Without the request id, whose answer is given for ever; a session enters a queue once, however often it asks.
    private func enterAgain(_ key: ClaimKey, _ proposal: PendingProposal, _ caller: Caller, _ now: Instant) {
        guard caller.deadline > now, let envelope = try? Envelope(decoding: proposal.envelope) else {
            return notGranted(key, caller)
        }
        guard let number = addProposal(envelope.command, nil, envelope.principal, caller, claim: key) else { return }
        proposals[number]?.waitsUntil = proposal.waitsUntil
        cancellable[CallerKey(caller.sink, caller.token)] = .proposal(number)
        submit([number], now)
    }

    /// The place in the queue is committed and others stand before it: waits for the grant.
    private func claimQueued(
        _ key: ClaimKey, _ proposal: PendingProposal, _ reply: CommandReply, _ caller: Caller, _ now: Instant
    ) {
        guard !isDraining else { return failWait(caller) }
        let claim = PendingClaim(caller: caller, reply: reply, proposal: proposal)
        if let earlier = claims.updateValue(claim, forKey: key) {
            cancellable[CallerKey(earlier.caller.sink, earlier.caller.token)] = nil
            // The place stands, and whether it is granted is the later call's to hear.
            fail(earlier.caller, .superseded, "a later call of the same session waits in its place", .unknown)
        }
        cancellable[CallerKey(caller.sink, caller.token)] = .claim(key)
        if proposal.waitsUntil <= now { leave(key) } else { nextExpiry = min(nextExpiry, proposal.waitsUntil) }
    }

    func granted(_ grant: Grant) {
        answerGranted(ClaimKey(kind: grant.kind, name: grant.name, session: grant.session), grant.token)
    }

    private func answerGranted(_ key: ClaimKey, _ token: FencingToken) {
        guard let claim = claims.removeValue(forKey: key) else { return }
        cancellable[CallerKey(claim.caller.sink, claim.caller.token)] = nil
        reply(claim.caller, .command(claim.reply.granted(token)))
    }

    /// A session has left a queue in which a call of it waits here: another call of it, on any node, did that.
    ///
    /// A wait that ended elsewhere (a client that lost its connection and came here, say) is nobody's wish to end this
    /// one, so this call may be made again; a place that was given up is given up.
    func departed(_ departure: Departure) {
        let key = ClaimKey(kind: departure.kind, name: departure.name, session: departure.session)
        // Whoever has entered again since then waits in the new place.
        guard let claim = claims[key], case .absent = place(of: key) else { return }
        claims[key] = nil
        cancellable[CallerKey(claim.caller.sink, claim.caller.token)] = nil
        switch departure.cause {
        case _ where claim.isLeaving: notGranted(key, claim.caller)
        case .givenUp: notGranted(key, claim.caller, because: "the session gave its place up")
        case .waitEnded:
            fail(
                claim.caller, .withdrawn,
                "another call of session \(key.session) ended its wait for '\(key.name)', and this one's with it",
                .notCommitted)
        }
    }

    /// The session of these claims is over, so they will never be granted; unless a later one has its ID, and its place in
    /// the queue.
    func sessionEnded(_ session: SessionID) {
        for (key, claim) in claims where key.session == session {
            guard case .absent = place(of: key) else { continue }
            claims[key] = nil
            cancellable[CallerKey(claim.caller.sink, claim.caller.token)] = nil
            fail(claim.caller, .sessionNotFound, "session \(session) ended while it waited", .notCommitted)
        }
    }

    // MARK: - Leaving

    /// Ends the waits whose time is over.
    ///
    /// - Returns: when the next one ends.
    func expireClaims(_ now: Instant) -> Instant {
        var next = Instant.distantFuture
        for (key, claim) in claims {
            if claim.caller.deadline <= now {
                claims[key] = nil
                cancellable[CallerKey(claim.caller.sink, claim.caller.token)] = nil
                if !claim.isLeaving { withdraw(key) }
                fail(claim.caller, .timedOut, "whether '\(key.name)' was granted could not be confirmed", .unknown)
                continue
            }
            let end = claim.isLeaving ? claim.caller.deadline : min(claim.proposal.waitsUntil, claim.caller.deadline)
            if end <= now { leave(key) }
            next = min(next, end <= now ? claim.caller.deadline : end)
        }
        return next
    }

    /// The caller waits on for the claim to be out of the queue: it is granted until then, and that is a grant.
    private func leave(_ key: ClaimKey) {
        claims[key]?.isLeaving = true
        withdraw(key)
    }

    func withdraw(_ key: ClaimKey) {
        guard let number = addProposal(key.withdrawal, nil, "node/" + name, nil, claim: nil) else { return }
        proposals[number]?.withdraws = key
        submit([number], NodeClock.now())
    }

    /// A claim was taken out of its queue, was not in it any more, or had been granted before.
    func settleWithdrawal(_ key: ClaimKey, _ reply: CommandReply, _ now: Instant) {
        guard let claim = claims[key] else { return }
        if case .first(let token) = place(of: key) { return answerGranted(key, token) }
        claims[key] = nil
        cancellable[CallerKey(claim.caller.sink, claim.caller.token)] = nil
        if claim.isLeaving {
            notGranted(key, claim.caller)
        } else {
            // A later call of the session has taken the place that an earlier one gave up.
            enterAgain(key, claim.proposal, claim.caller, now)
        }
    }

    private func notGranted(
        _ key: ClaimKey, _ caller: Caller, because reason: String = "it was held by others until the wait was over"
    ) {
        let holder = state.claims.head(of: key.queue).map { head in
            let claim = state.keyspace.live.value(for: ClaimIndex.key(key.queue, head.session))
            return ServiceFailure.Holder(session: head.session, token: head.token, value: claim?.value ?? [])
        }
        fail(caller, .notGranted, "'\(key.name)' was not granted: \(reason)", .notCommitted, holder: holder)
    }
}

// MARK: - After a restored snapshot

extension NodeCore {
    /// Finds out what became of the claims that wait, within what the snapshot covers.
    func settleClaimsAfterRestore() {
        for (key, claim) in claims {
            switch place(of: key) {
            case .first(let token):
                granted(Grant(kind: key.kind, name: key.name, session: key.session, token: token))
            case .waiting: break
            case .absent:
                claims[key] = nil
                cancellable[CallerKey(claim.caller.sink, claim.caller.token)] = nil
                fail(
                    claim.caller, .timedOut,
                    "the place in the queue of '\(key.name)' was lost while this node caught up",
                    .notCommitted)
            }
        }
    }
}
