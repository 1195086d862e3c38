import NIOHTTP1
import ObjectStore
import Testing

/// The vectors that AWS publishes: its "Signature Version 4 test suite", and the examples of the S3 API reference
/// ("Authenticating requests: using the authorization header").
@Suite struct SignatureV4Tests {
    struct Case: Sendable, CustomTestStringConvertible {
        var name: String
        var method = "GET"
        var path = "/"
        var query: [(name: String, value: String)] = []
        var headers: [(name: String, value: String)] = []
        var body = ""
        var names = "host;x-amz-date"
        var signature: String

        var testDescription: String { name }
    }

    private static let unreserved = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    private static let token =
        "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=="

    static let suite: [Case] = [
        Case(name: "get-vanilla", signature: "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        Case(
            name: "get-vanilla-query-order-key-case",
            query: [(name: "Param2", value: "value2"), (name: "Param1", value: "value1")],
            signature: "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"),
        Case(
            name: "get-vanilla-query-unreserved", query: [(name: unreserved, value: unreserved)],
            signature: "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197"),
        Case(
            name: "get-vanilla-utf8-query", query: [(name: "\u{1234}", value: "bar")],
            signature: "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"),
        Case(
            name: "get-unreserved", path: "/" + unreserved,
            signature: "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"),
        Case(
            name: "get-utf8", path: "/\u{1234}",
            signature: "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"),
        Case(
            name: "get-space", path: "/example space/",
            signature: "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741"),
        Case(
            name: "get-header-value-order", headers: [(name: "My-Header1", value: "value4,value1,value3,value2")],
            names: "host;my-header1;x-amz-date",
            signature: "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01"),
        Case(
            name: "get-header-value-trim",
            headers: [(name: "My-Header1", value: " value1"), (name: "My-Header2", value: " \"a   b   c\"")],
            names: "host;my-header1;my-header2;x-amz-date",
            signature: "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"),
        Case(
            name: "post-vanilla", method: "POST",
            signature: "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        Case(
            name: "post-vanilla-query", method: "POST", query: [(name: "Param1", value: "value1")],
            signature: "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11"),
        Case(
            name: "post-header-key-case", method: "POST", headers: [(name: "MY-HEADER1", value: "value1")],
            names: "host;my-header1;x-amz-date",
            signature: "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c"),
        Case(
            name: "post-x-www-form-urlencoded", method: "POST",
            headers: [(name: "Content-Type", value: "application/x-www-form-urlencoded")], body: "Param1=value1",
            names: "content-type;host;x-amz-date",
            signature: "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"),
        Case(
            name: "post-sts-header-before", method: "POST", headers: [(name: "X-Amz-Security-Token", value: token)],
            names: "host;x-amz-date;x-amz-security-token",
            signature: "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"),
    ]

    @Test(arguments: suite) func `requests of the test suite are signed as published`(vector: Case) {
        // 2015-08-30T12:36:00Z
        let date = SignatureV4.Date(nanoseconds: 1_440_938_160_000_000_000)
        let signature = SignatureV4(
            credentials: S3Credentials(
                accessKey: "AKIDEXAMPLE", secretKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            region: "us-east-1", service: "service")
        let headers =
            vector.headers + [(name: "Host", value: "example.amazonaws.com"), (name: "X-Amz-Date", value: date.stamp)]
        let authorization = signature.authorization(
            method: vector.method, path: PercentEncoding.text(vector.path, isPath: true), query: vector.query,
            headers: headers, payloadHash: SignatureV4.hash(Array(vector.body.utf8)), date: date)
        #expect(
            authorization
                == "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=\(vector.names), Signature=\(vector.signature)"
        )
    }

    /// 2013-05-24T00:00:00Z
    private static let exampleDate = SignatureV4.Date(nanoseconds: 1_369_353_600_000_000_000)

    private static var example: S3Settings {
        var settings = S3Settings(
            endpoint: S3Endpoint("https://s3.amazonaws.com")!, bucket: "examplebucket", region: "us-east-1",
            credentials: S3Credentials(
                accessKey: "AKIAIOSFODNN7EXAMPLE", secretKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"))
        settings.isPathStyle = false
        return settings
    }

    static let examples: [(S3Request, String, String)] = [
        (
            S3Request(method: .GET, key: ObjectKey("test.txt"), headers: [(name: "range", value: "bytes=0-9")]),
            "/test.txt", "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        ),
        (
            S3Request(method: .GET, query: [(name: "lifecycle", value: "")]), "/?lifecycle=",
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
        ),
        (
            S3Request(method: .GET, query: [(name: "prefix", value: "J"), (name: "max-keys", value: "2")]),
            "/?max-keys=2&prefix=J", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
        ),
    ]

    @Test(arguments: examples) func `requests of the S3 reference are signed as published`(
        request: S3Request, uri: String, signature: String
    ) {
        let head = Self.example.signed(request, date: Self.exampleDate)
        #expect(head.uri == uri)
        #expect(head.headers.first(name: "host") == "examplebucket.s3.amazonaws.com")
        #expect(head.headers.first(name: "authorization")?.hasSuffix("Signature=\(signature)") == true)
    }

    @Test func `a put of the S3 reference is signed as published`() {
        let body = Array("Welcome to Amazon S3.".utf8)
        let headers = [
            (name: "date", value: "Fri, 24 May 2013 00:00:00 GMT"),
            (name: "x-amz-storage-class", value: "REDUCED_REDUNDANCY"),
            (name: "host", value: "examplebucket.s3.amazonaws.com"),
            (name: "x-amz-content-sha256", value: SignatureV4.hash(body)),
            (name: "x-amz-date", value: Self.exampleDate.stamp),
        ]
        let authorization = SignatureV4(credentials: Self.example.credentials, region: "us-east-1").authorization(
            method: "PUT", path: PercentEncoding.text("/test$file.text", isPath: true), query: [], headers: headers,
            payloadHash: SignatureV4.hash(body), date: Self.exampleDate)
        #expect(
            authorization.hasSuffix("Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"))
    }

    @Test func `moments are written in their calendar`() {
        func stamp(_ seconds: UInt64) -> String { SignatureV4.Date(nanoseconds: seconds * 1_000_000_000).stamp }
        #expect(stamp(0) == "19700101T000000Z")
        #expect(stamp(1_709_164_799) == "20240228T235959Z")
        #expect(stamp(1_709_164_800) == "20240229T000000Z")
        #expect(stamp(4_107_542_399) == "21000228T235959Z")
        #expect(stamp(4_107_542_400) == "21000301T000000Z")
    }

    @Test func `the bucket stands in the path or in the host`() throws {
        var settings = Self.example
        settings.endpoint = try #require(S3Endpoint("http://127.0.0.1:9000"))
        settings.isPathStyle = true
        let request = S3Request(method: .GET, key: ObjectKey("a/b_c"))
        let head = settings.signed(request, date: Self.exampleDate)
        #expect(head.uri == "/examplebucket/a/b_c")
        #expect(head.headers.first(name: "host") == "127.0.0.1:9000")
        #expect(settings.signed(S3Request(method: .HEAD), date: Self.exampleDate).uri == "/examplebucket")
        settings.endpoint = try #require(S3Endpoint("https://store.example:8443"))
        settings.isPathStyle = false
        let other = settings.signed(request, date: Self.exampleDate)
        #expect(other.uri == "/a/b_c")
        #expect(other.headers.first(name: "host") == "examplebucket.store.example:8443")
        #expect(settings.host == "examplebucket.store.example")
    }

    @Test func `the token of temporary credentials is sent and signed`() throws {
        var settings = Self.example
        settings.credentials.sessionToken = "token"
        let head = settings.signed(S3Request(method: .HEAD), date: Self.exampleDate)
        #expect(head.headers.first(name: "x-amz-security-token") == "token")
        let authorization = try #require(head.headers.first(name: "authorization"))
        #expect(authorization.contains("x-amz-date;x-amz-security-token,"))
    }

    @Test func `secrets are not printed`() {
        let credentials = S3Credentials(accessKey: "known", secretKey: "hidden", sessionToken: "veiled")
        var dumped = ""
        dump(credentials, to: &dumped)
        for text in ["\(credentials)", String(reflecting: credentials), dumped] {
            #expect(text.contains("known"))
            #expect(!text.contains("hidden"))
            #expect(!text.contains("veiled"))
        }
    }
}
