/// What no program of ours sends.
public enum Garbage {
    /// What strangers send to a port.
    public static let samples: [[UInt8]] = [
        // A plaintext request that the probe port does not know either.
        Array("GARBAGE / HTTP/9.9\r\n\r\n".utf8),
        // The first half of a TLS 1.2 record header, then nothing that belongs there.
        [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00] + [UInt8](repeating: 0x41, count: 600),
        // The header of a record with a ClientHello, and then the end.
        [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc],
        // A length of 2 GiB where a frame would begin.
        [0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0] + [UInt8](repeating: 0, count: 64),
        (0..<4096).map { UInt8(truncatingIfNeeded: $0 &* 131 &+ 17) },
        Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8),
    ]

    /// What HTTP/2 forbids (RFC 9113, sections 4.2, 4.3, 5.1, 6.5 and 6.10).
    public static let http2: [[UInt8]] = {
        let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)
        func frame(_ kind: UInt8, flags: UInt8 = 0, stream: UInt8 = 0, _ body: [UInt8], length: Int? = nil) -> [UInt8] {
            let length = length ?? body.count
            return [UInt8(length >> 16 & 0xff), UInt8(length >> 8 & 0xff), UInt8(length & 0xff), kind, flags, 0, 0, 0]
                + [stream] + body
        }
        let start = preface + frame(4, [])
        let setting: [UInt8] = [0, 3, 0, 0, 0, 1]
        return [
            // Bad HPACK: an index far beyond the tables.
            start + frame(1, flags: 5, stream: 1, [UInt8](repeating: 0xff, count: 32)),
            // SETTINGS of 16 MiB, and 2,000 settings in one frame that is small enough.
            preface + frame(4, [UInt8](repeating: 0, count: 64), length: 0xff_ffff),
            preface + frame(4, (0..<2000).flatMap { _ in setting }),
            // DATA before HEADERS, CONTINUATION of nothing.
            start + frame(0, stream: 1, Array("hello".utf8)),
            start + frame(9, flags: 4, stream: 1, [0x82]),
            // Not the preface.
            [UInt8](repeating: 0x5a, count: 256),
        ]
    }()

    /// Bodies that are not what `/v1/kv/put` takes.
    public static let bodies: [[UInt8]] = [
        Array("{{{{".utf8), [0xff, 0xfe, 0x00, 0x80], Array(#"{"key":"#.utf8),
        Array(#"{"key":1e999999,"value":[]}"#.utf8),
        [UInt8](repeating: UInt8(ascii: "["), count: 50_000), [],
    ]
}
