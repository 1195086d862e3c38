import NIOCore
import NIOPosix
import NIOSSL

/// The certificate that a port shows to a new connection.
enum PresentedCertificate {
    static func of(_ port: Int) async throws -> [UInt8] {
        let shown = MultiThreadedEventLoopGroup.singleton.any().makePromise(of: [UInt8].self)
        let context = try NIOSSLContext(configuration: .makeClientConfiguration())
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(
                        NIOSSLClientHandler(
                            context: context, serverHostname: nil,
                            customVerificationCallback: { chain, verdict in
                                shown.completeWith(Result { try chain[0].toDERBytes() })
                                verdict.succeed(.failed)
                            }))
                }
            }
            .connect(host: "127.0.0.1", port: port).get()
        defer { channel.close(promise: nil) }
        return try await shown.futureResult.get()
    }
}
