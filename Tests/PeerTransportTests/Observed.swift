import EsperTypes
import Logging
import NIOCore
import PeerTransport
import Synchronization

/// One thing that happened at a node under test.
enum Observation: Hashable, Sendable {
    case up(NodeID)
    case down(NodeID, LinkDownReason)
    case excluded(by: NodeID, Exclusion)
    /// A log line: its message, then its reason.
    case log(String, String)
}

/// Collects what a node's delegate and logger are told, and wakes whoever waits for it.
final class Observed: Sendable {
    struct State {
        var observations: [Observation] = []
        var frames: [NodeID: [PeerFrame]] = [:]
        var batches = 0
        fileprivate var waiters: [(isMet: @Sendable (State) -> Bool, promise: EventLoopPromise<Void>)] = []
    }

    struct DeadlineExceeded: Error, CustomStringConvertible {
        var description: String
    }

    private let state = Mutex(State())

    func note(_ observation: Observation) { change { $0.observations.append(observation) } }

    func change(_ body: (inout State) -> Void) {
        let met = state.withLock { state in
            body(&state)
            let seen = state
            state.waiters.removeAll { $0.isMet(seen) }
            let met = seen.waiters.filter { $0.isMet(seen) }
            return met.map(\.promise)
        }
        for promise in met { promise.succeed() }
    }

    var now: State { state.withLock { $0 } }

    /// Returns as soon as the condition holds; throws with what was seen when it does not within ten seconds.
    func wait(
        on loop: any EventLoop, for what: String, until isMet: @escaping @Sendable (State) -> Bool
    ) async throws {
        let promise = loop.makePromise(of: Void.self)
        let isMetAlready = state.withLock { state in
            if isMet(state) { return true }
            state.waiters.append((isMet, promise))
            return false
        }
        if isMetAlready { promise.succeed() }
        let deadline = loop.scheduleTask(in: .seconds(10)) {
            let seen = self.now
            promise.fail(
                DeadlineExceeded(
                    description: "\(what): saw \(seen.observations), frames \(seen.frames.mapValues(\.count))"))
        }
        defer { deadline.cancel() }
        try await promise.futureResult.get()
    }
}

/// A delegate that only remembers.
final class Recorder: PeerDelegate {
    private let observed: Observed

    init(_ observed: Observed) { self.observed = observed }

    func received(_ frames: [PeerFrame], from peer: NodeID) {
        observed.change {
            $0.frames[peer, default: []].append(contentsOf: frames)
            $0.batches += 1
        }
    }

    func linkUp(_ peer: NodeID) { observed.note(.up(peer)) }

    func linkDown(_ peer: NodeID, reason: LinkDownReason) { observed.note(.down(peer, reason)) }

    func excluded(by peer: NodeID, _ exclusion: Exclusion) { observed.note(.excluded(by: peer, exclusion)) }
}

struct RecordingLogHandler: LogHandler {
    let observed: Observed
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.trace

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        observed.note(.log("\(event.message)", event.metadata?["reason"].map { "\($0)" } ?? ""))
    }
}
