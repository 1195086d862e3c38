internal import Coordination
internal import EsperTypes
internal import RaftRuntime
internal import Synchronization

/// What an event stream tells: asked for the next text when the one before has been written out.
struct EventSource: Sendable {
    /// Server-sent events as text; nil ends the stream.
    var next: @Sendable () async -> String?
    var beat: @Sendable () -> Void
    var cancel: @Sendable () -> Void

    /// Sent while nothing happens.
    static let comment = ": \n\n"

    /// One server-sent event (WHATWG HTML, section 9.2); the data is one line, as our JSON always is.
    static func event(_ name: String, id: UInt64?, _ data: JSONValue) -> String {
        (id.map { "id: \($0)\n" } ?? "") + "event: \(name)\ndata: \(data.serialized)\n\n"
    }

    /// Changes of the keyspace, one event for each revision.
    static func changes(_ request: WatchRequest, _ context: CallContext) -> EventSource {
        let stream = WatchStream(node: context.node, principal: context.principal)
        stream.start(request)
        return EventSource(
            next: {
                switch await stream.next() {
                case .delivery(let delivery)?: text(of: delivery, from: request.fromRevision)
                case .heartbeat?: comment
                case .failed(let failure)?: event("error", id: nil, HTTPFailure(failure).json)
                case nil: nil
                }
            }, beat: { stream.beat() }, cancel: { stream.cancel() })
    }

    /// A revision's event has its number as id, so that Last-Event-ID never skips a part of one: a part that
    /// the next delivery continues has none.
    private static func text(of delivery: WatchDelivery, from first: Revision) -> String {
        guard case .events(let events, let continues) = delivery.content else { return comment }
        // An id without an event moves Last-Event-ID on and tells the reader nothing.
        if events.isEmpty { return delivery.through < first ? comment : "id: \(delivery.through.rawValue)\n\n" }
        var output = ""
        var rest = events[...]
        while let revision = rest.first?.revision {
            let same = rest.prefix { $0.revision == revision }
            rest = rest.dropFirst(same.count)
            let isPart = continues && rest.isEmpty
            output += event(
                "change", id: isPart ? nil : revision.rawValue,
                .object([
                    .init("revision", .unsigned(revision.rawValue)), .init("events", .list(same.map { json($0) })),
                ]))
        }
        return output
    }

    private static func json(_ event: WatchEvent) -> JSONValue {
        .object([
            .init("kind", .text(event.isDeletion ? "delete" : "put")), .init("kv", Answers.keyValue(event.keyValue)),
            .init("previous", Answers.keyValue(event.previous)),
        ])
    }

    /// The leader of an election at once, then every change of leader or value.
    static func leaders(of name: String, _ context: CallContext) -> EventSource {
        let stream = WatchStream(node: context.node, principal: context.principal)
        let shared = Shared<JSONValue?>(nil)
        @Sendable func ask(linearizable: Bool) async throws(HTTPFailure) -> (Revision, JSONValue) {
            let body = await context.call(.query(.electionLeader(name: name), linearizable: linearizable))
            guard case .query(let reply) = body else {
                if case .failed(let failure) = body { throw HTTPFailure(failure) }
                throw .unexpected
            }
            if case .refused(let refusal) = reply.result { throw HTTPFailure(refusal) }
            guard case .electionLeader(let leader) = reply.result else { throw .unexpected }
            return (reply.revision, Answers.leadership(leader))
        }
        @Sendable func tell(_ revision: Revision, _ leadership: JSONValue) -> String {
            event(
                "leader", id: revision.rawValue,
                .object([.init("revision", .unsigned(revision.rawValue)), .init("leadership", leadership)]))
        }
        return EventSource(
            next: {
                do throws(HTTPFailure) {
                    guard let last = shared.value.withLock({ $0 }) else {
                        let (revision, leadership) = try await ask(linearizable: true)
                        shared.value.withLock { $0 = leadership }
                        stream.start(
                            WatchRequest(.prefix(ClaimIndex.queue(.election, name)), fromRevision: revision.next))
                        return tell(revision, leadership)
                    }
                    while true {
                        switch await stream.next() {
                        case .delivery?:
                            let (revision, leadership) = try await ask(linearizable: false)
                            guard leadership != last else { continue }
                            shared.value.withLock { $0 = leadership }
                            return tell(revision, leadership)
                        case .heartbeat?: return comment
                        case .failed(let failure)?: throw HTTPFailure(failure)
                        case nil: return nil
                        }
                    }
                } catch {
                    stream.cancel()
                    // Once told, the stream is at its end: the next call finds it cancelled.
                    shared.value.withLock { $0 = $0 ?? .null }
                    return event("error", id: nil, error.json)
                }
            }, beat: { stream.beat() }, cancel: { stream.cancel() })
    }

    /// A mutex that closures can share.
    private final class Shared<Value: Sendable>: Sendable {
        let value: Mutex<Value>
        init(_ value: Value) { self.value = Mutex(value) }
    }
}
