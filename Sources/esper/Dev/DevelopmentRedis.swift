import Foundation

/// The private Redis of a development cluster: loopback only, a password, nothing kept on disk.
struct DevelopmentRedis {
    let service: DevelopmentService
    let port: Int
    let program: String

    /// Nil when Redis is not installed; nothing depends on it.
    init?(cluster: DevelopmentCluster) {
        service = DevelopmentService(name: "redis", directory: "\(cluster.directory)/redis")
        port = cluster.redisPort
        guard let program = ["/usr/bin", "/usr/local/bin"].map({ "\($0)/redis-server" }).first(where: Files.exists)
        else { return nil }
        self.program = program
    }

    /// For `cache.redis`; there is a password once ``up()`` was called.
    func url() throws -> String { "redis://:\(try service.password())@127.0.0.1:\(port)" }

    func up() async throws {
        try await service.prepare()
        if !service.isRunning {
            // The password stands in a file: arguments can be read by everybody on the host.
            let settings = "\(service.place)/redis.conf"
            var text = """
                bind 127.0.0.1
                port \(port)
                requirepass \(try service.password())
                dir "\(service.place)"
                save ""
                appendonly no
                daemonize no

                """
            if service.place.utf8.count < 90 {
                text += "unixsocket \"\(service.place)/redis.sock\"\nunixsocketperm 700\n"
            }
            try Files.write(text, to: settings)
            try Account.own(settings)
            try service.start([program, settings])
        }
        try await service.waitUntilReady(seconds: 10) { DevelopmentService.accepts(port: port) }
    }
}
