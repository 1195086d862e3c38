import EsperTypes
import NIOHTTP1
import ObjectStore
import Testing

@Suite struct S3AnswersTests {
    private func page(_ inner: String, below prefix: String = "") throws -> S3Answers.Page {
        try S3Answers.page(Array("<ListBucketResult>\(inner)</ListBucketResult>".utf8), below: prefix)
    }

    private func listed(_ key: String, _ size: UInt64, _ created: UInt64? = nil) throws -> ListedObject {
        ListedObject(key: try #require(ObjectKey(key)), size: size, created: created)
    }

    @Test func `a page has objects and where the next one begins`() throws {
        let contents =
            "<EncodingType>url</EncodingType><Contents><Key>p/a%2Fb</Key><Size>7</Size>"
            + "<LastModified>2026-01-31T23:59:59.500Z</LastModified></Contents>"
            + "<Contents><Key>p/a+b</Key><Size>8</Size></Contents><Contents><Key>q/c</Key><Size>9</Size></Contents>"
            + "<Contents><Key>p/d</Key><Size>10</Size></Contents>"
        let last = try page("<IsTruncated>false</IsTruncated>\(contents)", below: "p/")
        #expect(
            last
                == S3Answers.Page(
                    objects: [try listed("a/b", 7, 1_769_903_999_000_000_000), try listed("d", 10)], next: nil))
        let more = try page(
            "<IsTruncated>true</IsTruncated><NextContinuationToken>t&amp;</NextContinuationToken>\(contents)",
            below: "p/")
        #expect(more.next == "t&")
    }

    @Test(arguments: [
        "<IsTruncated>true</IsTruncated>", "<Contents><Key>a</Key></Contents>", "<Contents><Size>1</Size></Contents>",
        "<Contents><Key>a</Key><Size>-1</Size></Contents>",
        "<Contents><Key>a</Key><Key>b</Key><Size>1</Size></Contents>",
    ])
    func `a page that leaves open what it says is refused`(inner: String) {
        let error = #expect(throws: ObjectStoreError.self) { try page(inner) }
        #expect(error?.code == .nonsense)
    }

    @Test func `another document is refused`() {
        for body in ["<html></html>", "oops", "<Error><Code>SlowDown</Code></Error>"] {
            #expect(throws: ObjectStoreError.self) { try S3Answers.page(Array(body.utf8), below: "") }
            #expect(throws: ObjectStoreError.self) { try S3Answers.upload(Array(body.utf8)) }
        }
    }

    @Test func `uploads are begun, listed and completed`() throws {
        let begun = "<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>"
        #expect(try S3Answers.upload(Array(begun.utf8)) == "u1")
        let list =
            "<ListMultipartUploadsResult><Upload><Key>a/b</Key><UploadId>u1</UploadId>"
            + "<Initiated>2026-01-31T23:59:59.000Z</Initiated></Upload></ListMultipartUploadsResult>"
        #expect(
            try S3Answers.uploads(Array(list.utf8))
                == [S3Answers.Upload(key: "a/b", id: "u1", initiated: "2026-01-31T23:59:59.000Z")])
        let completion = try XMLElement(document: S3Answers.completion(["\"one\"", "<two>"]))
        #expect(completion.all("Part").map { $0.text(of: "PartNumber") } == ["1", "2"])
        #expect(completion.all("Part").map { $0.text(of: "ETag") } == ["\"one\"", "<two>"])
    }

    static let codes: [(Int, String?, ObjectStoreError.Code)] = [
        (403, "RequestTimeTooSkewed", .clockSkew), (301, "PermanentRedirect", .redirected), (307, nil, .redirected),
        (400, "AuthorizationHeaderMalformed", .refused), (503, "SlowDown", .unavailable), (503, nil, .unavailable),
        (500, "InternalError", .unavailable), (400, "RequestTimeout", .unavailable), (429, nil, .unavailable),
        (403, "AccessDenied", .refused), (403, "SignatureDoesNotMatch", .refused),
        (403, "InvalidAccessKeyId", .refused), (403, nil, .refused), (401, nil, .refused),
        (404, "NoSuchBucket", .missing), (409, "ConditionalRequestConflict", .conflict), (409, nil, .conflict),
        (400, "BadDigest", .damaged), (507, nil, .full), (403, "QuotaExceeded", .full),
        (501, "NotImplemented", .invalid),
        (400, "EntityTooLarge", .invalid), (200, "InternalError", .unavailable), (600, nil, .nonsense),
        (200, nil, .nonsense),
    ]

    @Test(arguments: codes) func `errors become ours`(status: Int, code: String?, expected: ObjectStoreError.Code) {
        let body = code.map { "<Error><Code>\($0)</Code><Message>so it is</Message></Error>" } ?? "<html>"
        let answer = HTTPAnswer(status: status, body: Array(body.utf8))
        let failure = answer.failure(of: S3Request(method: .PUT, key: ObjectKey("a/b")))
        #expect(failure.code == expected)
        #expect(failure.message.hasPrefix("PUT a/b: the store answers \(status)"))
        #expect(code == nil || failure.message.contains("so it is"))
    }

    @Test func `an error tells where the bucket is, on one line`() {
        let request = S3Request(method: .HEAD)
        let redirected = HTTPAnswer(status: 301, headers: ["x-amz-bucket-region": "eu-west-1"]).failure(of: request)
        #expect(redirected.message.hasSuffix("the bucket is in the region eu-west-1"))
        let body =
            "<Error><Code>AccessDenied</Code><Message>a\nb\u{1b}[0m\(String(repeating: "x", count: 999))</Message></Error>"
        let refused = HTTPAnswer(status: 403, body: Array(body.utf8)).failure(of: request)
        #expect(refused.message.contains("a?b?[0m"))
        #expect(refused.message.count < 400)
    }

    @Test(arguments: [
        ("a", "a"), ("a%2Fb", "a/b"), ("a+b", "a b"), ("%e1%88%b4", "\u{1234}"), ("%", nil), ("%2", nil), ("%zz", nil),
        ("%ff", nil),
    ])
    func `encoded keys are decoded, or are none`(text: String, expected: String?) {
        #expect(PercentEncoding.decoded(text) == expected)
    }
}
