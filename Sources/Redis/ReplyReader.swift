internal import CHiredis
package import NIOCore

/// Turns received bytes into replies with hiredis's reader.
///
/// It is confined to one event loop. Pointers stay in this file: each reply is copied into Swift values and freed before
/// ``next()`` returns. After an error it is of no more use.
///
/// Bounds: an unfinished reply may take `maximumReplyBytes` on the wire, an array of it 65,536 elements, for which hiredis
/// would otherwise allocate what the other end announces. hiredis itself ends at seven arrays within one another.
package final class ReplyReader {
    private let reader: UnsafeMutablePointer<redisReader>
    private let maximumReplyBytes: Int

    package init(maximumReplyBytes: Int) {
        guard let reader = redisReaderCreate() else { preconditionFailure("hiredis has no memory for a reader") }
        reader.pointee.fn = Self.boundedFunctions
        self.reader = reader
        self.maximumReplyBytes = maximumReplyBytes
    }

    deinit { redisReaderFree(reader) }

    /// Bytes of the reply that has not ended yet.
    private var unfinishedBytes = 0

    package func feed(_ buffer: ByteBuffer) throws(RedisError) {
        unfinishedBytes += buffer.readableBytes
        let status = buffer.withUnsafeReadableBytes { bytes in
            redisReaderFeed(reader, bytes.baseAddress?.assumingMemoryBound(to: CChar.self), bytes.count)
        }
        guard status == REDIS_OK else { throw failure }
    }

    /// The next whole reply; nil when more bytes are needed.
    package func next() throws(RedisError) -> RedisReply? {
        var reply: UnsafeMutableRawPointer?
        guard redisReaderGetReply(reader, &reply) == REDIS_OK else { throw failure }
        guard let reply else {
            guard unfinishedBytes <= maximumReplyBytes else {
                throw RedisError(
                    .malformedAnswer,
                    "Redis sends an answer of more than \(maximumReplyBytes) bytes, which is too large")
            }
            return nil
        }
        defer { freeReplyObject(reply) }
        unfinishedBytes = reader.pointee.len - reader.pointee.pos
        return Self.value(of: reply.assumingMemoryBound(to: redisReply.self).pointee)
    }

    private var failure: RedisError {
        // hiredis names the byte it stumbled over, and nothing else of the data.
        let reason = withUnsafeBytes(of: reader.pointee.errstr) {
            String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
        }
        return RedisError(
            .malformedAnswer, "what Redis sends is not its protocol (\(reason)); is this a Redis server's port?")
    }

    private static func value(of reply: redisReply) -> RedisReply {
        switch reply.type {
        case REDIS_REPLY_STRING: .bytes(Array(bytes(of: reply)))
        case REDIS_REPLY_STATUS: .status(String(decoding: bytes(of: reply), as: UTF8.self))
        case REDIS_REPLY_ERROR: .error(RedisError(answer: String(decoding: bytes(of: reply), as: UTF8.self)))
        case REDIS_REPLY_INTEGER: .integer(reply.integer)
        case REDIS_REPLY_ARRAY:
            .array(
                UnsafeBufferPointer(start: reply.element, count: reply.elements).map { element in
                    element.map { value(of: $0.pointee) } ?? .null
                })
        default: .null
        }
    }

    private static func bytes(of reply: redisReply) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: reply.str, count: reply.len)
    }

    // MARK: Bounds

    private static let maximumElements: Int32 = 65_536

    /// hiredis's own, as a new reader has them.
    private static let ownFunctions: redisReplyObjectFunctions = {
        guard let reader = redisReaderCreate() else { preconditionFailure("hiredis has no memory for a reader") }
        defer { redisReaderFree(reader) }
        return reader.pointee.fn.pointee
    }()

    /// The same, but for arrays that are too long, which hiredis takes for a lack of memory. Every reader points here.
    ///
    /// `nonisolated(unsafe)` holds because it is written here alone, before anybody can see it, is only read after that, and is
    /// never freed.
    nonisolated(unsafe) private static let boundedFunctions: UnsafeMutablePointer<redisReplyObjectFunctions> = {
        let functions = UnsafeMutablePointer<redisReplyObjectFunctions>.allocate(capacity: 1)
        functions.initialize(to: ownFunctions)
        functions.pointee.createArray = { task, elements in
            elements <= ReplyReader.maximumElements ? ReplyReader.ownFunctions.createArray(task, elements) : nil
        }
        return functions
    }()
}
