import Coordination
import DequeModule
import EsperTypes
import EtcdProtocol
import FoundationEssentials
import GRPCTransport
import NIOCore
import RaftRuntime
import SwiftProtobuf

/// A call of `Watch`: any number of watches that come and go on one stream.
///
/// Each is a watch of the node, whose deliveries become responses. What a slow reader has not taken is owed to the
/// node as credit, so it is served from history again and costs no memory here.
final class WatchStream: OpenCall {
    private struct Watch {
        /// Names it to the node.
        var token: UInt64
        var mayFragment: Bool
        var notifiesProgress: Bool
        /// Events of a revision that goes on in the next delivery, while the reader wants it whole: whoever comes back after
        /// a lost connection asks for the revision after the last that it was told of.
        var held: [WatchEvent] = []
        var owedCredit = 0
        var lastTold: Instant
    }

    /// Something that the reader is to be told.
    private enum Told {
        case response(EtcdWatchResponse)
        /// Costs little before it becomes a message: the keys and values are those of the history.
        case events(ArraySlice<WatchEvent>, of: Int64, through: Revision, isFragment: Bool)
    }

    /// A progress request that not every watch has answered.
    private struct ProgressRound {
        var awaited: Set<Int64>
        var revision: Revision
    }

    /// As often as etcd says how far a silent watch has come.
    private static let progressInterval = Duration.seconds(600)
    /// About as much as a message for a reader that takes fragments holds.
    private static let fragmentBytes = 1 << 20
    /// Requests whose answers wait for a reader that takes none.
    private static let maximumWaitingResponses = 4096
    /// What an answer that belongs to no watch names.
    private static let noWatch: Int64 = -1

    private unowned let lane: EtcdLane
    private let caller: Caller
    private let principal: String
    private var watches: [Int64: Watch] = [:]
    private var nextID: Int64 = 0
    private var isBlocked = false
    /// What the reader is told when it has taken what it was sent; in order.
    private var waiting: Deque<Told> = []
    /// Of ``waiting``: answers to requests, which no credit bounds.
    private var waitingResponses = 0
    private var round: ProgressRound?
    private var progressTimer: Scheduled<Void>?

    static func begin(_ call: EtcdCall, in lane: EtcdLane) {
        call.caller.begin()
        lane.keep(WatchStream(call, lane), for: call.caller)
    }

    private init(_ call: EtcdCall, _ lane: EtcdLane) {
        self.lane = lane
        caller = call.caller
        principal = call.principal
    }

    // MARK: - Requests

    func received(_ message: [UInt8]) {
        defer { caller.acknowledge(bytes: message.count) }
        guard let request = try? EtcdWatchRequest(serializedBytes: message) else {
            return finish(GRPCStatus(.invalidArgument, "the request is not a valid message"))
        }
        switch request.requestUnion {
        case .createRequest(let create): self.create(create)
        case .cancelRequest(let cancel): self.cancel(cancel.watchID)
        case .progressRequest: askProgress()
        case nil: break
        }
    }

    func halfClosed() { finish(.ok) }

    func draining() { finish(EtcdFailure.stopped.status) }

    func ended() {
        for watch in watches.values { lane.giveUp(watch.token) }
        watches = [:]
        waiting = []
        progressTimer?.cancel()
    }

    private func finish(_ status: GRPCStatus) {
        ended()
        lane.finish(caller, status)
    }

    private func create(_ request: EtcdWatchCreateRequest) {
        let range = KeyRange(
            anyKey: request.key.isEmpty ? [0] : [UInt8](request.key), [UInt8](request.rangeEnd))
        guard !range.isEmpty else { return refuse("mvcc: watcher range is empty") }
        guard request.watchID == 0 || watches[request.watchID] == nil else {
            return refuse("mvcc: duplicate watch ID provided on the WatchStream")
        }
        let id = request.watchID == 0 ? freeID() : request.watchID
        // Answered before anything of the watch: the revision it begins at, and that it is there.
        // While permissions are in force, the question is one that needs what the watch needs.
        let question = lane.node.auth.isEnabled ? Query.range(RangeRequest(range, countOnly: true)) : .summary
        lane.ask(
            .query(question, linearizable: false), principal, deadline: .distantFuture,
            .then { [self] body in
                if let failure = EtcdFailure(body) { return refuse(id, request.watchID, failure) }
                guard case .query(let reply) = body else { return }
                send(
                    .with {
                        $0.header = lane.header(reply.revision)
                        $0.watchID = id
                        $0.created = true
                    })
            })
        let operation = ServiceRequest.Operation.watch(
            WatchRequest(
                range, fromRevision: Revision(wire: request.startRevision), skipsPuts: request.filters.contains(.noput),
                skipsDeletions: request.filters.contains(.nodelete), includesPrevious: request.prevKv))
        let token = lane.ask(
            operation, principal, deadline: .distantFuture, connection: caller.connection,
            .then { [self] in replied(id, $0) })
        watches[id] = Watch(
            token: token, mayFragment: request.fragment, notifiesProgress: request.progressNotify,
            lastTold: NodeClock.now())
        if request.progressNotify { scheduleProgress() }
    }

    private func freeID() -> Int64 {
        while watches[nextID] != nil { nextID += 1 }
        defer { nextID += 1 }
        return nextID
    }

    /// Answers a creation that makes no sense.
    private func refuse(_ reason: String) {
        send(
            .with {
                $0.header = lane.header()
                $0.watchID = Self.noWatch
                $0.created = true
                $0.canceled = true
                $0.cancelReason = reason
            })
    }

    /// Answers a creation that is not permitted.
    private func refuse(_ id: Int64, _ asked: Int64, _ failure: EtcdFailure) {
        guard let watch = watches.removeValue(forKey: id) else { return }
        lane.giveUp(watch.token)
        let status = failure.status
        send(
            .with {
                $0.header = lane.header()
                $0.watchID = asked
                $0.created = true
                $0.canceled = true
                $0.cancelReason =
                    status.code == .permissionDenied
                    ? "rpc error: code = PermissionDenied desc = \(status.message)" : status.message
            })
        round?.awaited.remove(id)
        answerProgress()
    }

    private func cancel(_ id: Int64) {
        guard let watch = watches.removeValue(forKey: id) else { return }
        lane.giveUp(watch.token)
        send(
            .with {
                $0.header = lane.header()
                $0.watchID = id
                $0.canceled = true
            })
        round?.awaited.remove(id)
        answerProgress()
    }

    // MARK: - Deliveries

    private func replied(_ id: Int64, _ body: ServiceReply.Body) {
        guard case .watch(let delivery) = body else { return ended(id, body) }
        guard case .events(let events, let continues) = delivery.content, !events.isEmpty else {
            return progressed(id, delivery.through)
        }
        tell(id, events, continues: continues, through: delivery.through)
    }

    private func tell(_ id: Int64, _ events: [WatchEvent], continues: Bool, through: Revision) {
        guard var watch = watches[id] else { return }
        let cost = events.reduce(0) { $0 + $1.cost }
        watch.held.append(contentsOf: events)
        let isWhole = !continues || watch.mayFragment
        var told: [WatchEvent] = []
        if isWhole {
            swap(&told, &watch.held)
            watch.lastTold = NodeClock.now()
        }
        watches[id] = watch
        if isWhole { send(told[...], of: id, through, inFragments: watch.mayFragment, continues: continues) }
        giveCredit(cost, to: id)
    }

    /// In one message, however large, unless the reader takes fragments.
    private func send(
        _ events: ArraySlice<WatchEvent>, of id: Int64, _ through: Revision, inFragments: Bool, continues: Bool
    ) {
        var rest = events
        repeat {
            var bytes = 0
            let part =
                inFragments
                ? rest.prefix { event in
                    defer { bytes += event.cost }
                    return bytes < Self.fragmentBytes
                } : rest
            rest = rest.dropFirst(part.count)
            waiting.append(
                .events(part, of: id, through: through, isFragment: inFragments && (continues || !rest.isEmpty)))
        } while !rest.isEmpty
        sendWaiting()
    }

    private func giveCredit(_ bytes: Int, to id: Int64) {
        guard let token = watches[id]?.token else { return }
        if isBlocked { watches[id]!.owedCredit += bytes } else { lane.tell(token, .watchCredit(bytes: bytes)) }
    }

    func writable() {
        isBlocked = false
        sendWaiting()
        guard !isBlocked else { return }
        for (id, watch) in watches where watch.owedCredit > 0 {
            watches[id]!.owedCredit = 0
            lane.tell(watch.token, .watchCredit(bytes: watch.owedCredit))
        }
    }

    /// A watch that the node has ended.
    private func ended(_ id: Int64, _ body: ServiceReply.Body) {
        guard watches.removeValue(forKey: id) != nil else { return }
        var response = EtcdWatchResponse.with {
            $0.header = lane.header()
            $0.watchID = id
            $0.canceled = true
        }
        switch body {
        case .failed(let failure) where failure.code == .compacted:
            response.compactRevision = Int64((failure.compacted ?? .zero).rawValue)
        case .failed(let failure) where failure.code == .draining:
            return finish(EtcdFailure.stopped.status)
        default: response.cancelReason = (EtcdFailure(body) ?? .unexpected).status.message
        }
        send(response)
        round?.awaited.remove(id)
        answerProgress()
    }

    private func send(_ response: EtcdWatchResponse) {
        waiting.append(.response(response))
        waitingResponses += 1
        guard waitingResponses <= Self.maximumWaitingResponses else {
            return finish(EtcdFailure.tooManyRequests.status)
        }
        sendWaiting()
    }

    /// As much as there is credit for: one message may be as large as a revision is.
    private func sendWaiting() {
        while !isBlocked, let told = waiting.popFirst() {
            guard let message = message(told) else { return finish(EtcdFailure.unexpected.status) }
            lane.touch(caller)
            if !caller.send(message) { isBlocked = true }
        }
    }

    private func message(_ told: Told) -> [UInt8]? {
        switch told {
        case .response(let response):
            waitingResponses -= 1
            return try? response.serializedBytes()
        case .events(let events, let id, let through, let isFragment):
            return EtcdAnswer.events(events, watch: id, isFragment: isFragment, lane.header(through))
        }
    }

    // MARK: - Progress

    private func askProgress() {
        round = ProgressRound(awaited: Set(watches.keys), revision: lane.node.revision)
        for watch in watches.values { lane.tell(watch.token, .watchProgress) }
        answerProgress()
    }

    private func progressed(_ id: Int64, _ through: Revision) {
        guard let watch = watches[id] else { return }
        if round?.awaited.remove(id) != nil {
            round!.revision = max(round!.revision, through)
            return answerProgress()
        }
        guard watch.notifiesProgress else { return }
        watches[id]!.lastTold = NodeClock.now()
        send(
            .with {
                $0.header = lane.header(through)
                $0.watchID = id
            })
    }

    private func answerProgress() {
        guard let round, round.awaited.isEmpty else { return }
        self.round = nil
        send(
            .with {
                $0.header = lane.header(round.revision)
                $0.watchID = Self.noWatch
            })
    }

    private func scheduleProgress() {
        guard progressTimer == nil else { return }
        let stream = NIOLoopBound(self, eventLoop: lane.eventLoop)
        progressTimer = lane.eventLoop.scheduleTask(in: .nanoseconds(Self.progressInterval.nanoseconds / 2)) {
            stream.value.progressIsDue()
        }
    }

    private func progressIsDue() {
        progressTimer = nil
        let due = NodeClock.now() - Self.progressInterval
        var goesOn = false
        for watch in watches.values where watch.notifiesProgress {
            goesOn = true
            if watch.lastTold <= due, !isBlocked { lane.tell(watch.token, .watchProgress) }
        }
        lane.endTurn()
        if goesOn { scheduleProgress() }
    }
}
