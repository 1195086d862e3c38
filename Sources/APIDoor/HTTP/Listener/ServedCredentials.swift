internal import FoundationEssentials
internal import Identity
internal import NIOSSL
internal import Synchronization

/// What the API port shows and demands, replaceable while it serves.
final class ServedCredentials: Sendable {
    private struct State {
        var credentials: TLSCredentials
        var context: NIOSSLContext
    }

    private let state: Mutex<State>
    private let acceptsTLS12: Bool

    init(_ credentials: TLSCredentials, acceptsTLS12: Bool) throws {
        self.acceptsTLS12 = acceptsTLS12
        state = Mutex(try Self.state(credentials, acceptsTLS12))
    }

    static func check(_ credentials: TLSCredentials) throws { _ = try state(credentials, false) }

    /// For handshakes from now on.
    func update(_ credentials: TLSCredentials) throws {
        let new = try Self.state(credentials, acceptsTLS12)
        state.withLock { $0 = new }
    }

    /// The TLS handler of one accepted connection.
    ///
    /// - Parameter decided: told how the client's certificate was judged.
    func handler(
        now: @escaping @Sendable () -> Date, decided: @escaping (Result<SPIFFEID, CertificateRefusal>) -> Void
    ) -> NIOSSLServerHandler {
        let current = state.withLock { $0 }
        return NIOSSLServerHandler(
            context: current.context,
            customVerificationCallback: current.credentials.verifier(of: .client, now: now, decided: decided))
    }

    private static func state(_ credentials: TLSCredentials, _ acceptsTLS12: Bool) throws -> State {
        State(
            credentials: credentials,
            context: try NIOSSLContext(
                configuration: credentials.apiServerConfiguration(
                    applicationProtocols: ["h2", "http/1.1"], acceptsTLS12: acceptsTLS12)))
    }
}
