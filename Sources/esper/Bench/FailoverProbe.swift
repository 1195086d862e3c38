import EsperClient
import EsperTypes
import NIOCore
import NIOPosix

/// A trickle of puts around a fault, and how long none of them succeeded.
///
/// A new put begins every `period`, whatever became of the earlier ones. It asks one endpoint after another, beginning
/// with a different one each time, and the next at once when one fails; each attempt has its own limit and is made once.
///
/// `@unchecked Sendable`: everything is touched on `eventLoop` alone; the entry points hop there.
final class FailoverProbe: @unchecked Sendable {
    struct Finding: Sendable {
        /// From the fault to the first success of a put that began after it; nil when there was none.
        var window: Duration?
        /// From the fault to when the kernel closed the process's connections, if it ended.
        var ending: Duration?
        /// The longest time without any success, before, during or after.
        var longestGap: Duration
        var puts: Int
        var failed: Int
    }

    private let eventLoop: any EventLoop
    private let clients: [EsperClient]
    private let value = [UInt8](repeating: UInt8(ascii: "x"), count: 256)
    private var number = 0
    private var inFlight = 0
    private var failed = 0
    private var faultAt: UInt64?
    private var closedAt: UInt64?
    private var firstSuccess: UInt64?
    private var lastSuccess: UInt64
    private var longestGap: UInt64 = 0
    private var isStopping = false
    private var trickle: RepeatedTask?
    private var finished: EventLoopPromise<Finding>

    /// - Parameter clients: one per endpoint, each making one attempt; or a single one, which tries as it sees fit.
    init(_ clients: [EsperClient], on eventLoop: any EventLoop) {
        self.clients = clients
        self.eventLoop = eventLoop
        lastSuccess = MonotonicClock.nanoseconds()
        finished = eventLoop.makePromise()
    }

    func begin(period: TimeAmount) {
        trickle = eventLoop.scheduleRepeatedTask(initialDelay: .zero, delay: period) { _ in self.put() }
    }

    /// The fault has happened now.
    func faulted() {
        let now = MonotonicClock.nanoseconds()
        eventLoop.execute { self.faultAt = now }
    }

    /// A connection to the node that was lost has closed; on `eventLoop`.
    func connectionsClosed() { closedAt = MonotonicClock.nanoseconds() }

    /// Whether a put that began after the fault has succeeded.
    var hasRecovered: EventLoopFuture<Bool> { eventLoop.submit { self.firstSuccess != nil } }

    /// Begins no more puts and waits for those under way.
    func stop() -> EventLoopFuture<Finding> {
        eventLoop.execute {
            self.trickle?.cancel()
            self.isStopping = true
            self.finishIfIdle()
        }
        return finished.futureResult
    }

    private func put() {
        let start = MonotonicClock.nanoseconds()
        number += 1
        inFlight += 1
        attempt(0, of: number, start: start)
    }

    private func attempt(_ attempt: Int, of put: Int, start: UInt64) {
        let client = clients[(put + attempt) % clients.count]
        client.startPut(Bytes.of("failover/\(put % 1000)"), value) { result in
            switch result {
            case .success: self.succeeded(start)
            case .failure where attempt + 1 < self.clients.count: self.attempt(attempt + 1, of: put, start: start)
            case .failure:
                self.failed += 1
                self.ended()
            }
        }
    }

    private func succeeded(_ start: UInt64) {
        let now = MonotonicClock.nanoseconds()
        longestGap = max(longestGap, now - lastSuccess)
        lastSuccess = now
        if let faultAt, firstSuccess == nil, start > faultAt { firstSuccess = now }
        ended()
    }

    private func ended() {
        inFlight -= 1
        finishIfIdle()
    }

    private func finishIfIdle() {
        guard isStopping, inFlight == 0 else { return }
        let window = faultAt.flatMap { fault in firstSuccess.map { Duration.nanoseconds(Int64($0 - fault)) } }
        let ending = faultAt.flatMap { fault in
            closedAt.flatMap { $0 > fault ? Duration.nanoseconds(Int64($0 - fault)) : nil }
        }
        finished.succeed(
            Finding(
                window: window, ending: ending, longestGap: .nanoseconds(Int64(longestGap)), puts: number,
                failed: failed))
    }
}
