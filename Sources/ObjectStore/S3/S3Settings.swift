internal import EsperTypes

/// Where a bucket is, who we are there, and how much is asked of it at once.
public struct S3Settings: Sendable {
    public var endpoint: S3Endpoint
    public var bucket: String
    /// As signatures name it; stores without regions expect `us-east-1`, or whatever they were told.
    public var region: String
    /// Every object stands below it, as below a directory; nil: at the top of the bucket.
    public var prefix: ObjectKey?
    public var credentials: S3Credentials
    /// `https://host/bucket/key`, which every store understands, rather than `https://bucket.host/key`.
    public var isPathStyle = true
    /// A PEM file with the authorities of the store's certificate; nil: those that the system trusts.
    public var authorityFile: String?
    /// Allows `http://` beyond loopback: whoever listens can read and change what is stored, though not sign.
    public var allowsPlaintext = false

    /// At once; further calls wait for their turn.
    public var maximumConnections = 16
    /// Of an object that is read as a whole, or of the part asked for.
    public var maximumReadBytes = 256 << 20
    /// Of one part of a large object. At most 10,000 parts make an object; all but the last need 5 MiB at least.
    public var partBytes = 8 << 20
    /// Of one request, the first included.
    public var maximumAttempts = 5
    /// An attempt on which nothing has moved for this long, or for half of the time that the call has left, is given up.
    public var patience: Duration = .seconds(5)
    /// Before the second attempt, at most; doubled for each further one.
    public var firstPause: Duration = .milliseconds(100)

    public init(endpoint: S3Endpoint, bucket: String, region: String, credentials: S3Credentials) {
        self.endpoint = endpoint
        self.bucket = bucket
        self.region = region
        self.credentials = credentials
    }

    /// What is wrong with them, in one line; nil: nothing.
    public var problem: String? {
        if !Self.isBucketName(bucket) { return "'\(bucket)' is no name of a bucket" }
        if !Self.isRegion(region) { return "'\(region)' is no region" }
        if !endpoint.isSecure, !endpoint.address.isLoopback, !allowsPlaintext {
            return "\(endpoint) is plaintext, so it must be on loopback or be https"
        }
        if !isPathStyle, endpoint.isAddress { return "\(endpoint) is an address, which needs path style" }
        if !isPathStyle, endpoint.isSecure, bucket.contains(".") {
            return "the bucket '\(bucket)' has a dot, which certificates of hosts do not cover: it needs path style"
        }
        if partBytes < 5 << 20 { return "parts must have 5 MiB at least" }
        return nil
    }

    /// 3 to 63 lower-case letters, digits, dashes and dots, a letter or digit at both ends.
    public static func isBucketName(_ text: String) -> Bool {
        let bytes = Array(text.utf8)
        func isPlain(_ byte: UInt8) -> Bool { (0x61...0x7a).contains(byte) || (0x30...0x39).contains(byte) }
        guard (3...63).contains(bytes.count), isPlain(bytes[0]), isPlain(bytes[bytes.count - 1]) else { return false }
        return !text.contains("..")
            && bytes.allSatisfy { isPlain($0) || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: ".") }
    }

    /// Letters, digits and dashes.
    public static func isRegion(_ text: String) -> Bool {
        !text.isEmpty && text.utf8.count <= 64
            && text.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"):
                    true
                default: false
                }
            }
    }
}

/// What a store knows us by. Never printed but for the access key.
public struct S3Credentials: Sendable, CustomStringConvertible, CustomReflectable {
    public var accessKey: String
    public var secretKey: String
    /// Of temporary credentials.
    public var sessionToken: String?

    public init(accessKey: String, secretKey: String, sessionToken: String? = nil) {
        self.accessKey = accessKey
        self.secretKey = secretKey
        self.sessionToken = sessionToken
    }

    public var description: String { accessKey }
    public var customMirror: Mirror { Mirror(self, children: ["accessKey": accessKey]) }
}
