public import NIOCore

/// Names a call for as long as its connection lives: what an answer is addressed to.
public struct CallHandle: Hashable, Sendable {
    public let connection: ServerConnection
    public let stream: Int32

    public static func == (left: CallHandle, right: CallHandle) -> Bool {
        left.stream == right.stream && left.connection === right.connection
    }

    public func hash(into hasher: inout Hasher) {
        hasher.combine(ObjectIdentifier(connection))
        hasher.combine(stream)
    }
}

/// A call as it reaches its service.
public struct InboundCall: Sendable {
    public let handle: CallHandle
    /// The number from the ``MethodTable``.
    public let method: Int
    /// The whole request; empty for a method of kind `streaming`, whose requests come as events.
    public let message: [UInt8]
    /// When the caller stops waiting; the transport then answers by itself and says so in an event.
    public let deadline: NIODeadline?
    public let metadata: Metadata
}

/// Why a call ended before its service finished it.
public enum CallEnd: Hashable, Sendable {
    case cancelled
    case deadlineExceeded
    case connectionLost
}

/// What happens to a call after it began.
public enum CallEvent: Sendable {
    /// A call of kind `streaming` began.
    case opened(InboundCall)
    /// A request of such a call. Give its window back with ``ServerConnection/acknowledge(_:messageBytes:)``.
    case message(CallHandle, [UInt8])
    /// The caller sends no more requests.
    ///
    /// Answers may go on, and may have begun and ended before.
    case halfClosed(CallHandle)
    /// Less than the credit is queued again, after ``ServerConnection/send(_:on:)`` had said that there is none.
    case writable(CallHandle)
    /// Nothing can be answered any more; later answers are dropped without a word.
    case ended(CallHandle, CallEnd)
}

/// Why the transport ended a call before, or without, its service.
public enum TransportRefusal: Sendable, CaseIterable {
    /// A message, or the metadata, is above its limit.
    case tooLarge
    /// The connection has too many unfinished requests.
    case busy
    /// The server stops.
    case draining
    /// Anything that will be as wrong the next time.
    case malformed
}

/// What answers calls. Called on the event loop of the connection; several loops may call at once.
///
/// Answers are given at once on the same loop (``ServerConnection``), or later from any thread
/// (``ServerConnection/deliver(_:)``).
public protocol GRPCService: AnyObject, Sendable {
    /// Every unary and server-streaming call of this service whose request was completed by one read, in order of completion.
    ///
    /// What is answered before this returns leaves in one write.
    func received(_ calls: [InboundCall], on connection: ServerConnection)

    /// What happened to calls of this service since, in order. Calls that came and went in one read are in both lists.
    func occurred(_ events: [CallEvent], on connection: ServerConnection)

    /// What the end of a call that the transport itself decides tells besides its status.
    func trailers(of refusal: TransportRefusal, _ status: GRPCStatus) -> Metadata

    func connected(_ connection: ServerConnection)
    /// The connection is gone; the end of every call on it was told before.
    func disconnected(_ connection: ServerConnection)

    /// The connection takes no new calls and closes when those that it has are finished: time to end calls that would go on
    /// for ever, with `unavailable`.
    func draining(_ connection: ServerConnection)
}

extension GRPCService {
    public func occurred(_ events: [CallEvent], on connection: ServerConnection) {}
    public func trailers(of refusal: TransportRefusal, _ status: GRPCStatus) -> Metadata { Metadata() }
    public func connected(_ connection: ServerConnection) {}
    public func disconnected(_ connection: ServerConnection) {}
    public func draining(_ connection: ServerConnection) {}
}

/// Something to say on a call, from any thread; see ``ServerConnection/deliver(_:)``.
public struct Answer: Sendable {
    public enum Kind: Sendable {
        /// The headers alone, ahead of the first message.
        case begin
        /// One message and success.
        case reply([UInt8])
        /// One of several messages.
        case message([UInt8])
        /// The end, good or bad.
        case finish(GRPCStatus, Metadata)
    }

    public let call: CallHandle
    public let kind: Kind

    public init(_ call: CallHandle, _ kind: Kind) {
        self.call = call
        self.kind = kind
    }

    public static func begin(_ call: CallHandle) -> Answer { Answer(call, .begin) }

    public static func reply(_ call: CallHandle, _ message: [UInt8]) -> Answer { Answer(call, .reply(message)) }

    public static func message(_ call: CallHandle, _ message: [UInt8]) -> Answer { Answer(call, .message(message)) }

    public static func finish(_ call: CallHandle, _ status: GRPCStatus, _ trailers: Metadata = Metadata()) -> Answer {
        Answer(call, .finish(status, trailers))
    }
}
