import Coordination
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
        /// Events of a revision that goes on in the next delivery, while the reader wants it whole.
        var held: [WatchEvent] = []
        var heldBytes = 0
        var owedCredit = 0
        var lastTold: Instant
    }

    /// A progress request that not every watch has answered.
    private struct ProgressRound {
        var awaited: Set<Int64>
        var revision: Revision
    }

    /// As often as etcd says how far a silent watch has come.
    private static let progressInterval = Duration.seconds(600)
    /// A revision larger than this comes in several messages, whether the reader likes it or not.
    private static let wholeRevisionBytes = 4 << 20
    /// What an answer that belongs to no watch names.
    private static let noWatch: Int64 = -1

    private unowned let lane: EtcdLane
    private let caller: Caller
    private let principal: String
    private var watches: [Int64: Watch] = [:]
    private var nextID: Int64 = 0
    private var isBlocked = false
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
        progressTimer?.cancel()
    }

    private func finish(_ status: GRPCStatus) {
        ended()
        lane.finish(caller, status)
    }

    private func create(_ request: EtcdWatchCreateRequest) {
        let range = KeyRange(anyKey: request.key.isEmpty ? [0] : [UInt8](request.key), request.rangeEnd)
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
        watch.heldBytes += cost
        let isWhole = !continues || watch.mayFragment || watch.heldBytes >= Self.wholeRevisionBytes
        var told: [WatchEvent] = []
        if isWhole {
            swap(&told, &watch.held)
            watch.heldBytes = 0
            watch.lastTold = NodeClock.now()
        }
        watches[id] = watch
        guard isWhole else { return giveCredit(cost, to: id) }
        send(
            .with {
                $0.header = lane.header(through)
                $0.watchID = id
                $0.fragment = continues && watch.mayFragment
                $0.events = told.map(EtcdEvent.init)
            })
        giveCredit(cost, to: id)
    }

    private func giveCredit(_ bytes: Int, to id: Int64) {
        guard let token = watches[id]?.token else { return }
        if isBlocked { watches[id]!.owedCredit += bytes } else { lane.tell(token, .watchCredit(bytes: bytes)) }
    }

    func writable() {
        isBlocked = false
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
        guard let message: [UInt8] = try? response.serializedBytes() else {
            return finish(EtcdFailure.unexpected.status)
        }
        lane.touch(caller)
        if !caller.send(message) { isBlocked = true }
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
        lane.submitQuestions()
        if goesOn { scheduleProgress() }
    }
}
