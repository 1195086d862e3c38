internal import NIOSSL

extension RedisSettings.TLS {
    /// Reads the files.
    func context() throws(RedisError) -> NIOSSLContext {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.minimumTLSVersion = .tlsv12
        if let authoritiesPath {
            configuration.trustRoots = .certificates(
                try Self.read("ca_file", authoritiesPath) { try NIOSSLCertificate.fromPEMFile($0) })
        }
        if let certificatePath, let privateKeyPath {
            configuration.certificateChain = try Self.read("cert_file", certificatePath) {
                try NIOSSLCertificate.fromPEMFile($0).map { .certificate($0) }
            }
            configuration.privateKey = try Self.read("key_file", privateKeyPath) {
                .privateKey(try NIOSSLPrivateKey(file: $0, format: .pem))
            }
        }
        do { return try NIOSSLContext(configuration: configuration) } catch {
            throw RedisError(
                .invalidRequest, "the Redis URL: its certificate and key cannot be used together: \(error)")
        }
    }

    private static func read<Value>(
        _ parameter: String, _ path: String, _ body: (String) throws -> Value
    ) throws(RedisError) -> Value {
        do { return try body(path) } catch {
            throw RedisError(.invalidRequest, "the Redis URL: \(parameter) \(path) cannot be read as PEM: \(error)")
        }
    }
}
