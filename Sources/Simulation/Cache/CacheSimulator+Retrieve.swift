import CacheCore
import Coordination
import EsperTypes

// Readers, and the rights to make what they do not find.
extension CacheSimulator {
    enum Turn {
        case bound
        case token(UInt64)
        case failing
        case timedOut
    }

    enum TokenAction {
        case ask
        case renew(UInt64)
        case failed(UInt64, isDeterministic: Bool)
        case stored
    }

    enum TokenReply {
        case answer(CompileTokens.Answer)
        case renewed(Duration?)
        case done
    }

    enum Got {
        case found
        case absent
        case make(UInt64)
        case failed
    }

    mutating func retrieve(
        _ name: Bytes, at node: Int, wantsToMake: Bool, by deadline: Int,
        _ done: @escaping (inout CacheSimulator, Got) -> Void
    ) {
        report.reads += 1
        if let binding = table.binding(name, now: 0), binding.state == .live, let hot = nodes[node].hot[name],
            hot.version == binding.version || mutant == .believesAnyVersion
        {
            checkRead(name, from: now, hot.version)
            return done(&self, .found)
        }
        let call = begin(node, by: deadline, "retrieve")
        let finish: (inout CacheSimulator, Got) -> Void = { simulator, got in
            simulator.end(call)
            done(&simulator, got)
        }
        look(name, at: node, wantsToMake, from: now, by: deadline, finish)
    }

    private mutating func look(
        _ name: Bytes, at node: Int, _ wantsToMake: Bool, from start: Int, by deadline: Int,
        _ done: @escaping (inout CacheSimulator, Got) -> Void
    ) {
        if now >= deadline { return done(&self, .failed) }
        let absent: (inout CacheSimulator) -> Void = { simulator in
            guard wantsToMake else { return done(&simulator, .absent) }
            simulator.waitForTurn(name, at: node, by: deadline) { simulator, turn in
                switch turn {
                case .bound: simulator.look(name, at: node, wantsToMake, from: start, by: deadline, done)
                case .token(let number): done(&simulator, .make(number))
                case .failing, .timedOut: done(&simulator, .failed)
                }
            }
        }
        look(name, at: node, by: deadline) { simulator, answer in
            guard let answer else { return done(&simulator, .failed) }
            guard let binding = answer, binding.state == .live else {
                simulator.checkRead(name, from: start, nil)
                return absent(&simulator)
            }
            simulator.open(binding, at: node, by: deadline) { simulator, opened in
                switch opened {
                case .found:
                    simulator.checkRead(name, from: start, binding.version)
                    simulator.nodes[node].hot[name] = (binding.version, binding.manifest)
                    done(&simulator, .found)
                case .lost:
                    simulator.change(.quarantine(name, version: binding.version), at: node, by: deadline) {
                        simulator, result in
                        switch result {
                        case nil: return done(&simulator, .failed)
                        case .conflict:
                            // The name stands for something else by now.
                            simulator.look(name, at: node, wantsToMake, from: start, by: deadline, done)
                        default:
                            simulator.checkRead(name, from: start, nil)
                            absent(&simulator)
                        }
                    }
                case .unreached: done(&simulator, .failed)
                }
            }
        }
    }

    private mutating func open(
        _ binding: Binding, at node: Int, by deadline: Int, _ done: @escaping (inout CacheSimulator, Loaded) -> Void
    ) {
        load([binding.manifest], at: node, by: deadline) { simulator, first in
            guard case .found(let encoded) = first[binding.manifest]! else {
                return done(&simulator, first[binding.manifest]!)
            }
            if Self.digest(encoded) != binding.manifest { simulator.violate(.bytes, "another manifest") }
            guard let manifest = try? Manifest(decoding: encoded) else { return done(&simulator, .lost) }
            simulator.load(manifest.blobs.map(\.digest), at: node, by: deadline) { simulator, rest in
                var blobs: [Digest: Bytes] = [:]
                var (isLost, isUnreached) = (false, false)
                for (digest, outcome) in rest {
                    switch outcome {
                    case .found(let bytes): blobs[digest] = bytes
                    case .lost: isLost = true
                    case .unreached: isUnreached = true
                    }
                }
                if isLost { return done(&simulator, .lost) }
                if isUnreached { return done(&simulator, .unreached) }
                simulator.checkBytes(manifest, blobs)
                done(&simulator, .found(encoded))
            }
        }
    }

    // MARK: Turns

    private mutating func waitForTurn(
        _ name: Bytes, at node: Int, by deadline: Int, _ done: @escaping (inout CacheSimulator, Turn) -> Void
    ) {
        if mutant == .asksNobody { return done(&self, .token(0)) }
        let waiter = nodes[node].nextWaiter
        let boot = nodes[node].boot
        nodes[node].nextWaiter += 1
        nodes[node].turns[waiter] = done
        let isFirst = nodes[node].makers[name] == nil
        nodes[node].makers[name, default: []].append(waiter)
        at(max(now, deadline)) { simulator in
            if simulator.nodes[node].boot == boot { simulator.turn(waiter, .timedOut, at: node) }
        }
        if isFirst { poll(name, at: node, nextAsk: now) }
    }

    private mutating func turn(_ waiter: UInt64, _ turn: Turn, at node: Int) {
        if let done = nodes[node].turns.removeValue(forKey: waiter) { done(&self, turn) }
    }

    private mutating func endTurns(_ name: Bytes, _ turn: Turn, at node: Int) {
        for waiter in nodes[node].makers.removeValue(forKey: name) ?? [] { self.turn(waiter, turn, at: node) }
    }

    /// One for each name and node, as long as somebody waits.
    private mutating func poll(_ name: Bytes, at node: Int, nextAsk: Int) {
        let waiting = (nodes[node].makers[name] ?? []).filter { nodes[node].turns[$0] != nil }
        nodes[node].makers[name] = waiting.isEmpty ? nil : waiting
        if waiting.isEmpty { return }
        let boot = nodes[node].boot
        let again: (inout CacheSimulator, Int) -> Void = { simulator, nextAsk in
            simulator.after(100) { if $0.nodes[node].boot == boot { $0.poll(name, at: node, nextAsk: nextAsk) } }
        }
        look(name, at: node, by: now + 1000) { simulator, answer in
            if let binding = answer ?? nil, binding.state == .live { return simulator.endTurns(name, .bound, at: node) }
            guard simulator.now >= nextAsk else { return again(&simulator, nextAsk) }
            simulator.exchange(name, .ask, from: node, by: simulator.now + 1000) { simulator, reply in
                switch reply {
                case .answer(.granted(let number, _)):
                    simulator.granted(name, number, at: node) { again(&$0, $0.now) }
                case .answer(.held(let left)):
                    again(&simulator, simulator.now + min(250, Int(left.nanoseconds / 1_000_000)))
                case .answer(.failing): simulator.endTurns(name, .failing, at: node)
                case .answer(.full), .renewed, .done: preconditionFailure("as many rights as there may be")
                }
            }
        }
    }

    /// Whoever had it before may have stored it just before he gave it back.
    private mutating func granted(
        _ name: Bytes, _ number: UInt64, at node: Int, _ again: @escaping (inout CacheSimulator) -> Void
    ) {
        look(name, at: node, by: now + 1000) { simulator, answer in
            if let binding = answer ?? nil, binding.state == .live {
                simulator.exchange(name, .stored, from: node, by: simulator.now + 1000) { _, _ in }
                return simulator.endTurns(name, .bound, at: node)
            }
            // What cannot be asked is made once more than needed.
            if answer == nil { simulator.rights[name, default: 1] += 1 }
            let waiting = simulator.nodes[node].makers[name] ?? []
            if let first = waiting.first(where: { simulator.nodes[node].turns[$0] != nil }) {
                simulator.turn(first, .token(number), at: node)
            } else {
                simulator.exchange(
                    name, .failed(number, isDeterministic: false), from: node, by: simulator.now + 2000
                ) { _, _ in }
            }
            again(&simulator)
        }
    }

    /// Asks whoever coordinates the name by this node's map; without an answer the node's own table keeps it from doing it twice.
    mutating func exchange(
        _ name: Bytes, _ action: TokenAction, from node: Int, by deadline: Int,
        _ done: @escaping (inout CacheSimulator, TokenReply) -> Void
    ) {
        let epoch = nodes[node].mapEpoch
        let coordinator = Self.coordinator(of: name, at: epoch)
        if coordinator == node { return done(&self, decide(action, name, at: node)) }
        ask(Question(name: name, action: action, asker: node, epoch: epoch, deadline: deadline), at: coordinator, done)
    }

    private struct Question {
        var name: Bytes
        var action: TokenAction
        var asker: Int
        var epoch: UInt64
        var deadline: Int
        var hop = 0
        /// Nodes that were asked before.
        var asked = 0
    }

    private enum Answer {
        case reply(TokenReply)
        case notOwner(epoch: UInt64, owner: NodeID?)
    }

    private mutating func ask(
        _ question: Question, at other: Int, _ done: @escaping (inout CacheSimulator, TokenReply) -> Void
    ) {
        var question = question
        question.asked += 1
        guard question.asked <= 1 + PeerRouting.maximumForwards else {
            return violate(.forwards, "a question goes to \(question.asked) nodes")
        }
        let node = question.asker
        askNode(node, other, by: question.deadline, { [question] in $0.answer(question, at: other) }) {
            [question] simulator, answer in
            switch answer {
            case .reply(let reply): done(&simulator, reply)
            case .notOwner(let epoch, let owner):
                simulator.refused(question, by: other, epoch: epoch, owner: owner, done)
            case nil: done(&simulator, simulator.decide(question.action, question.name, at: node))
            }
        }
    }

    private mutating func answer(_ question: Question, at node: Int) -> Answer {
        let epoch = nodes[node].mapEpoch
        let coordinator = Self.id(Self.coordinator(of: question.name, at: epoch))
        switch PeerRouting.judge(
            me: Self.id(node), epoch: epoch, coordinator: coordinator, askedAt: question.epoch, hop: question.hop)
        {
        case .serve: return .reply(decide(question.action, question.name, at: node))
        case .notOwner(let epoch, let owner): return .notOwner(epoch: epoch, owner: owner)
        }
    }

    private mutating func refused(
        _ question: Question, by other: Int, epoch: UInt64, owner: NodeID?,
        _ done: @escaping (inout CacheSimulator, TokenReply) -> Void
    ) {
        report.refusals += 1
        var question = question
        if mutant == .asksOnBehalf, let owner {
            (question.asker, question.epoch) = (other, epoch)
            return ask(question, at: Self.index(owner), done)
        }
        switch PeerRouting.after(
            refusalBy: Self.id(other), epoch: epoch, owner: owner, mine: question.epoch, hop: question.hop,
            me: Self.id(question.asker))
        {
        case .ask(let next, let hop):
            report.forwards += 1
            (question.epoch, question.hop) = (epoch, hop)
            ask(question, at: Self.index(next), done)
        case .goWithout: done(&self, decide(question.action, question.name, at: question.asker))
        }
    }

    @discardableResult
    mutating func decide(_ action: TokenAction, _ name: Bytes, at node: Int) -> TokenReply {
        switch action {
        case .ask:
            let answer = nodes[node].tokens.ask(name, holder: "", expected: nil, now: instant)
            switch answer {
            case .granted(_, let lifetime):
                if outstanding[node][name] != nil {
                    report.expiredTokens += 1
                    rights[name, default: 1] += 1
                }
                if node != Self.coordinator(of: name, at: mapEpoch) { rights[name, default: 1] += 1 }
                outstanding[node][name] = Int(lifetime.nanoseconds / 1_000_000)
            case .failing:
                if now - failedAt[name, default: -100_000] > 72_000 { violate(.failures, "an old error is told") }
            case .held, .full: break
            }
            return .answer(answer)
        case .renew(let number): return .renewed(nodes[node].tokens.renew(name, number: number, now: instant))
        case .failed(let number, let isDeterministic):
            let isThis = nodes[node].tokens.failed(
                name, number: number, message: "no", isDeterministic: isDeterministic, now: instant)
            if isThis { endRight(name, at: node) }
            if isThis, isDeterministic { failedAt[name] = now }
            return .done
        case .stored:
            nodes[node].tokens.stored(name)
            // Late: the name is gone again, and somebody was making it anew.
            if outstanding[node][name] != nil, table.binding(name, now: 0)?.state != .live {
                rights[name, default: 1] += 1
            }
            outstanding[node][name] = nil
            return .done
        }
    }

    private mutating func endRight(_ name: Bytes, at node: Int) {
        if outstanding[node].removeValue(forKey: name) != nil { rights[name, default: 1] += 1 }
    }

    // MARK: Making

    mutating func make(_ name: Bytes, _ number: UInt64, at node: Int) {
        report.makes += 1
        makes[name, default: 0] += 1
        if makes[name]! > rights[name, default: 1] {
            violate(.makes, "made \(makes[name]!) times with \(rights[name, default: 1]) rights")
        }
        let fails: TokenAction = .failed(number, isDeterministic: random.chance(1, in: 2))
        let boot = nodes[node].boot
        switch isCalm ? 9 : random.int(in: 0...9) {
        case 0, 1: break  // It dies.
        case 2, 3:
            after(random.int(in: 100...4000)) { simulator in
                guard simulator.nodes[node].boot == boot else { return }
                simulator.exchange(name, fails, from: node, by: simulator.now + 2000) { _, _ in }
                // Somebody comes again when the error should be forgotten.
                simulator.after(simulator.random.int(in: 75_000...110_000)) { simulator in
                    if simulator.nodes[node].isUp { simulator.read(name, at: node, wantsToMake: true) }
                }
            }
        case 4: finish(name, number, at: node, after: 50_000, renews: random.chance(1, in: 2))
        default: finish(name, number, at: node, after: random.int(in: 100...6000), renews: false)
        }
    }

    private mutating func finish(_ name: Bytes, _ number: UInt64, at node: Int, after delay: Int, renews: Bool) {
        let boot = nodes[node].boot
        let part = renews ? min(delay, 5000) : delay
        after(part) { simulator in
            guard simulator.nodes[node].boot == boot else { return }
            if part < delay {
                simulator.exchange(name, .renew(number), from: node, by: simulator.now + 1000) { _, _ in }
                return simulator.finish(name, number, at: node, after: delay - part, renews: true)
            }
            simulator.outputs += 1
            let artifact = simulator.artifact(name, output: simulator.outputs)
            simulator.write(artifact, Writing(name: name, kind: .action, mode: .durable), at: node) {
                simulator, isStored in
                if isStored { return }
                simulator.exchange(
                    name, .failed(number, isDeterministic: false), from: node, by: simulator.now + 2000
                ) { _, _ in }
            }
        }
    }
}
