import Logging
import PostgreSQL
import TestSupport

extension PrivatePostgreSQL {
    /// Over the Unix socket, as the owner of the database.
    var socketSettings: PostgreSQLSettings {
        var settings = PostgreSQLSettings(hosts: [socketDirectory], port: port, database: "esper", user: "esper")
        settings.minimumBackoff = .milliseconds(20)
        settings.maximumBackoff = .milliseconds(200)
        settings.connectTimeout = .seconds(1)
        return settings
    }

    /// Over TCP, with the password.
    var networkSettings: PostgreSQLSettings {
        var settings = socketSettings
        settings.hosts = ["127.0.0.1"]
        settings.password = .init(Self.password)
        settings.tls = .disable
        return settings
    }
}

let silent = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

/// Gives `body` a started client and shuts it down afterwards.
func withClient<Value>(
    _ settings: PostgreSQLSettings, _ body: (PostgreSQLClient) async throws -> Value
) async throws -> Value {
    let client = PostgreSQLClient(settings: settings, logger: silent, seed: 7)
    client.start()
    do {
        let value = try await body(client)
        await client.shutdown(drainingFor: .seconds(1))
        return value
    } catch {
        await client.shutdown(drainingFor: .zero)
        throw error
    }
}

/// The error of a request that must fail.
func failure(_ body: () async throws -> some Any) async -> PostgreSQLError? {
    do {
        _ = try await body()
        return nil
    } catch {
        return error as? PostgreSQLError
    }
}
