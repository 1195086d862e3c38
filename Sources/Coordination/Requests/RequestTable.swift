import CacheCore
package import EsperTypes

/// The answers given to registered clients, so that a request proposed twice is executed once.
///
/// Bounded three ways: answers per client (the lowest sequence goes, and with it everything below is *expired*),
/// clients, and bytes of answers (the clients longest unused go, a sixteenth at a time, and are *unknown* afterwards).
/// Either refusal means "outcome unknown": a forgotten request is never executed again.
///
/// Source: Raft dissertation §6.3. Sequences may have gaps and come in any order, so a lost request does not lock the client
/// out; IDs are log indexes, so a client that crashed and registered again cannot collide with itself.
package struct RequestTable: Sendable {
    package struct Answer: Sendable {
        package var sequence: UInt64
        package var cost: Int
        package var reply: CommandReply
    }

    package struct Client: Sendable {
        /// The principal that registered; empty when that is not known.
        package var owner: String
        /// Requests up to this one are answered and gone.
        package var floor: UInt64 = 0
        /// Index of the client's last request.
        package var lastUsed: UInt64
        /// Ascending by sequence.
        package var answers: [Answer] = []
    }

    /// What to do with a request.
    package enum Verdict {
        case execute
        case repeatAnswer(CommandReply)
        case refuse(Refusal)
    }

    package var clients = Tree<UInt64, Client>()
    package var bytes = 0

    package init() {}

    package mutating func register(_ client: ClientID, owner: String, at index: LogIndex) {
        clients.set(client.rawValue, Client(owner: owner, lastUsed: index.rawValue))
        if clients.count > CoordinationLimits.clients { evict(sparing: client) }
    }

    private mutating func forget(_ client: ClientID) {
        guard let removed = clients.remove(client.rawValue) else { return }
        for answer in removed.answers { bytes -= answer.cost }
    }

    /// Judges a request, and forgets what its client has acknowledged.
    package mutating func judge(_ request: RequestID, at index: LogIndex) -> Verdict {
        guard request.sequence > request.acknowledgedThrough else { return .refuse(.invalid(.requestSequence)) }
        var verdict = Verdict.refuse(.clientUnknown(request.client))
        var freed = 0
        clients.update(request.client.rawValue) { client in
            client.lastUsed = index.rawValue
            if request.acknowledgedThrough > client.floor {
                client.floor = request.acknowledgedThrough
                let kept = client.answers.firstIndex { $0.sequence > client.floor } ?? client.answers.count
                for answer in client.answers[..<kept] { freed += answer.cost }
                client.answers.removeSubrange(..<kept)
            }
            if request.sequence <= client.floor {
                verdict = .refuse(.requestExpired(through: client.floor))
            } else if let answer = client.answers.last(where: { $0.sequence <= request.sequence }),
                answer.sequence == request.sequence
            {
                verdict = .repeatAnswer(answer.reply)
            } else {
                verdict = .execute
            }
        }
        bytes -= freed
        return verdict
    }

    /// Keeps the answer of a request that ``judge(_:at:)`` let through; nothing happens when the client is forgotten.
    package mutating func keep(_ reply: CommandReply, for request: RequestID) {
        let cost = reply.result.cost
        var change = 0
        clients.update(request.client.rawValue) { client in
            let at = (client.answers.lastIndex { $0.sequence < request.sequence } ?? -1) + 1
            client.answers.insert(Answer(sequence: request.sequence, cost: cost, reply: reply), at: at)
            change += cost
            if client.answers.count > CoordinationLimits.repliesPerClient {
                let gone = client.answers.removeFirst()
                client.floor = gone.sequence
                change -= gone.cost
            }
        }
        bytes += change
        if bytes > CoordinationLimits.replyBytes { evict(sparing: request.client) }
    }

    /// Forgets the clients longest unused until the bounds hold with a sixteenth to spare: the walk over all of them
    /// is paid for by the many requests that may come before the next.
    private mutating func evict(sparing spared: ClientID) {
        var byUse: [(used: UInt64, id: UInt64)] = []
        byUse.reserveCapacity(clients.count)
        for (id, client) in clients.cursor() where id != spared.rawValue { byUse.append((client.lastUsed, id)) }
        byUse.sort { $0 < $1 }
        let most = clients.count > CoordinationLimits.clients ? CoordinationLimits.clients / 16 * 15 : clients.count
        let mostBytes = bytes > CoordinationLimits.replyBytes ? CoordinationLimits.replyBytes / 16 * 15 : bytes
        for (_, id) in byUse where clients.count > most || bytes > mostBytes { forget(ClientID(id)) }
    }
}

extension CommandResult {
    /// About what the answer takes in memory.
    package var cost: Int {
        switch self {
        case .put(let reply): 96 + (reply.previous.map(\.bytes) ?? 0)
        case .deleted(let reply): 96 + reply.previous.reduce(0) { $0 + $1.bytes }
        case .transaction(let reply): 96 + reply.bytes
        case .cache(.changed(let results)): 96 + results.count * MemoryLayout<CacheChangeResult>.stride
        default: 96
        }
    }
}

extension KeyValue {
    var bytes: Int { key.count + value.count + 128 }
}

extension TransactionReply {
    /// Bytes of all versions in the answer, with what surrounds each.
    var bytes: Int {
        replies.reduce(0) { sum, reply in
            switch reply {
            case .put(let reply): sum + 16 + (reply.previous.map(\.bytes) ?? 0)
            case .delete(let reply): sum + 16 + reply.previous.reduce(0) { $0 + $1.bytes }
            case .range(let reply): sum + 16 + reply.keyValues.reduce(0) { $0 + $1.bytes }
            case .transaction(let reply): sum + 16 + reply.bytes
            }
        }
    }
}
