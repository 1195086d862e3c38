internal import Logging
internal import NIOCore
internal import NIOSSL
internal import Synchronization

/// ``PoolCore`` for callers on any thread.
final class ServerPool: Sendable {
    private let loop: any EventLoop
    private let core: NIOLoopBoundBox<PoolCore>
    private let ids = Atomic<UInt64>(0)

    init(
        _ endpoint: RedisSettings.Endpoint, settings: RedisSettings, tls: NIOSSLContext?, on loop: any EventLoop,
        seed: UInt64, metrics: RedisMetrics, logger: Logger, learned: @escaping @Sendable (RedisReply?) -> Void
    ) {
        self.loop = loop
        core = .makeBoxSendingValue(
            PoolCore(
                endpoint, settings: settings, tls: tls, on: loop, seed: seed, metrics: metrics, logger: logger,
                learned: learned), eventLoop: loop)
    }

    /// The answers to the commands, in their order.
    func send(_ commands: [RedisCommand], deadline: NIODeadline) async -> Result<[RedisReply], RedisError> {
        let id = ids.wrappingAdd(1, ordering: .relaxed).newValue
        return await withTaskCancellationHandler {
            await withCheckedContinuation { caller in
                loop.execute {
                    self.core.value.submit(Request(id, commands, deadline: deadline, caller: caller))
                }
                // A cancellation before the request was there found nothing to cancel.
                if Task.isCancelled { cancel(id) }
            }
        } onCancel: {
            cancel(id)
        }
    }

    private func cancel(_ id: UInt64) {
        loop.execute { self.core.value.giveUp(id, RedisError(.cancelled, "the caller was cancelled")) }
    }

    /// Returns when the last connection is closed; no connection attempt under way holds it for longer than its timeouts.
    func close() async {
        let promise = loop.makePromise(of: Void.self)
        loop.execute { self.core.value.close(promise) }
        // Never fails.
        try? await promise.futureResult.get()
    }
}
