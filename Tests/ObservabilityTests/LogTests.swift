import Glibc
import Logging
import Observability
import Testing

@Suite struct LogTests {
    /// Logs to a pipe and returns what arrived.
    func output(
        _ settings: LogSettings, buffering: Int = 1 << 20, _ body: (Logger) -> Void
    ) -> String {
        var ends: [Int32] = [-1, -1]
        #expect(pipe(&ends) == 0)
        let sink = LogSink(descriptor: ends[1], maximumBufferedBytes: buffering)
        var logger = Logger(label: "esper.test") { label in
            settings.makeHandler(label: label, sink: sink) { WallTime(nanosecondsSince1970: 1_795_406_706_789_012_345) }
        }
        logger[metadataKey: "node.id"] = "1"
        body(logger)
        logger.critical("end")
        var text = ""
        var chunk = [UInt8](repeating: 0, count: 65_536)
        while !text.contains("end") {
            let count = read(ends[0], &chunk, chunk.count)
            guard count > 0 else { break }
            text += String(decoding: chunk[..<count], as: UTF8.self)
        }
        close(ends[0])
        return text
    }

    @Test func `a JSON line holds time, level, label, message and metadata`() {
        let text = output(LogSettings()) {
            $0.info("started", metadata: ["peers": ["a", "b\n"], "z": ["k": "\"v\""]])
            $0.debug("unseen")
        }
        #expect(
            text.split(separator: "\n").first.map(String.init)
                == #"{"time":"2026-11-23T04:05:06.789012Z","level":"info","label":"esper.test","message":"started","#
                + #""metadata":{"node.id":"1","peers":["a","b\n"],"z":{"k":"\"v\""}}}"#)
        #expect(!text.contains("unseen"))
    }

    @Test func `no value can forge a line of text`() {
        let text = output(LogSettings(format: .text)) {
            $0.warning("odd", metadata: ["subject": "x\n2026 ERROR forged: y", "empty": ""])
        }
        #expect(text.split(separator: "\n").count == 2)
        #expect(text.contains(#"subject="x\n2026 ERROR forged: y""#))
        #expect(text.contains(#"empty="" "#))
    }

    @Test func `an error reaches the line and a huge value is cut`() {
        struct Broken: Error {}
        let text = output(LogSettings()) {
            $0.error("failed", error: Broken(), metadata: ["huge": "\(String(repeating: "é", count: 100_000))"])
        }
        #expect(text.contains(#""error":"Broken()""#))
        #expect(text.contains("(191808 bytes more)"))
    }

    @Test func `the longest prefix decides the level`() {
        let settings = LogSettings(level: .warning, levels: ["esper": .info, "esper.raft": .debug])
        #expect(settings.level(of: "esper.raft.core") == .debug)
        #expect(settings.level(of: "esper.rafter") == .info)
        #expect(settings.level(of: "other") == .warning)
    }

    @Test(.timeLimit(.minutes(1))) func `a reader that does not read stops nobody and drops are counted`() {
        var ends: [Int32] = [-1, -1]
        #expect(pipe(&ends) == 0)
        let sink = LogSink(descriptor: ends[1], maximumBufferedBytes: 4096)
        let line = String(repeating: "x", count: 1023) + "\n"
        // 64 KiB fit the pipe; the rest meets a buffer of four lines.
        for _ in 0..<10_000 { sink.write(line) }
        #expect(sink.droppedLines > 9_000)
        close(ends[0])
    }
}
