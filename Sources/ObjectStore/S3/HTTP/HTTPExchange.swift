internal import NIOCore
internal import NIOHTTP1

/// One request with what becomes of it.
struct HTTPExchange: Sendable {
    var head: HTTPRequestHead
    var body: [UInt8]
    /// Longer answers are given up.
    var maximumAnswerBytes: Int
    /// The connection is given up when nothing has moved for this long,
    var patience: TimeAmount
    /// or at this moment at the latest.
    var deadline: NIODeadline
    /// Fails with ``ObjectStoreError``.
    var answer: EventLoopPromise<HTTPAnswer>
}
