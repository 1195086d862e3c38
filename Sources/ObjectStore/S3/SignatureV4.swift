internal import struct Crypto.HMAC
internal import struct Crypto.SHA256
internal import struct Crypto.SymmetricKey
internal import EsperTypes
internal import Glibc

/// Signs requests in their `Authorization` header. Source: AWS Signature Version 4, "Create a signed AWS API request".
package struct SignatureV4: Sendable {
    /// A moment in the two forms that signatures use.
    package struct Date: Sendable {
        /// `20150830`
        package let day: String
        /// `20150830T123600Z`
        package let stamp: String

        /// - Parameter nanoseconds: since 1970.
        package init(nanoseconds: UInt64) {
            var seconds = time_t(nanoseconds / 1_000_000_000)
            var parts = tm()
            gmtime_r(&seconds, &parts)
            func digits(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
            day = "\(parts.tm_year + 1900)\(digits(parts.tm_mon + 1))\(digits(parts.tm_mday))"
            stamp = "\(day)T\(digits(parts.tm_hour))\(digits(parts.tm_min))\(digits(parts.tm_sec))Z"
        }

        /// Of `2026-01-31T23:59:59.000Z`, since 1970; fractions of a second are left out. Nil for what is no such time.
        package static func nanoseconds(of text: String) -> UInt64? {
            let numbers = text.prefix(19).split(whereSeparator: { !$0.isNumber }).compactMap { Int32($0) }
            guard numbers.count == 6, text.last == "Z" else { return nil }
            var parts = tm()
            (parts.tm_year, parts.tm_mon, parts.tm_mday) = (numbers[0] - 1900, numbers[1] - 1, numbers[2])
            (parts.tm_hour, parts.tm_min, parts.tm_sec) = (numbers[3], numbers[4], numbers[5])
            guard let seconds = UInt64(exactly: timegm(&parts)) else { return nil }
            let (nanoseconds, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
            return overflow ? nil : nanoseconds
        }
    }

    package var credentials: S3Credentials
    package var region: String
    package var service: String

    package init(credentials: S3Credentials, region: String, service: String = "s3") {
        self.credentials = credentials
        self.region = region
        self.service = service
    }

    /// What stands in the `Authorization` header.
    ///
    /// - Parameters:
    ///   - path: as it goes over the wire.
    ///   - query: names and values as they are before they are encoded.
    ///   - headers: all that are to be signed, `host` and `x-amz-date` among them, each name once.
    ///   - payloadHash: of the body, in hexadecimal digits.
    package func authorization(
        method: String, path: String, query: [(name: String, value: String)], headers: [(name: String, value: String)],
        payloadHash: String, date: Date
    ) -> String {
        let headers = headers.map { (name: $0.name.lowercased(), value: Self.trimmed($0.value)) }
            .sorted { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
        let names = headers.map(\.name).joined(separator: ";")
        let canonical = [
            method, path, PercentEncoding.query(query), headers.map { "\($0.name):\($0.value)\n" }.joined(), names,
            payloadHash,
        ].joined(separator: "\n")
        let scope = "\(date.day)/\(region)/\(service)/aws4_request"
        let text = ["AWS4-HMAC-SHA256", date.stamp, scope, Self.hash(Array(canonical.utf8))].joined(separator: "\n")
        let signature = Hexadecimal.text(Self.code(text, key(for: date)))
        return "AWS4-HMAC-SHA256 Credential=\(credentials.accessKey)/\(scope), SignedHeaders=\(names), "
            + "Signature=\(signature)"
    }

    /// SHA-256 in hexadecimal digits.
    package static func hash(_ bytes: [UInt8]) -> String { Hexadecimal.text(Array(SHA256.hash(data: bytes))) }

    private func key(for date: Date) -> [UInt8] {
        [region, service, "aws4_request"].reduce(
            Self.code(date.day, Array("AWS4\(credentials.secretKey)".utf8))
        ) { key, text in Self.code(text, key) }
    }

    private static func code(_ text: String, _ key: [UInt8]) -> [UInt8] {
        Array(HMAC<SHA256>.authenticationCode(for: Array(text.utf8), using: SymmetricKey(data: key)))
    }

    /// Without blanks at the ends, and with one where there were several.
    private static func trimmed(_ value: String) -> String {
        value.split(whereSeparator: { $0 == " " || $0 == "\t" }).joined(separator: " ")
    }
}
