import CacheCore
public import EsperTypes
import RaftRuntime
import Synchronization

extension CacheService {
    private static let pollInterval: Duration = .milliseconds(25)
    private static let askInterval: Duration = .milliseconds(250)

    /// - Returns: nil when somebody has made it meanwhile.
    func waitForTurn(_ request: RetrieveRequest) async throws(CacheFailure) -> CompileToken? {
        let (name, expected) = (request.name, request.expectedCost)
        let poll = TokenPoll()
        let turn = await making.wait(
            for: name, deadline: request.deadline,
            ask: { [weak self] in await self?.askForTurn(name, expected, poll) ?? .bound },
            giveBack: { [weak self] token in await self?.giveBack(token.number, of: name) })
        switch turn {
        case .bound: return nil
        case .token(let token): return token
        case .failing(let message): throw CacheFailure(.makeFailed, message)
        case .timedOut: throw CacheFailure(.timedOut, "it was not made in time")
        case .refused: throw CacheFailure(.overloaded, "too many wait for what is being made")
        }
    }

    /// When the coordinator was asked last, and for how long he said that somebody has the right.
    private final class TokenPoll: Sendable {
        let nextAsk = AtomicInstant()
    }

    private func askForTurn(_ name: [UInt8], _ expected: Duration?, _ poll: TokenPoll) async -> MakeQueue.Answer {
        if await isLive(name) { return .bound }
        let now = NodeClock.now()
        guard now >= poll.nextAsk.value else { return .wait(upTo: Self.pollInterval) }
        let reply = await exchange(name, .ask(expected: expected), deadline: now + .seconds(1))
        switch reply {
        case .answer(.granted(let number, let lifetime)):
            // Whoever had it before may have stored it just before he gave it back.
            if await isLive(name) {
                await giveBack(number, of: name)
                return .bound
            }
            counters.tokensGranted.add()
            return .token(CompileToken(number: number, lifetime: lifetime))
        case .answer(.held(let left)):
            poll.nextAsk.value = now + min(left, Self.askInterval)
            return .wait(upTo: Self.pollInterval)
        case .answer(.failing(let message, _)): return .failing(message)
        case .answer(.full), .notOwner, .renewed, .done:
            // Without a coordinator it is made without his leave; the first writer wins.
            return .token(CompileToken(number: 0, lifetime: expected.map { $0 * 2 } ?? .seconds(60)))
        }
    }

    /// Nobody here wants to make it any more.
    private func giveBack(_ number: UInt64, of name: [UInt8]) async {
        _ = await exchange(
            name, .failed(number: number, message: "", isDeterministic: false), deadline: NodeClock.now() + .seconds(2))
    }

    private func isLive(_ name: [UInt8]) async -> Bool {
        let lookup: Binding?
        if let local = names.binding(name, principal: "node/" + options.node) {
            lookup = local.binding
        } else {
            // Not known: the next look tells.
            lookup =
                (try? await names.look(
                    name, principal: "node/" + options.node, deadline: NodeClock.now() + .seconds(1))) ?? nil
        }
        return lookup?.state == .live
    }

    /// Asks whoever coordinates the name; at most one more if he says that it is another.
    func exchange(
        _ name: [UInt8], _ action: PeerTokenRequest.Action, deadline: Instant
    ) async -> PeerTokenReply {
        var request = PeerTokenRequest(name: name, holder: options.node, action: action, epoch: placements.epoch)
        guard var node = placements.coordinator(of: Self.homeShard(of: name)) else {
            return decide(request)
        }
        while true {
            if node == names.nodeID {
                // Without its lease it decides for this process alone.
                let reply = token(request)
                if case .notOwner = reply { return decide(request) }
                return reply
            }
            let reply: PeerTokenReply
            do throws(PeerFailure) {
                reply = try await peers.token(request, at: node, deadline: deadline)
            } catch {
                // Nobody else may decide; this node's own table keeps at least this process from doing it twice.
                return decide(request)
            }
            guard case .notOwner(let epoch, let owner) = reply else { return reply }
            switch PeerRouting.after(
                refusalBy: node, epoch: epoch, owner: owner, mine: request.epoch, hop: request.hop, me: names.nodeID)
            {
            case .ask(let other, let hop):
                node = other
                request.hop = hop
                request.epoch = epoch
            case .goWithout: return decide(request)
            }
        }
    }

    /// From a peer, or this node itself.
    public func token(_ request: PeerTokenRequest) -> PeerTokenReply {
        let coordinator = placements.coordinator(of: Self.homeShard(of: request.name))
        // Without a lease somebody else may have been given the shard.
        let isLeased = placements.holdsLease(at: NodeClock.now())
        switch PeerRouting.judge(
            me: names.nodeID, epoch: placements.epoch,
            coordinator: coordinator == names.nodeID && !isLeased ? nil : coordinator, askedAt: request.epoch,
            hop: request.hop)
        {
        case .notOwner(let epoch, let owner):
            counters.staleEpoch.add()
            return .notOwner(epoch: epoch, owner: owner)
        case .serve: return decide(request)
        }
    }

    /// By this node's own table.
    func decide(_ request: PeerTokenRequest) -> PeerTokenReply {
        let (now, applied) = (NodeClock.now(), names.record(request.name)?.version)
        return state.withLock { state in
            switch request.action {
            case .ask(let expected):
                return .answer(
                    state.tokens.ask(request.name, holder: request.holder, expected: expected, now: now))
            case .renew(let number): return .renewed(state.tokens.renew(request.name, number: number, now: now))
            case .failed(let number, let message, let isDeterministic):
                state.tokens.failed(
                    request.name, number: number, message: message, isDeterministic: isDeterministic, now: now)
                return .done
            case .stored(let version):
                // Word that comes late ends no right to make what the name has lost since.
                if applied.map({ $0 <= version }) ?? true { state.tokens.stored(request.name) }
                return .done
            }
        }
    }

    public func renew(
        _ token: CompileToken, name: [UInt8], principal: String, deadline: Instant
    ) async throws(CacheFailure) -> CompileToken {
        try Self.check(name)
        guard case .renewed(let lifetime?) = await exchange(name, .renew(number: token.number), deadline: deadline)
        else { throw CacheFailure(.conflict, "the right to make it has run out") }
        return CompileToken(number: token.number, lifetime: lifetime)
    }

    public func reportFailure(_ report: FailureReport) async throws(CacheFailure) {
        try Self.check(report.name)
        _ = await exchange(
            report.name,
            .failed(
                number: report.token.number, message: report.message, isDeterministic: report.isDeterministic),
            deadline: report.deadline)
    }
}
