import EsperClient
import EsperTypes
import Glibc

/// Opening clients, and what their errors mean for an exit code.
enum Connecting {
    static func options(timeout: Duration) -> ClientOptions {
        var options = ClientOptions()
        options.timeout = timeout
        options.label = "esper@\(hostName()):\(getpid())"
        return options
    }

    /// Opens a client, does `body` with it and closes it.
    ///
    /// - Throws: ``CommandFailure`` for every error of the client.
    static func withClient<Value>(
        _ path: String, timeout: Duration, _ body: (EsperClient) async throws -> Value
    ) async throws -> Value {
        do {
            let client = try EsperClient(settingsFile: path, options: options(timeout: timeout))
            defer { client.close() }
            return try await body(client)
        } catch let error as EsperError {
            throw CommandFailure(error)
        }
    }

    private static func hostName() -> String {
        var name = [CChar](repeating: 0, count: 256)
        guard gethostname(&name, name.count - 1) == 0 else { return "unknown" }
        return String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}

extension CommandFailure {
    init(_ error: EsperError) {
        let code: Code
        switch (error.outcome, error.code) {
        case (.unknown, _): code = .unknownOutcome
        case (_, EsperError.Code.timedOut): code = .timedOut
        default: code = .failed
        }
        let advice =
            switch (error.outcome, error.code) {
            case (.unknown, _): "; it may have taken effect: read before doing it again"
            case (_, EsperError.Code.timedOut), (_, EsperError.Code.unavailable):
                "; see that the settings file names the right endpoints and that their nodes run"
            case (_, "no_leader"): "; 'esper cluster status' shows who can be reached"
            default: ""
            }
        self.init(code, error.message + advice, reason: error.code, outcome: error.outcome.rawValue)
    }
}
