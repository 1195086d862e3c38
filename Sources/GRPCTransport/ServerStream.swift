internal import NIOCore

/// What a server knows of one stream.
///
///     headers ──► open ──► remote closed          (the caller's half)
///     idle ──► answering ──► finished             (ours; a refusal goes straight to finished)
final class ServerStream {
    /// Ours, towards the caller.
    enum Answering {
        case idle
        /// Headers are submitted; messages may follow.
        case answering
        /// The end is submitted, or waits behind queued messages.
        case finished
    }

    let id: Int32
    /// Position in the ``MethodRouter``, or one of the numbers below zero that ``ServerConnection`` gives.
    var route = ServerConnection.unknownMethod
    /// Whose call it is; of those that belong to nobody, who speaks for it.
    var service = 0
    /// The number that the service gave its method.
    var method = 0
    var kind = MethodTable.Kind.unary
    /// Whether a service knows of it, as opposed to what the connection answers by itself.
    var isKnown: Bool { route >= 0 }
    var isPost = false
    var isGRPC = false
    var acceptsTrailers = false
    var refusal: GRPCStatus?
    var refusalReason = TransportRefusal.malformed
    var headerBytes = 0
    var deadline: NIODeadline?
    var metadata = Metadata()

    /// The caller's fields are complete; whatever comes under that name again are trailers.
    var isOpen = false
    var isRemoteClosed = false
    var assembler = MessageAssembler()
    var ahead = WindowAdvance()
    var request: [UInt8]?
    /// Of whole messages, in the connection's `bufferedBytes`.
    var heldBytes = 0

    var answering = Answering.idle
    var outbound = OutboundMessages()
    /// The body is being sent; false until the first message, and for answers that have none.
    var hasBody = false
    /// The codec has been told that there is nothing to send for now.
    var isDeferred = false
    var lacksCredit = false
    /// The answer is a unary one, counted in the connection's `queuedAnswerBytes`.
    var isReply = false
    var trailers: (GRPCStatus, Metadata)?

    init(_ id: Int32) { self.id = id }
}
