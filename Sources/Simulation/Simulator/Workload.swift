import CacheCore
import Coordination
import EsperTypes

/// One client: it issues an operation, waits, asks again or gives up, and records what it was told.
struct SimulatedClient {
    /// An operation under way.
    struct Pending {
        var command: ClientCommand
        var calledAt: UInt64
        var sequence: UInt64
        /// The attempt whose answer is awaited; 0 between two.
        var attempt: UInt64
        /// Answers to this one and later ones belong to this operation.
        var firstAttempt: UInt64
        var attemptsLeft: Int
        /// An attempt may have been appended and nobody has said what became of it.
        var mayHaveHappened = false
    }

    let index: Int
    /// The name in the history; a new one after every unknown outcome.
    var process: Int64
    /// What the machine knows it by; nil until it is registered.
    var identity: UInt64?
    var nextSequence: UInt64 = 1
    var pending: Pending?
    /// Where it believes the leader to be.
    var target: Int
    /// Operations answered since the cluster was healed.
    var answeredAfterHeal = 0
    var isDone = false
    /// Numbers the moments at which it is due; only the last one set counts.
    var dueNumber = 0
}

/// Draws what clients do, and keeps the history of what they were told.
struct Workload {
    private let plan: SimulationPlan.WorkloadPlan
    /// Clients that begin anew keep their name and count from the beginning: a mistake made on purpose.
    private let reusesNumbers: Bool
    /// Some keys are names of the cache.
    private let binds: Bool
    private(set) var random: SeededRandom
    private(set) var clients: [SimulatedClient]
    private(set) var operations: [HistoryOperation] = []

    /// Whether the operation that ended last was answered.
    private(set) var lastWasAnswered = false

    private var nextProcess: Int64
    private var nextValue: Int64 = 1
    private var nextAttempt: UInt64 = 1
    /// What each client last saw of each key, for compare-and-set that may succeed.
    private var lastSeen: [Int64?]

    init(
        plan: SimulationPlan.WorkloadPlan, nodes: Int, random: SeededRandom, binds: Bool = false,
        reusesNumbers: Bool = false
    ) {
        self.plan = plan
        self.reusesNumbers = reusesNumbers
        self.binds = binds
        self.random = random
        nextProcess = Int64(plan.clients)
        clients = []
        lastSeen = [Int64?](repeating: nil, count: plan.keys)
        for index in 0..<plan.clients {
            clients.append(
                SimulatedClient(index: index, process: Int64(index), target: self.random.int(in: 0...nodes - 1)))
        }
    }

    subscript(client: Int) -> SimulatedClient {
        get { clients[client] }
        set { clients[client] = newValue }
    }

    mutating func pauseBeforeNext() -> UInt64 { UInt64(random.int(in: plan.pause)) }

    /// Begins the next operation of a client.
    mutating func begin(_ client: Int, now: UInt64) -> ClientRequest {
        let command: ClientCommand
        if clients[client].identity == nil {
            command = .register
        } else {
            command = draw()
        }
        let sequence = clients[client].nextSequence
        clients[client].nextSequence += 1
        clients[client].pending = SimulatedClient.Pending(
            command: command, calledAt: now, sequence: sequence, attempt: 0, firstAttempt: nextAttempt,
            attemptsLeft: plan.retries)
        return attempt(client, now: now)
    }

    /// Another attempt of the operation under way.
    mutating func attempt(_ client: Int, now: UInt64) -> ClientRequest {
        guard var pending = clients[client].pending else {
            preconditionFailure("client \(client) has nothing to attempt")
        }
        pending.attempt = newAttempt()
        clients[client].pending = pending
        return ClientRequest(
            asker: .client(client), attempt: pending.attempt, identity: clients[client].identity ?? 0,
            sequence: pending.sequence, acknowledgedThrough: pending.sequence - 1, command: pending.command, sentAt: now
        )
    }

    mutating func newAttempt() -> UInt64 {
        defer { nextAttempt += 1 }
        return nextAttempt
    }

    mutating func newProcess() -> Int64 {
        defer { nextProcess += 1 }
        return nextProcess
    }

    /// What somebody else did.
    mutating func record(_ operation: HistoryOperation) { operations.append(operation) }

    private mutating func draw() -> ClientCommand {
        let key = random.int(in: 0...plan.keys - 1)
        let roll = random.int(in: 0...99)
        if roll < plan.readPercent { return .read(key: key) }
        let rest = random.int(in: 0...99)
        if rest < plan.deletePercent { return .delete(key: key) }
        let value = nextValue
        nextValue += 1
        if binds, Replica.isName(key) {
            // The first value of an action stays; an alias is replaced.
            return Replica.isAction(key)
                ? .compareAndSet(key: key, old: nil, new: value) : .write(key: key, value: value)
        }
        if rest < plan.deletePercent + plan.comparePercent {
            return .compareAndSet(key: key, old: lastSeen[key], new: value)
        }
        return .write(key: key, value: value)
    }

    // MARK: The end of an operation

    mutating func answered(_ client: Int, _ result: CommandResult, now: UInt64) {
        guard let pending = clients[client].pending else { return }
        switch result {
        case .clientRegistered(let identity):
            clients[client].identity = identity.rawValue
            clients[client].nextSequence = 1
            clients[client].pending = nil
            lastWasAnswered = false
        case .put: record(client, pending, output: nil, now: now, status: .ok)
        case .transaction(let reply): record(client, pending, output: .bool(reply.succeeded), now: now, status: .ok)
        case .deleted(let reply): record(client, pending, output: .bool(reply.count > 0), now: now, status: .ok)
        case .cache(.changed(let results)):
            switch results.first {
            case .bound:
                if case .compareAndSet = pending.command {
                    record(client, pending, output: .bool(true), now: now, status: .ok)
                } else {
                    record(client, pending, output: nil, now: now, status: .ok)
                }
            case .kept: record(client, pending, output: .bool(false), now: now, status: .ok)
            case .evicted(let before):
                record(client, pending, output: .bool(before != nil), now: now, status: .ok)
            default: gaveUp(client, now: now)
            }
        case .refused(let refusal):
            if refusal.outcome == .unknown { gaveUp(client, now: now) } else { refused(client, now: now) }
        default: gaveUp(client, now: now)
        }
    }

    mutating func read(_ client: Int, _ value: Int64?, now: UInt64) {
        guard let pending = clients[client].pending, case .read(let key) = pending.command else { return }
        lastSeen[key] = value
        record(client, pending, output: value.map { .integer($0) } ?? nil, now: now, status: .ok)
    }

    /// No attempt had an effect, and none will.
    mutating func refused(_ client: Int, now: UInt64) {
        guard let pending = clients[client].pending else { return }
        record(client, pending, output: nil, now: now, status: .fail)
    }

    /// Nobody will say what became of it.
    mutating func gaveUp(_ client: Int, now: UInt64) {
        guard let pending = clients[client].pending else { return }
        record(client, pending, output: nil, now: nil, status: pending.command.isRead ? .fail : .info)
        if pending.command.isRead { return }
        clients[client].process = newProcess()
        if !reusesNumbers { clients[client].identity = nil }
        clients[client].nextSequence = 1
    }

    private mutating func record(
        _ client: Int, _ pending: SimulatedClient.Pending, output: JSONValue, now: UInt64?,
        status: HistoryOperation.Status
    ) {
        clients[client].pending = nil
        lastWasAnswered = status == .ok
        let op: String
        let key: Int
        var input: JSONValue = nil
        switch pending.command {
        case .register, .openSession, .keepAlive, .acquire, .release: return
        case .read(let number): (op, key) = ("read", number)
        case .write(let number, let value): (op, key, input) = ("write", number, .integer(value))
        case .compareAndSet(let number, let old, let new):
            (op, key) = ("cas", number)
            input = .array([old.map { .integer($0) } ?? nil, .integer(new)])
        case .delete(let number): (op, key) = ("delete", number)
        }
        // A read that was given up ended now: the process goes on.
        let end = now.map { Int64($0) } ?? (pending.command.isRead ? Int64(pending.calledAt) : nil)
        operations.append(
            HistoryOperation(
                process: clients[client].process, op: op, key: "k\(key)", input: input, output: output,
                callNanoseconds: Int64(pending.calledAt), returnNanoseconds: end, status: status))
    }

    /// What is still under way when the run ends has an unknown outcome.
    mutating func finish() {
        for client in clients.indices where clients[client].pending != nil { gaveUp(client, now: 0) }
    }
}
