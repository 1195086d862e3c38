import Coordination
import EsperTypes

/// Clients: what they ask, of whom, and what they make of the answers.
extension Simulator {
    func clientDelay() -> UInt64 { UInt64(random.int(in: 20_000...1_000_000)) }

    func setDue(_ client: Int, after delay: UInt64) {
        workload[client].dueNumber += 1
        clock.schedule(.client(client, number: workload[client].dueNumber), after: delay)
    }

    func clientIsDue(_ client: Int, number: Int) {
        guard workload[client].dueNumber == number else { return }
        if workload[client].pending == nil {
            guard !isHealed || workload[client].answeredAfterHeal < 2 else {
                workload[client].isDone = true
                return
            }
            let request = workload.begin(client, now: clock.now)
            ask(client, request)
        } else {
            ask(client, workload.attempt(client, now: clock.now))
        }
    }

    private func ask(_ client: Int, _ request: ClientRequest) {
        var request = request
        if mutant == .forgetsRequestIDs { request.sequence = request.attempt }
        say(
            "c\(client) asks n\(workload[client].target + 1) for \(request.command) "
                + "(attempt \(request.attempt), request \(request.identity)/\(request.sequence))")
        send(request, to: workload[client].target)
    }

    /// Sends a request, and waits for an answer for a while.
    func send(_ request: ClientRequest, to node: Int) {
        var request = request
        request.committed = oracles.committedThrough
        if case .read(let key) = request.command { request.changed = lastChange(of: key) }
        clock.schedule(.request(node: node, request), after: clientDelay())
        clock.schedule(
            .timeout(request.asker, attempt: request.attempt),
            after: UInt64(random.int(in: plan.workload.timeout / 2...plan.workload.timeout)))
    }

    func requested(_ request: ClientRequest, of node: Node) {
        guard node.isUp else {
            // Nobody listens there: the client is told at once, or never.
            if random.chance(1, in: 2) { reply(to: request, .refused(hint: nil)) }
            return
        }
        receive(node, request.command.isRead ? .read(request) : .write(request))
    }

    func reply(to request: ClientRequest, _ reply: Reply) {
        if !isHealed, plan.workload.lostReplyPerMille > 0, random.chance(plan.workload.lostReplyPerMille, in: 1000) {
            return
        }
        clock.schedule(.reply(request, reply), after: clientDelay())
    }

    func replied(_ request: ClientRequest, _ reply: Reply) {
        trace.mix(request.attempt)
        switch request.asker {
        case .client(let client): clientReplied(client, request, reply)
        case .holder(let holder): holderReplied(holder, request, reply)
        case .keeper(let holder): keeperReplied(holder, request, reply)
        }
    }

    private func clientReplied(_ client: Int, _ request: ClientRequest, _ reply: Reply) {
        // Answers to earlier attempts of the operation under way count; those to earlier operations do not.
        guard let pending = workload[client].pending, pending.firstAttempt <= request.attempt else { return }
        switch reply {
        case .command(let result, let isDuplicate):
            trace.mix(isDuplicate ? 2 : 1)
            say("c\(client) is answered \(result)\(isDuplicate ? " (again)" : "")")
            if let refusal = result.refusal, refusal.outcome != .unknown, pending.mayHaveHappened {
                workload.gaveUp(client, now: clock.now)
            } else {
                workload.answered(client, result, now: clock.now)
            }
            ended(client)
        case .value(let value):
            say("c\(client) reads \(value.map(String.init) ?? "nothing")")
            workload.read(client, value, now: clock.now)
            ended(client)
        case .refused(let hint):
            // An earlier attempt's refusal says nothing about the one under way.
            guard request.attempt == pending.attempt else { return }
            say("c\(client) is refused\(hint.map { ", ask n\($0 + 1)" } ?? "")")
            workload[client].target = hint ?? random.int(in: 0...plan.nodes - 1)
            askAgain(client, afterTimeout: false)
        case .keptAlive, .sessionGone: break
        }
    }

    func timedOut(_ asker: ClientRequest.Asker, attempt: UInt64) {
        switch asker {
        case .client(let client): clientTimedOut(client, attempt: attempt)
        case .holder(let holder): holderTimedOut(holder, attempt: attempt)
        case .keeper: break
        }
    }

    private func clientTimedOut(_ client: Int, attempt: UInt64) {
        guard let pending = workload[client].pending, pending.attempt == attempt else { return }
        say("c\(client) waits no longer")
        if !pending.command.isRead { workload[client].pending?.mayHaveHappened = true }
        workload[client].target = random.int(in: 0...plan.nodes - 1)
        askAgain(client, afterTimeout: true)
    }

    private func askAgain(_ client: Int, afterTimeout: Bool) {
        guard let pending = workload[client].pending else { return }
        if pending.attemptsLeft > 0 || isHealed {
            workload[client].pending?.attemptsLeft -= 1
            // The wait is over only when the next attempt begins, so that a late refusal is not taken for a new one.
            workload[client].pending?.attempt = 0
            let waited = afterTimeout ? backoff(after: -pending.attemptsLeft) : 0
            setDue(client, after: waited + UInt64(random.int(in: 1_000_000...20_000_000)))
            return
        }
        if pending.mayHaveHappened {
            workload.gaveUp(client, now: clock.now)
        } else {
            workload.refused(client, now: clock.now)
        }
        ended(client)
    }

    /// Whoever asks a slow cluster again as soon as it can keeps it slow; so in the end everybody gives it time.
    func backoff(after attempts: Int) -> UInt64 {
        isHealed && attempts > 0 ? 50_000_000 << UInt64(min(attempts, 4)) : 0
    }

    private func ended(_ client: Int) {
        if isHealed, workload.lastWasAnswered { workload[client].answeredAfterHeal += 1 }
        setDue(client, after: workload.pauseBeforeNext())
    }
}
