import Glibc

/// Standard output and standard error of a command.
enum Terminal {
    /// One line on standard error, whatever the text holds.
    static func complain(_ message: String) {
        let line = message.split(whereSeparator: \.isNewline).joined(separator: "; ")
        write("esper: \(line)\n", to: STDERR_FILENO)
    }

    /// Says how far a long command has come; on standard error, so that standard output stays one document.
    static func progress(_ message: String) { write("\(message)\n", to: STDERR_FILENO) }

    /// As ``progress(_:)``, in place of what stood on the terminal's line before.
    static func redraw(_ message: String) { write("\r\u{1b}[K\(message)", to: STDERR_FILENO) }

    /// One line on standard output, handed on at once: the reader may be another program that waits for it.
    static func line(_ text: String) { write("\(text)\n", to: STDOUT_FILENO) }

    /// Bytes as they are, without a newline.
    static func raw(_ bytes: [UInt8]) { write(bytes, to: STDOUT_FILENO) }

    private static func write(_ text: String, to file: CInt) { write([UInt8](text.utf8), to: file) }

    private static func write(_ bytes: [UInt8], to file: CInt) {
        var offset = 0
        while offset < bytes.count {
            let count = bytes.withUnsafeBytes { Glibc.write(file, $0.baseAddress! + offset, bytes.count - offset) }
            if count < 0, errno == EINTR { continue }
            // A reader that went away wants no more; there is nobody to tell.
            guard count > 0 else { return }
            offset += count
        }
    }
}
