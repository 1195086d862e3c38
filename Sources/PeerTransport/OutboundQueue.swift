import EsperTypes
package import NIOCore
import RaftCore

/// The bytes on their way out over one link, and the answer when there are too many of them.
///
/// Frames are encoded into one buffer, which leaves whole at the end of a turn; what left counts until the kernel has
/// it. **When full**: a frame that would pass the bound is not queued. A raft message is then dropped, which Raft permits
/// (§5.5: the sender retries), and its sender may know; a forward goes back to its caller. Frames without payload have a
/// reserve above the bound.
package struct OutboundQueue {
    private let bound: Int
    private let reserve: Int
    private var pending = ByteBuffer()
    package private(set) var pendingFrames = 0
    private var inFlightBytes = 0

    package init(bound: Int, reserve: Int) {
        self.bound = bound
        self.reserve = reserve
    }

    /// Bytes that wait here or were written and have not reached the kernel.
    package var bytes: Int { pending.readableBytes + inFlightBytes }

    /// - Returns: nil when the frame is queued.
    package mutating func append(_ frame: PeerFrame, with encoder: inout FrameEncoder, frameLimit: Int) -> DropReason? {
        guard frame.isWithinLimits else { return .tooLarge }
        let room = (frame.hasPayload ? bound : bound + reserve) - bytes
        guard room > 0 else { return .queueFull }
        let start = pending.writerIndex
        let frameBytes = encoder.append(frame, to: &pending)
        guard frameBytes - FrameEncoder.headerBytes <= frameLimit else {
            pending.moveWriterIndex(to: start)
            return .tooLarge
        }
        guard frameBytes <= room else {
            pending.moveWriterIndex(to: start)
            return .queueFull
        }
        pendingFrames += 1
        return nil
    }

    /// Everything queued, now counted as in flight; nil when there is nothing.
    package mutating func take() -> (buffer: ByteBuffer, frames: Int)? {
        guard pending.readableBytes > 0 else { return nil }
        defer {
            pending = ByteBuffer()
            pendingFrames = 0
        }
        inFlightBytes += pending.readableBytes
        return (pending, pendingFrames)
    }

    /// The kernel has them.
    package mutating func written(_ bytes: Int) {
        inFlightBytes -= bytes
        precondition(inFlightBytes >= 0, "\(bytes) B written, \(-inFlightBytes) B more than were in flight")
    }

    /// The link is gone, and with it everything queued for it.
    ///
    /// - Returns: the frames that never left.
    package mutating func clear() -> Int {
        defer {
            pending = ByteBuffer()
            pendingFrames = 0
            inFlightBytes = 0
        }
        return pendingFrames
    }
}

extension PeerFrame {
    /// Whether it carries entries, commands or chunks, whose size somebody else decides.
    package var hasPayload: Bool {
        switch self {
        case .raft(.appendEntries(let message)): !message.entries.isEmpty
        case .raft(.installSnapshot): true
        case .raft: false
        case .forward: true
        case .forwardRefused, .ask, .answer: false
        }
    }

    /// Whether every part is one that the other end's decoder accepts; what it does not would cost the link.
    var isWithinLimits: Bool {
        switch self {
        case .raft(.appendEntries(let message)):
            message.entries.allSatisfy { $0.payload.count <= Limits.entryPayloadBytes }
        case .raft(.installSnapshot(let message)): message.bytes.count <= Limits.snapshotChunkBytes
        case .raft, .forwardRefused: true
        case .forward(_, let proposals): proposals.allSatisfy { $0.envelope.count <= Limits.entryPayloadBytes }
        case .ask(_, let bytes), .answer(_, let bytes): bytes.count <= Self.maximumQuestionBytes
        }
    }

    /// Snapshot chunks must never stand before a heartbeat.
    package var link: LinkKind {
        if case .raft(.installSnapshot) = self { .bulk } else { .main }
    }
}
