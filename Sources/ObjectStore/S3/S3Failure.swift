internal import NIOHTTP1

extension HTTPAnswer {
    /// What the answer means when it is not one that was hoped for.
    package func failure(of request: S3Request) -> ObjectStoreError {
        // The answer to HEAD has no body.
        let error = S3Answers.error(body)
        let code = Self.code(status: status, error: error?.code)
        var text = "\(request): the store answers \(status)"
        if let error { text += " \(Self.printable(error.code)): \(Self.printable(error.message))" }
        if let advice = advice(code, region: error?.region) { text += "; \(advice)" }
        return ObjectStoreError(code, text)
    }

    /// Source: Amazon S3 API reference, "Error responses".
    static func code(status: Int, error: String?) -> ObjectStoreError.Code {
        switch error {
        case "RequestTimeTooSkewed", "RequestExpired": .clockSkew
        case "AccessDenied", "SignatureDoesNotMatch", "InvalidAccessKeyId", "ExpiredToken", "InvalidToken",
            "TokenRefreshRequired", "AuthorizationHeaderMalformed", "AccountProblem", "AllAccessDisabled",
            "InvalidSecurity", "NotSignedUp":
            .refused
        case "NoSuchBucket": .missing
        case "PermanentRedirect", "TemporaryRedirect", "Redirect": .redirected
        case "ConditionalRequestConflict", "OperationAborted": .conflict
        case "SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "TooManyRequests", "ServerBusy",
            "BucketNotReady":
            .unavailable
        case "BadDigest", "IncompleteBody", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch": .damaged
        case "QuotaExceeded", "QuotaExceededException", "InsufficientStorage", "XMinioStorageFull": .full
        default: code(status: status)
        }
    }

    private static func code(status: Int) -> ObjectStoreError.Code {
        switch status {
        case 301, 302, 303, 307, 308: .redirected
        case 401, 403: .refused
        case 409: .conflict
        case 408, 429, 500, 502, 503, 504: .unavailable
        case 507: .full
        case 400..<500, 501: .invalid
        default: .nonsense
        }
    }

    private func advice(_ code: ObjectStoreError.Code, region: String?) -> String? {
        switch code {
        case .refused, .redirected:
            if let region = region ?? headers.first(name: "x-amz-bucket-region") {
                "the bucket is in the region \(Self.printable(region))"
            } else if let location = headers.first(name: "location"), code == .redirected {
                "it is to be found at \(Self.printable(location))"
            } else if code == .refused {
                "check the access key, its secret, the region and what the key may do"
            } else {
                "check the endpoint and the region"
            }
        case .clockSkew: "set this machine's clock, or the store's"
        case .missing: "create the bucket, or name another"
        default: nil
        }
    }

    /// What a server says, short and on one line.
    private static func printable(_ text: String) -> String {
        String(text.prefix(160).map { $0.isASCII && !$0.isNewline && $0 >= " " ? $0 : "?" })
    }
}
