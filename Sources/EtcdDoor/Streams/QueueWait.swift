import Coordination
import EsperTypes
import EtcdProtocol
import FoundationEssentials
import GRPCTransport
import NIOCore
import RaftRuntime
import SwiftProtobuf

/// A call of `Lock` or `Campaign`: a key in a queue, and the wait until it is the first.
///
/// The queue is the recipe of etcd's clients: keys `NAME/LEASE`, each attached to its lease, of which the one with the
/// lowest create revision holds. So locks taken here, by a client's own recipe and (as `_lock/NAME`) by Esper's other
/// doors keep each other out.
final class QueueWait: OpenCall {
    private unowned let lane: EtcdLane
    private let caller: Caller
    private let method: EtcdMethod
    private let principal: String
    /// Nil: for as long as it takes.
    private let deadline: Instant?
    private let name: [UInt8]
    private let value: [UInt8]
    private var lease: Int64
    private var key: [UInt8] = []
    private var created = Revision.zero
    private var watch: UInt64?
    private var timer: Scheduled<Void>?
    private var isOver = false

    /// What a lease of its own is granted for; nobody extends it, as in etcd.
    private static let ownLease = Duration.seconds(60)

    static func begin(_ call: EtcdCall, deadline: Instant?, in lane: EtcdLane) throws {
        let wait = try QueueWait(call, deadline, lane)
        lane.keep(wait, for: call.caller)
        wait.start()
    }

    private init(_ call: EtcdCall, _ deadline: Instant?, _ lane: EtcdLane) throws {
        self.lane = lane
        self.deadline = deadline
        caller = call.caller
        method = call.method
        principal = call.principal
        if call.method == .lock {
            let request = try EtcdLockRequest(serializedBytes: call.message)
            (name, lease, value) = ([UInt8](request.name), request.lease, [])
        } else {
            let request = try EtcdCampaignRequest(serializedBytes: call.message)
            (name, lease, value) = ([UInt8](request.name), request.lease, [UInt8](request.value))
        }
        guard lease >= 0 else { throw EtcdFailure.leaseNotFound }
    }

    // MARK: - Steps

    private func start() {
        if let deadline {
            let wait = NIOLoopBound(self, eventLoop: lane.eventLoop)
            let left = deadline - NodeClock.now()
            timer = lane.eventLoop.scheduleTask(in: .nanoseconds(left.nanoseconds)) { wait.value.timeIsUp() }
        }
        guard lease == 0 else { return enqueue() }
        guard let terms = try? LeaseTerms(.with { $0.ttl = Self.ownLease.wholeSeconds }) else {
            return fail(.unexpected)
        }
        ask(.command(terms.command, nil)) { [self] body in
            guard case .command(let reply) = body, case .sessionGranted(let session, _) = reply.result else {
                return fail(EtcdFailure(body) ?? .unexpected)
            }
            lease = session.lease
            enqueue()
        }
    }

    private func enqueue() {
        let queue = EtcdQueue(name)
        key = queue.key(of: lease)
        ask(.command(.transaction(queue.entry(lease, value)), nil)) { [self] body in
            guard case .command(let reply) = body, case .transaction(let entry) = reply.result else {
                return fail(EtcdFailure(body) ?? .unexpected)
            }
            guard let places = EtcdQueue.Places(entry, at: reply.revision) else { return fail(.unexpected) }
            created = places.own.createRevision
            if !entry.succeeded, method == .campaign, places.own.value != value { proclaim() }
            if places.first == created { return granted(reply.revision) }
            lookAhead()
        }
    }

    /// The candidate stood already, with another value.
    private func proclaim() {
        let put = Transaction(
            compares: [Compare(.key(key), .equal, .createRevision(created))],
            success: [.put(Command.Put(key: key, value: value, session: SessionID(lease: lease)))])
        ask(.command(.transaction(put), nil)) { [self] body in
            if let failure = EtcdFailure(body) { fail(failure) }
        }
    }

    /// Finds who is next in front: when nobody is, the key holds.
    private func lookAhead() {
        let range = RangeRequest(
            .prefix(EtcdQueue(name).prefix), limit: 1, keysOnly: true,
            sort: RangeRequest.Sort(by: .createRevision, .descending), maximumCreateRevision: created.previous)
        ask(
            .query(
                .transaction(Transaction(success: [.range(RangeRequest(.key(key))), .range(range)])),
                linearizable: false)
        ) { [self] body in
            guard case .query(let reply) = body, case .transaction(let found) = reply.result,
                case .range(let own) = found.replies.first, case .range(let ahead) = found.replies.last
            else { return fail(EtcdFailure(body) ?? .unexpected) }
            guard own.keyValues.first?.createRevision == created else { return fail(.sessionExpired) }
            guard let next = ahead.keyValues.first else { return granted(reply.revision) }
            wait(for: next.key, after: reply.revision)
        }
    }

    private func wait(for other: [UInt8], after revision: Revision) {
        let token = lane.ask(
            .watch(WatchRequest(.key(other), fromRevision: revision.next, skipsPuts: true)), principal,
            deadline: .distantFuture, connection: caller.connection,
            .then { [self] body in
                guard !isOver else { return }
                watch.map(lane.giveUp)
                watch = nil
                switch body {
                case .watch: lookAhead()
                // What happened meanwhile is not known any more; the present is.
                case .failed(let failure) where failure.code == .compacted: lookAhead()
                default: fail(EtcdFailure(body) ?? .unexpected)
                }
            })
        watch = token
    }

    // MARK: - Ends

    private func granted(_ revision: Revision) {
        guard !isOver else { return }
        over()
        let header = lane.header(revision)
        if method == .lock {
            lane.reply(
                caller,
                EtcdLockResponse.with {
                    $0.header = header
                    $0.key = Data(key)
                })
        } else {
            lane.reply(
                caller,
                EtcdCampaignResponse.with {
                    $0.header = header
                    $0.leader.name = Data(name)
                    $0.leader.key = Data(key)
                    $0.leader.rev = Int64(created.rawValue)
                    $0.leader.lease = lease
                })
        }
    }

    private func fail(_ failure: EtcdFailure) {
        guard !isOver else { return }
        leave()
        lane.finish(caller, failure.status)
    }

    private func timeIsUp() {
        guard !isOver else { return }
        leave()
        lane.finish(caller, GRPCStatus(.deadlineExceeded, "the lock was another's until the deadline"))
        lane.endTurn()
    }

    func ended() {
        if !isOver { leave() }
    }

    /// Takes the key out of the queue again: nobody waits for it any more.
    private func leave() {
        over()
        guard !key.isEmpty else { return }
        lane.ask(
            .command(.delete(Command.Delete(.key(key))), nil), principal,
            deadline: NodeClock.now() + EtcdLane.defaultTimeout, .then { _ in })
    }

    private func over() {
        isOver = true
        timer?.cancel()
        watch.map(lane.giveUp)
        watch = nil
    }

    private func ask(_ operation: ServiceRequest.Operation, _ proceed: @escaping (ServiceReply.Body) -> Void) {
        let limit = NodeClock.now() + EtcdLane.defaultTimeout
        lane.ask(
            operation, principal, deadline: min(limit, deadline ?? limit),
            .then { [self] in if !isOver { proceed($0) } })
    }
}
