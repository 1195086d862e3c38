/// What of a stream's window was given back before the messages that took it were acknowledged: for parts of a message larger than
/// the window lets through, and for what was never taken because it came compressed.
///
/// What was given for the unfinished message is kept apart. Nobody can acknowledge that one yet, so an acknowledgement gives back
/// all that the messages before it took; were it set off against the unfinished one, the peer might wait for window and we for
/// the rest of its message.
struct WindowAdvance {
    private var forWhole = 0
    private var forUnfinished = 0

    /// A chunk has come, of which some may belong to an unfinished message.
    ///
    /// A quarter of the window may wait for the end of that message. The codec tells the peer of what is given back once it is half
    /// of the window, and reaches that with what is left when everything else is acknowledged.
    ///
    /// - Parameter buffered: what there is of the unfinished message.
    /// - Returns: what is to be given back at once.
    mutating func received(_ chunk: Int, buffered: Int, window: Int) -> Int {
        guard buffered > window / 4 else { return 0 }
        let count = min(chunk, buffered)
        forUnfinished += count
        return count
    }

    /// The unfinished message is whole, and unpacked it is larger by so much: what its acknowledgement will say too much.
    mutating func completed(grownBy count: Int = 0) {
        forWhole += forUnfinished + count
        forUnfinished = 0
    }

    /// - Returns: what of `count` is still to be given back.
    mutating func release(_ count: Int) -> Int {
        let given = min(forWhole, count)
        forWhole -= given
        return count - given
    }
}
