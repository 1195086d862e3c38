import Coordination
import EsperTypes

/// Whoever opens a session, keeps it alive, and takes a lock in its name, to write to what the lock guards.
struct Holder {
    /// An operation under way.
    struct Pending {
        var command: ClientCommand
        var attempt: UInt64
        var calledAt: UInt64
        /// What the holder had when it asked; it may lose it before it is answered.
        var session: SessionID?
        var token: UInt64?
    }

    let index: Int
    /// The name in the history; a new one after every unknown outcome.
    var process: Int64
    var target: Int
    /// Where keep-alives go.
    var keeperTarget: Int
    var session: SessionID?
    var pending: Pending?
    /// The lock it holds or waits for.
    var lock: Int?
    var token: UInt64?
    /// Grants since the cluster was healed.
    var grantsAfterHeal = 0
    var timeoutsAfterHeal = 0
    var isDone = false
}

extension Simulator {
    func beginHolders() {
        for holder in holders.indices {
            clock.schedule(.holder(holder), after: UInt64(random.int(in: 0...200_000_000)))
            clock.schedule(.keeper(holder), after: UInt64(random.int(in: 0...plan.sessions.ttl / 3)))
        }
    }

    private func pause() -> UInt64 { UInt64(random.int(in: 1_000_000...plan.sessions.pause)) }

    func holderIsDue(_ index: Int) {
        guard holders[index].pending == nil else { return }
        if isHealed, holders[index].grantsAfterHeal > 0, holders[index].lock == nil {
            holders[index].isDone = true
            return
        }
        guard let session = holders[index].session else {
            return ask(.openSession(ttl: plan.sessions.ttl), as: index)
        }
        let lock = holders[index].lock ?? random.int(in: 0...plan.sessions.locks - 1)
        holders[index].lock = lock
        if holders[index].token == nil {
            ask(.acquire(lock: lock, session, waits: random.chance(1, in: 2)), as: index)
        } else {
            ask(.release(lock: lock, session), as: index)
        }
    }

    private func ask(_ command: ClientCommand, as index: Int) {
        let attempt = workload.newAttempt()
        holders[index].pending = Holder.Pending(
            command: command, attempt: attempt, calledAt: clock.now, session: holders[index].session,
            token: holders[index].token)
        say("h\(index) asks n\(holders[index].target + 1) for \(command) (attempt \(attempt))")
        let request = ClientRequest(asker: .holder(index), attempt: attempt, command: command, sentAt: clock.now)
        send(request, to: holders[index].target)
    }

    /// Three keep-alives a TTL, each at the node that last knew better; what is lost is made up for by the next. Now and
    /// then whoever keeps the session alive stands still for longer than that may last.
    func keeperIsDue(_ index: Int) {
        let isAbsent = !isHealed && random.chance(plan.sessions.absencePerMille, in: 1000)
        let absence = isAbsent ? random.int(in: 0...plan.sessions.ttl * 2) : 0
        clock.schedule(.keeper(index), after: UInt64(plan.sessions.ttl / 3 + absence))
        keepAlive(index)
    }

    private func keepAlive(_ index: Int) {
        guard let session = holders[index].session else { return }
        let request = ClientRequest(
            asker: .keeper(index), attempt: workload.newAttempt(), command: .keepAlive(session), sentAt: clock.now)
        send(request, to: holders[index].keeperTarget)
    }

    // MARK: Answers

    func keeperReplied(_ index: Int, _ request: ClientRequest, _ reply: Reply) {
        guard case .keepAlive(let session) = request.command, holders[index].session == session else { return }
        switch reply {
        case .keptAlive: counters.keepAlives += 1
        case .sessionGone: sessionLost(index)
        case .refused(let hint):
            holders[index].keeperTarget = hint ?? random.int(in: 0...plan.nodes - 1)
            // Once more at once, and not for ever: the next is due anyway.
            if hint != nil, clock.now - request.sentAt < UInt64(plan.sessions.ttl / 6) { keepAlive(index) }
        case .command, .value: break
        }
    }

    func holderReplied(_ index: Int, _ request: ClientRequest, _ reply: Reply) {
        guard let pending = holders[index].pending, pending.attempt == request.attempt else { return }
        switch reply {
        case .command(let result, _):
            say("h\(index) is answered \(result)")
            took(result, index, pending)
        case .refused(let hint):
            holders[index].target = hint ?? random.int(in: 0...plan.nodes - 1)
            holders[index].pending = nil
            clock.schedule(.holder(index), after: UInt64(random.int(in: 1_000_000...10_000_000)))
            return
        case .value, .keptAlive, .sessionGone: return
        }
        holders[index].pending = nil
        clock.schedule(.holder(index), after: pause())
    }

    private func took(_ result: CommandResult, _ index: Int, _ pending: Holder.Pending) {
        switch result {
        case .sessionGranted(let session, _):
            holders[index].session = session
            holders[index].keeperTarget = holders[index].target
        case .lock(let reply):
            // Whoever waits asks again until it is first.
            guard reply.isHeld else { return }
            record(index, pending, output: ["token": .integer(Int64(reply.token.rawValue))], status: .ok)
            guard holders[index].session == pending.session else { return }
            holders[index].token = reply.token.rawValue
            if isHealed { holders[index].grantsAfterHeal += 1 }
            writeToGuarded(index, reply.token.rawValue)
        case .lockReleased: releasedLock(index, pending, true)
        case .refused(.lockNotFound): releasedLock(index, pending, false)
        case .refused(.lockHeld):
            record(index, pending, output: false, status: .ok)
            holders[index].lock = nil
        case .refused(.sessionNotFound):
            record(index, pending, output: nil, status: .fail)
            if holders[index].session == pending.session { sessionLost(index) }
        default: record(index, pending, output: nil, status: .fail)
        }
    }

    private func releasedLock(_ index: Int, _ pending: Holder.Pending, _ wasHeld: Bool) {
        record(index, pending, output: .bool(wasHeld), status: .ok)
        guard holders[index].session == pending.session else { return }
        holders[index].token = nil
        holders[index].lock = nil
    }

    private func sessionLost(_ index: Int) {
        say("h\(index) has lost its session")
        holders[index].session = nil
        holders[index].token = nil
        holders[index].lock = nil
    }

    /// Nobody says what became of it: whatever it was, it goes with the session, which is left to its end.
    func holderTimedOut(_ index: Int, attempt: UInt64) {
        guard let pending = holders[index].pending, pending.attempt == attempt else { return }
        say("h\(index) waits no longer")
        record(index, pending, output: nil, status: .info)
        holders[index].pending = nil
        holders[index].target = random.int(in: 0...plan.nodes - 1)
        sessionLost(index)
        if isHealed { holders[index].timeoutsAfterHeal += 1 }
        clock.schedule(.holder(index), after: pause() + backoff(after: holders[index].timeoutsAfterHeal))
    }

    /// What is still under way when the run ends has an unknown outcome.
    func finishHolders() {
        for index in holders.indices {
            if let pending = holders[index].pending { record(index, pending, output: nil, status: .info) }
        }
    }

    private func record(
        _ index: Int, _ pending: Holder.Pending, output: JSONValue, status: HistoryOperation.Status
    ) {
        let op: String
        let lock: Int
        var input: JSONValue = nil
        switch pending.command {
        case .acquire(let number, _, _): (op, lock) = ("acquire", number)
        case .release(let number, _):
            guard let token = pending.token else { return }
            (op, lock, input) = ("release", number, ["token": .integer(Int64(token))])
        default: return
        }
        workload.record(
            HistoryOperation(
                process: holders[index].process, op: op, key: "l\(lock)", input: input, output: output,
                callNanoseconds: Int64(pending.calledAt),
                returnNanoseconds: status == .info ? nil : Int64(clock.now), status: status, model: "lock"))
        if status == .info { holders[index].process = workload.newProcess() }
    }

    // MARK: What the locks guard

    /// The write takes its time: the holder may be paused for longer than its session lives.
    private func writeToGuarded(_ index: Int, _ token: UInt64) {
        guard let lock = holders[index].lock, let session = holders[index].session else { return }
        let delay = random.chance(1, in: 4) ? random.int(in: 0...plan.sessions.ttl * 2) : random.int(in: 0...5_000_000)
        clock.schedule(.guardedWrite(holder: index, lock: lock, token: token, session), after: UInt64(delay))
    }

    func guardedWrite(
        by index: Int, _ lock: Int, _ token: UInt64, _ session: SessionID
    ) throws(SimulationFailure) {
        let holds =
            holders[index].session == session && holders[index].token == token && holders[index].pending == nil
            && clock.now < oracles.sessions.livesUntil(session)
        try resources[lock].write(token, by: index, holds: holds, checks: mutant != .resourceIgnoresTokens)
    }

    /// A session ended with its locks.
    func expired(_ session: SessionID) {
        for (lock, token) in held.removeValue(forKey: session) ?? [] {
            workload.record(
                HistoryOperation(
                    process: workload.newProcess(), op: "expire", key: lock,
                    input: ["token": .integer(Int64(token))], callNanoseconds: Int64(clock.now),
                    returnNanoseconds: Int64(clock.now), status: .ok, model: "lock"))
        }
    }
}
