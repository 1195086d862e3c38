internal import EsperTypes
internal import FoundationEssentials
internal import Yams

/// How to reach a cluster: what `client.yaml` says.
public struct ClientSettings: Hashable, Sendable {
    /// `host:port` of API ports; one that answers is enough.
    public var endpoints: [String]
    /// Files in PEM: the authorities, our certificate, its key.
    public var authority: String
    public var certificate: String
    public var privateKey: String

    public init(endpoints: [String], authority: String, certificate: String, privateKey: String) {
        self.endpoints = endpoints
        self.authority = authority
        self.certificate = certificate
        self.privateKey = privateKey
    }

    private struct File: Decodable {
        var endpoints: [String]
        var ca: String
        var certificate: String
        var private_key: String
    }

    /// Reads a YAML file with the keys `endpoints`, `ca`, `certificate` and `private_key`; relative paths count from the
    /// file's directory.
    public static func load(_ path: String) throws(EsperError) -> ClientSettings {
        let text: Data
        do {
            text = try Data(contentsOf: URL(filePath: path))
        } catch {
            let reason = FileManager.default.fileExists(atPath: path) ? "it may not be read" : "there is no such file"
            throw Self.error("cannot read \(path): \(reason); give a client.yaml as 'esper dev up' writes it")
        }
        let file: File
        do {
            file = try YAMLDecoder().decode(File.self, from: text)
        } catch {
            let reason =
                switch error {
                case Swift.DecodingError.keyNotFound(let key, _): "\(key.stringValue) is missing"
                case Swift.DecodingError.typeMismatch(_, let context),
                    Swift.DecodingError.valueNotFound(_, let context):
                    "\(context.codingPath.first?.stringValue ?? "the file") is of another kind"
                default: "it is not valid YAML"
                }
            throw Self.error("\(path) must have endpoints, ca, certificate and private_key: \(reason)")
        }
        guard !file.endpoints.isEmpty, file.endpoints.allSatisfy({ HostPort(endpoint: $0) != nil }) else {
            throw Self.error("\(path): endpoints must be a list of host:port")
        }
        let base = path.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
        func absolute(_ name: String) -> String {
            name.hasPrefix("/") || base.isEmpty && !path.hasPrefix("/") ? name : "\(base)/\(name)"
        }
        return ClientSettings(
            endpoints: file.endpoints, authority: absolute(file.ca), certificate: absolute(file.certificate),
            privateKey: absolute(file.private_key))
    }

    private static func error(_ message: String) -> EsperError {
        EsperError(code: EsperError.Code.settings, message: message, outcome: .notCommitted)
    }
}

extension HostPort {
    /// An API port to connect to, which has a number.
    init?(endpoint text: String) {
        self.init(text)
        guard port > 0 else { return nil }
    }
}

/// How patient a client is.
public struct ClientOptions: Sendable {
    /// How long one operation may take, retries included. Operations that wait for a lock add their waiting time.
    public var timeout = Duration.seconds(10)
    /// How long one attempt may take before another endpoint is asked, where asking twice is safe.
    public var attemptTimeout = Duration.milliseconds(500)
    /// The first pause before a retry; doubled each time, up to the longest, and drawn between half and all of it.
    public var firstPause = Duration.milliseconds(10)
    public var longestPause = Duration.milliseconds(500)
    /// The most attempts of one operation.
    public var maximumAttempts = 32
    /// How long a connection may take to be made.
    public var connectTimeout = Duration.seconds(2)
    /// Whether operations go straight to the leader, which serves them with a step less. Otherwise the client stays with
    /// one endpoint as long as that works.
    public var followsLeader = true
    /// For people: what sessions are labelled with that are given no label of their own. At most 256 bytes.
    public var label = ""

    public init() {}
}
