public import NIOCore

/// A call as its caller describes it.
public struct ClientCall: Sendable {
    /// `/package.Service/Method`.
    public var path: String
    /// The request, or the first of them.
    public var message: [UInt8]
    /// How long the caller waits, counted from the submission; the server is told too. Nil: for ever.
    public var timeout: TimeAmount?
    public var metadata: Metadata

    public init(path: String, message: [UInt8], timeout: TimeAmount?, metadata: Metadata = Metadata()) {
        self.path = path
        self.message = message
        self.timeout = timeout
        self.metadata = metadata
    }
}

/// What a unary call brought.
public struct ClientReply: Sendable {
    public let message: [UInt8]
    /// Headers and trailers together.
    public let metadata: Metadata
}

/// How a call failed.
public struct CallFailure: Error, Sendable, CustomStringConvertible {
    public let status: GRPCStatus
    /// Headers and trailers together; empty when the failure was found on this side.
    public let metadata: Metadata
    /// Whether the server may have acted on the call. False: it certainly has not seen it.
    public let mayHaveArrived: Bool

    public init(_ status: GRPCStatus, metadata: Metadata = Metadata(), mayHaveArrived: Bool) {
        self.status = status
        self.metadata = metadata
        self.mayHaveArrived = mayHaveArrived
    }

    public var description: String { status.description }
}

/// What happens on a streaming call, told on the event loop of its connection.
public enum ClientStreamEvent: Sendable {
    /// The server has begun to answer.
    case began(Metadata)
    /// Give its window back with ``ClientStream/acknowledge(messageBytes:)`` once it is digested.
    case message([UInt8])
    /// The last event.
    case ended(Result<Metadata, CallFailure>)
}

/// A call under way. May be used from any thread.
///
/// `@unchecked Sendable`: `connection` and `call` are constants; every variable is touched only on the event
/// loop of the connection.
public final class ClientStream: @unchecked Sendable {
    enum Handler: Sendable {
        case unary(@Sendable (Result<ClientReply, CallFailure>) -> Void)
        case streaming(@Sendable (ClientStreamEvent) -> Void)
        /// It has had its last word, and is let go of: it may hold the stream itself.
        case over
    }

    let connection: ClientConnection
    let call: ClientCall
    let endsWithFirstMessage: Bool

    // Loop-confined from here on.
    var handler: Handler
    var id: Int32 = 0
    var isEnded = false
    var wasSent = false
    var deadline: NIODeadline?
    var outbound = OutboundMessages()
    var isHalfClosed: Bool
    var isDeferred = false
    /// Called, once each, when there is room again for requests.
    var roomWaiters: [@Sendable () -> Void] = []
    var assembler = MessageAssembler()
    var ahead = WindowAdvance()
    var reply: [UInt8]?
    var httpStatus = 0
    var status: GRPCCode?
    var statusMessage = ""
    var metadata = Metadata()
    var headerBytes = 0
    var hasBegun = false
    var failure: GRPCStatus?

    init(connection: ClientConnection, call: ClientCall, handler: Handler, endsWithFirstMessage: Bool) {
        self.connection = connection
        self.call = call
        self.handler = handler
        self.endsWithFirstMessage = endsWithFirstMessage
        isHalfClosed = endsWithFirstMessage
    }

    /// Gives the call up; it fails with `cancelled`, unless it has ended.
    public func cancel() { connection.post(.cancel(self)) }

    /// Sends another request of a streaming call.
    public func send(_ message: [UInt8]) { connection.post(.send(self, message)) }

    /// Calls `body` once, when less than ``TransportOptions/streamCreditBytes`` of requests are queued or the call has ended: when to
    /// send more. On the event loop of the connection, and quick.
    public func whenRoom(_ body: @escaping @Sendable () -> Void) { connection.post(.awaitRoom(self, body)) }

    /// No more requests.
    public func halfClose() { connection.post(.halfClose(self)) }

    /// Lets the server send as much again as a message took of the window.
    public func acknowledge(messageBytes: Int) { connection.post(.acknowledge(self, messageBytes)) }
}
