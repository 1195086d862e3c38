package import EsperTypes
package import GRPCTransport
import NIOCore

extension InboundCall {
    /// An answer must be on its way before the caller stops listening.
    private static let answerMargin = Duration.milliseconds(50)

    /// When the node has to have answered, on its own clock; nil when the caller waits for as long as it takes.
    ///
    /// Short deadlines keep most of their time; long ones give up the margin.
    package func deadline(from now: Instant) -> Instant? {
        guard let deadline else { return nil }
        let left = Duration.nanoseconds((deadline - .now()).nanoseconds)
        return now + max(left - min(Self.answerMargin, left / 10), .zero)
    }
}
