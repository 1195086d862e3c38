internal import Coordination
internal import EsperTypes
internal import KernelCache
internal import RaftRuntime

/// What an operation knows besides its fields: who asks, of which node, and for how long.
struct CallContext: Sendable {
    var node: NodeHandle
    var cache: (any ArtifactCache)?
    var principal: String
    var facts: @Sendable () -> NodeFacts
    /// The client's `timeout`, or the default.
    var timeout: Duration
    /// Whether the client gave the timeout; otherwise a wait adds to it.
    var isTimeoutGiven: Bool
    var maximumTimeout: Duration
    /// The id of the last event the client has seen, when it resumes a stream.
    var lastEventID: String?

    func call(_ operation: ServiceRequest.Operation) async -> ServiceReply.Body {
        await node.call(operation, principal: principal, timeout: timeout)
    }

    /// A lock acquisition or campaign that waits for its grant: for `wait`, within the client's own timeout if it gave
    /// one.
    func claim(_ command: Command, _ id: RequestID?, wait: Duration) async -> ServiceReply.Body {
        let limit = min(isTimeoutGiven ? timeout : timeout + wait, maximumTimeout)
        let now = NodeClock.now()
        // Leaving the queue takes a command of its own.
        let until = now + min(wait, limit - min(Self.leavingTime, limit / 4))
        return await node.call(.claim(command, id, until: until), principal: principal, timeout: limit)
    }

    private static let leavingTime = Duration.milliseconds(500)
}

extension Duration {
    var milliseconds: UInt64 {
        UInt64(clamping: components.seconds * 1000 + components.attoseconds / 1_000_000_000_000_000)
    }
}
