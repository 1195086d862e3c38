import GRPCTransport
import NIOCore

/// Whom the answers of a call go to.
enum Caller: Hashable {
    /// A stream of an h2 connection.
    case stream(CallHandle)
    /// A request of the JSON gateway.
    case gateway(GatewayCall)

    /// Answers with one message and success.
    func reply(_ message: [UInt8]) {
        switch self {
        case .stream(let handle): handle.connection.reply(message, on: handle)
        case .gateway(let call):
            _ = call.send(message)
            call.finish(.ok)
        }
    }

    /// Sends one of several messages.
    ///
    /// - Returns: whether there is credit left; after false, wait to be told that there is again.
    func send(_ message: [UInt8]) -> Bool {
        switch self {
        case .stream(let handle): handle.connection.send(message, on: handle)
        case .gateway(let call): call.send(message)
        }
    }

    /// Tells the caller that a stream of answers has begun.
    func begin() {
        if case .stream(let handle) = self { handle.connection.begin(handle) }
    }

    func finish(_ status: GRPCStatus) {
        switch self {
        case .stream(let handle): handle.connection.finish(handle, status)
        case .gateway(let call): call.finish(status)
        }
    }

    /// A request of a stream has been dealt with: another of its size may come.
    func acknowledge(bytes: Int) {
        if case .stream(let handle) = self { handle.connection.acknowledge(handle, messageBytes: bytes) }
    }

    /// Tells connections apart while they have calls, those of other doors too.
    var connection: UInt64 {
        switch self {
        case .stream(let handle): UInt64(UInt(bitPattern: ObjectIdentifier(handle.connection)))
        case .gateway(let call): UInt64(UInt(bitPattern: ObjectIdentifier(call)))
        }
    }
}

/// A call that is more than one question to the node. Confined to its lane's event loop.
protocol OpenCall: AnyObject {
    /// Another request of a call that takes several.
    func received(_ message: [UInt8])
    /// No more requests will come.
    func halfClosed()
    /// There is credit for messages again.
    func writable()
    /// The caller is gone; nothing can be answered any more.
    func ended()
    /// The node stops: a call that would go on for ever ends.
    func draining()
}

extension OpenCall {
    func received(_ message: [UInt8]) {}
    func halfClosed() {}
    func writable() {}
    func draining() {}
}
