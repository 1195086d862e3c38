/// The messages of one direction of a call that wait for the peer's window, framed as they leave.
package struct OutboundMessages {
    private var current: [UInt8]?
    /// Position in the frame of `current`: the first five bytes are its prefix.
    private var position = 0
    private var waiting: [[UInt8]] = []
    private var waitingHead = 0

    package init() {}

    /// Bytes that have not left, prefixes included.
    package private(set) var queuedBytes = 0

    package var isEmpty: Bool { current == nil }

    package mutating func append(_ message: [UInt8]) {
        queuedBytes += message.count + MessageAssembler.prefixBytes
        if current == nil {
            current = message
            position = 0
        } else {
            waiting.append(message)
        }
    }

    /// Fills `target` as far as there is something to send.
    ///
    /// - Returns: the bytes written.
    package mutating func read(into target: UnsafeMutableRawBufferPointer) -> Int {
        var written = 0
        while let message = current, written < target.count {
            let length = UInt32(truncatingIfNeeded: message.count)
            while position < MessageAssembler.prefixBytes, written < target.count {
                target[written] = position == 0 ? 0 : UInt8(truncatingIfNeeded: length >> UInt32(8 * (4 - position)))
                position += 1
                written += 1
            }
            let offset = position - MessageAssembler.prefixBytes
            let count = min(message.count - max(offset, 0), target.count - written)
            if offset >= 0, count > 0 {
                message.withUnsafeBytes { bytes in
                    target.baseAddress!.advanced(by: written)
                        .copyMemory(from: bytes.baseAddress!.advanced(by: offset), byteCount: count)
                }
                position += count
                written += count
            }
            guard position == message.count + MessageAssembler.prefixBytes else { break }
            advance()
        }
        queuedBytes -= written
        return written
    }

    private mutating func advance() {
        position = 0
        guard waitingHead < waiting.count else {
            current = nil
            waiting.removeAll(keepingCapacity: waiting.count <= 64)
            waitingHead = 0
            return
        }
        current = waiting[waitingHead]
        waiting[waitingHead] = []
        waitingHead += 1
        if waitingHead >= 64, waitingHead * 2 >= waiting.count {
            waiting.removeFirst(waitingHead)
            waitingHead = 0
        }
    }
}
