import CacheCore
import EsperProtocol
import EsperTypes
import FoundationEssentials
import GRPCTransport
import NIOCore
import RaftRuntime
import SwiftProtobuf
import Synchronization

/// One fetch: gives one blob after the other, as fast as its reader takes them.
final class PeerFetchStream: Sendable {
    private struct State {
        var next = 0
        /// The disk is being read.
        var isReading = false
        var isOver = false
    }

    private let handle: CallHandle
    private let digests: [Digest]
    private let isUse: Bool
    private let responder: any PeerResponder
    private let ended: @Sendable () -> Void
    private let state = Mutex(State())

    init(
        _ handle: CallHandle, _ digests: [Digest], isUse: Bool, _ responder: any PeerResponder,
        ended: @escaping @Sendable () -> Void
    ) {
        self.handle = handle
        self.digests = digests
        self.isUse = isUse
        self.responder = responder
        self.ended = ended
    }

    func stop() { state.withLock { $0.isOver = true } }

    /// On the event loop of the connection.
    func pump() {
        let connection = handle.connection
        while true {
            enum Step {
                case blob(Digest)
                case end
                case nothing
            }
            let step: Step = state.withLock { state in
                if state.isOver || state.isReading { return .nothing }
                guard state.next < digests.count else {
                    state.isOver = true
                    return .end
                }
                return .blob(digests[state.next])
            }
            switch step {
            case .nothing: return
            case .end:
                connection.finish(handle, .ok)
                connection.flushAnswers()
                return ended()
            case .blob(let digest):
                guard let bytes = responder.memoryBlob(digest, isUse: isUse) else { return read(digest) }
                state.withLock { $0.next += 1 }
                guard send(digest, bytes) else { return connection.flushAnswers() }
            }
        }
    }

    /// - Returns: whether there is credit for more.
    private func send(_ digest: Digest, _ bytes: [UInt8]) -> Bool {
        var message = ProtoPeerBlob()
        message.digest = PeerMessages.data([digest])
        message.data = Data(bytes)
        message.strained = responder.isStrained
        guard let encoded: [UInt8] = try? message.serializedBytes() else { return true }
        return handle.connection.send(encoded, on: handle)
    }

    private func fail() {
        stop()
        handle.connection.finish(handle, GRPCStatus(.unavailable, "this node cannot read its disk"))
        handle.connection.flushAnswers()
        ended()
    }

    private func read(_ digest: Digest) {
        state.withLock { $0.isReading = true }
        // Ends by its disk's answer.
        Task {
            let found = try? await self.responder.diskBlobs([digest], deadline: NodeClock.now() + .seconds(5))
            self.handle.connection.eventLoop.execute {
                let isOver = self.state.withLock { state in
                    state.isReading = false
                    state.next += 1
                    return state.isOver
                }
                if isOver { return }
                // To leave it out would say that it is not there.
                guard let found else { return self.fail() }
                let hasCredit = found[digest].map { self.send(digest, $0) } ?? true
                self.handle.connection.flushAnswers()
                if hasCredit { self.pump() }
            }
        }
    }
}
