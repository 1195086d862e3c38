import Logging
import NIOCore
import NIOPosix
import Redis
import TestSupport

let silent = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

/// A deadline that only a broken program reaches.
let ample: Duration = .seconds(20)

/// Gives `body` a client that is closed afterwards.
func withClient<Value>(
    _ settings: RedisSettings, _ body: (RedisClient) async throws -> Value
) async throws -> Value {
    let client = try RedisClient(settings: settings, on: MultiThreadedEventLoopGroup.singleton, seed: 1, logger: silent)
    do {
        let value = try await body(client)
        await client.close()
        return value
    } catch {
        await client.close()
        throw error
    }
}

extension PrivateRedis {
    /// For a machine that has much else to do.
    var settings: RedisSettings {
        var settings = RedisSettings(endpoint: RedisSettings.Endpoint(host: "127.0.0.1", port: port))
        settings.connectTimeout = .seconds(10)
        return settings
    }
}

/// The error of a call that must fail.
func failure<Value>(_ body: () async throws(RedisError) -> Value) async -> RedisError? {
    do throws(RedisError) {
        _ = try await body()
        return nil
    } catch { return error }
}

func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }
