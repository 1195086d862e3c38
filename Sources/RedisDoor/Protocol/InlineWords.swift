/// The words of a line, with the quotes that Redis knows (sds.c, `sdssplitargs`).
enum InlineWords {
    /// Nil when a quote is not closed, or something follows a closing one.
    static func split(_ line: UnsafeRawBufferPointer) -> [[UInt8]]? {
        var words: [[UInt8]] = []
        var index = 0
        while true {
            while index < line.count, isSpace(line[index]) { index += 1 }
            guard index < line.count else { return words }
            var word: [UInt8] = []
            scan: while index < line.count {
                let byte = line[index]
                switch byte {
                case UInt8(ascii: "\""), UInt8(ascii: "'"):
                    index += 1
                    guard quoted(byte, line, &index, &word) else { return nil }
                    guard index == line.count || isSpace(line[index]) else { return nil }
                    break scan
                case _ where isSpace(byte): break scan
                default:
                    word.append(byte)
                    index += 1
                }
            }
            words.append(word)
        }
    }

    private static func quoted(
        _ quote: UInt8, _ line: UnsafeRawBufferPointer, _ index: inout Int, _ word: inout [UInt8]
    ) -> Bool {
        while index < line.count {
            let byte = line[index]
            index += 1
            if byte == quote { return true }
            guard byte == UInt8(ascii: "\\"), index < line.count else {
                word.append(byte)
                continue
            }
            let escaped = line[index]
            if quote == UInt8(ascii: "'") {
                if escaped == quote { index += 1 }
                word.append(escaped == quote ? quote : byte)
                continue
            }
            if escaped == UInt8(ascii: "x"), index + 2 < line.count, let high = digit(line[index + 1]),
                let low = digit(line[index + 2])
            {
                word.append(high << 4 | low)
                index += 3
                continue
            }
            index += 1
            switch escaped {
            case UInt8(ascii: "n"): word.append(10)
            case UInt8(ascii: "r"): word.append(13)
            case UInt8(ascii: "t"): word.append(9)
            case UInt8(ascii: "b"): word.append(8)
            case UInt8(ascii: "a"): word.append(7)
            default: word.append(escaped)
            }
        }
        return false
    }

    private static func isSpace(_ byte: UInt8) -> Bool { byte == 32 || (9...13).contains(byte) || byte == 0 }

    private static func digit(_ byte: UInt8) -> UInt8? {
        switch byte {
        case 48...57: byte - 48
        case 65...70: byte - 55
        case 97...102: byte - 87
        default: nil
        }
    }
}
