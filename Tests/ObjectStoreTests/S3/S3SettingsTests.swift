import EsperTypes
import ObjectStore
import Testing

@Suite struct S3SettingsTests {
    @Test(arguments: [
        ("https://s3.amazonaws.com", true, "s3.amazonaws.com", 443), ("http://localhost", false, "localhost", 80),
        ("http://127.0.0.1:9000/", false, "127.0.0.1", 9000), ("https://[::1]:8443", true, "::1", 8443),
        ("https://[::1]", true, "::1", 443),
    ])
    func `an endpoint is a scheme, a host and perhaps a port`(text: String, isSecure: Bool, host: String, port: Int) {
        #expect(
            S3Endpoint(text) == S3Endpoint(isSecure: isSecure, address: HostPort(host: host, port: port)))
    }

    @Test(arguments: [
        "", "s3.amazonaws.com", "ftp://host", "https://", "https://host/path", "https://host?query",
        "https://user@host",
        "https://host:0", "https://host:99999", "https://host:+80", "https://h\u{f6}st", "https://a b",
    ])
    func `anything else is none`(text: String) {
        #expect(S3Endpoint(text) == nil)
    }

    private func settings(_ endpoint: String, bucket: String = "bucket") throws -> S3Settings {
        S3Settings(
            endpoint: try #require(S3Endpoint(endpoint)), bucket: bucket, region: "us-east-1",
            credentials: S3Credentials(accessKey: "a", secretKey: "b"))
    }

    @Test func `plaintext is for loopback, or for who insists`() throws {
        var remote = try settings("http://store.example")
        #expect(remote.problem != nil)
        remote.allowsPlaintext = true
        #expect(remote.problem == nil)
        #expect(try settings("http://127.0.0.1:9000").problem == nil)
        #expect(try settings("https://store.example").problem == nil)
    }

    @Test func `what cannot work says so`() throws {
        for bucket in ["", "ab", "Upper", "-a-", "a..b", "a/b", String(repeating: "a", count: 64)] {
            #expect(try settings("https://store.example", bucket: bucket).problem != nil, "\(bucket)")
        }
        var dotted = try settings("https://store.example", bucket: "a.bucket")
        #expect(dotted.problem == nil)
        dotted.isPathStyle = false
        #expect(dotted.problem != nil)
        var address = try settings("https://192.0.2.1")
        address.isPathStyle = false
        #expect(address.problem != nil)
        var region = try settings("https://store.example")
        region.region = "us east"
        #expect(region.problem != nil)
        var parts = try settings("https://store.example")
        parts.partBytes = 1 << 20
        #expect(parts.problem != nil)
    }
}
