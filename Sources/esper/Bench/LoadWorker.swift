import EsperClient
import EsperTypes
import NIOCore

/// One client: as soon as an operation has ended, the next one begins, but no sooner than the rate allows.
///
/// At a given rate an operation counts from the moment when it was due, so that waiting for a slow one before it is not
/// left out.
///
/// `@unchecked Sendable`: after it has begun, everything is touched on `client.eventLoop` alone, where the client's
/// callbacks come; before that and after its end, by the one task that made it.
final class LoadWorker<Connection: LoadConnection>: @unchecked Sendable {
    let index: Int
    let client: Connection
    let endpoint: String
    let recorder: HistoryRecorder?
    /// What operations of one client share, once one needs it.
    var state: Connection.WorkerState?
    var random: SplitMix
    var tally = LoadReport.Tally()
    private(set) var process: Int64
    /// Whether the present operation counts.
    private(set) var isMeasured = false

    private let step: any LoadStep<Connection>
    private let interval: UInt64?
    /// When the next operation may begin, at a given rate.
    private var due: UInt64 = 0
    private var window = LoadWindow(from: .max, to: .max)
    private var ended: (@Sendable () -> Void)?

    init(
        index: Int, client: Connection, endpoint: String, recorder: HistoryRecorder?, step: any LoadStep<Connection>,
        interval: UInt64?
    ) {
        self.index = index
        self.client = client
        self.endpoint = endpoint
        self.recorder = recorder
        self.step = step
        self.interval = interval
        random = SplitMix(seed: UInt64(index) &* 0x9e37_79b9_7f4a_7c15 &+ MonotonicClock.nanoseconds())
        process = recorder?.newProcess() ?? 0
    }

    /// Works until the window has passed; `ended` is called on the event loop.
    func begin(_ window: LoadWindow, ended: @escaping @Sendable () -> Void) {
        client.eventLoop.execute {
            self.window = window
            self.ended = ended
            // Clients take turns.
            self.due = MonotonicClock.nanoseconds() + (self.interval.map { self.random.next() % $0 } ?? 0)
            self.next()
        }
    }

    private func next() {
        let now = MonotonicClock.nanoseconds()
        guard now < window.to else {
            ended?()
            ended = nil
            return
        }
        guard let interval else { return perform(from: now) }
        guard due <= now else {
            client.eventLoop.scheduleTask(in: .nanoseconds(Int64(due - now))) { self.next() }
            return
        }
        due += interval
        perform(from: due - interval)
    }

    private func perform(from start: UInt64) {
        isMeasured = start >= window.from
        step.perform(self) { result in
            let end = MonotonicClock.nanoseconds()
            switch result {
            case .success:
                if self.isMeasured, end <= self.window.to {
                    self.tally.latency.record(nanoseconds: end - start)
                    self.tally.operations[self.endpoint, default: 0] += 1
                }
                self.next()
            case .failure(let error):
                self.tally.failures[error.code, default: 0] += 1
                if error.outcome == .unknown { self.tally.unknownOutcomes += 1 }
                // What fails at once would otherwise fail a million times a second.
                self.client.eventLoop.scheduleTask(in: .milliseconds(1)) { self.next() }
            }
        }
    }

    /// Times a part of an operation.
    func recordPart(_ name: String, since start: UInt64) {
        guard isMeasured else { return }
        tally.parts[name, default: Histogram()].record(nanoseconds: MonotonicClock.nanoseconds() - start)
    }

    /// After an unknown outcome nobody may be seen to go on under the same name.
    func renewProcess() {
        if let recorder { process = recorder.newProcess() }
    }

    /// Records an operation that has ended, when somebody asked for a history.
    func record(
        _ model: String, _ op: String, key: String, input: JSON = .null, call: Int64, answer: Result<JSON, EsperError>
    ) {
        guard let recorder else { return }
        recorder.record(
            process: process, model: model, op: op, key: key, input: input, call: call, node: endpoint, answer: answer)
        if case .failure(let error) = answer, error.outcome == .unknown { renewProcess() }
    }
}

/// When operations count: those that begin and end inside.
struct LoadWindow: Sendable {
    var from: UInt64
    var to: UInt64
}

/// What a client of a closed loop asks through.
protocol LoadConnection: Sendable {
    /// What a client keeps from one operation to the next.
    associatedtype WorkerState: Sendable

    /// Where answers come.
    var eventLoop: any EventLoop { get }

    func close()
}

extension EsperClient: LoadConnection {
    /// What locks are attached to.
    typealias WorkerState = Session
}

/// An operation that a closed loop repeats.
protocol LoadStep<Connection>: Sendable {
    associatedtype Connection: LoadConnection

    /// Called on the worker's event loop; so is `completion`, once.
    func perform(_ worker: LoadWorker<Connection>, completion: @escaping @Sendable (Result<Void, EsperError>) -> Void)
}

/// A small generator, good enough to choose keys: SplitMix64 (Steele, Lea, Flood 2014).
package struct SplitMix: RandomNumberGenerator, Sendable {
    private var state: UInt64

    package init(seed: UInt64) { state = seed }

    package mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var value = state
        value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
        return value ^ (value >> 31)
    }
}
