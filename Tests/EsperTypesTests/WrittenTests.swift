import EsperTypes
import Testing

@Suite struct WrittenTests {
    @Test(arguments: [
        ("500ms", Duration.milliseconds(500)), ("15s", .seconds(15)), ("2m", .seconds(120)), ("1h", .seconds(3600)),
        ("90d", .seconds(7_776_000)), ("1m30s", .seconds(90)), ("250us", .microseconds(250)), ("0s", .zero),
        ("0", .zero),
    ])
    func `durations read as people write them`(text: String, duration: Duration) {
        #expect(Duration(written: text) == duration)
    }

    @Test(arguments: [
        "", "15", "s", "15 s", "-1s", "1.5s", "15x", "99999999999999999999s", "9999999999d", "１s", "1S", "é1s",
    ])
    func `no other duration is read`(text: String) { #expect(Duration(written: text) == nil) }

    @Test(arguments: ["500ms", "15s", "2m", "1h", "90d", "250us", "90s"])
    func `what is written reads back`(text: String) throws {
        let duration = try #require(Duration(written: text))
        #expect(Duration(written: duration.written) == duration)
    }

    @Test(arguments: [
        ("127.0.0.1:7401", "127.0.0.1", 7401), ("node-1.example:0", "node-1.example", 0), ("[::1]:80", "::1", 80),
        ("localhost:65535", "localhost", 65535),
    ])
    func `a place is a host and a port`(text: String, host: String, port: Int) {
        #expect(HostPort(text) == HostPort(host: host, port: port))
        #expect(HostPort(text)?.description == text)
    }

    @Test(arguments: ["", "host", "host:", ":1", "host:65536", "host:-1", "::1:80", "a b:1", "[]:1", "host:1x"])
    func `no other place is read`(text: String) { #expect(HostPort(text) == nil) }

    @Test func `claims are named so that no name begins another's keys`() {
        let key = ClaimName.key(lock: "a/b%", session: SessionID(0x1f))
        #expect(String(decoding: key, as: UTF8.self) == "_lock/a%2Fb%25/000000000000001f")
    }
}
