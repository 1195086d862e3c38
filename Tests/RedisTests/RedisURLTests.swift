import NIOCore
import NIOPosix
import Redis
import Testing

@Suite struct RedisURLTests {
    @Test func `a host alone is enough`() throws {
        let settings = try RedisSettings(url: "redis://cache")
        #expect(settings.endpoint == RedisSettings.Endpoint(host: "cache", port: 6379))
        #expect(settings.user == nil && settings.password == nil && settings.database == 0 && settings.tls == nil)
    }

    @Test func `every part is read`() throws {
        let settings = try RedisSettings(
            url: "rediss://us%65r:p%40ss%2F%3F%25@[::1]:7000/3?ca_file=/etc/a%20b.pem&cert_file=c.pem&key_file=k.pem")
        #expect(settings.endpoint == RedisSettings.Endpoint(host: "::1", port: 7000))
        #expect(settings.user == "user")
        #expect(settings.password == RedisSettings.Secret("p@ss/?%"))
        #expect(settings.database == 3)
        #expect(settings.tls?.authoritiesPath == "/etc/a b.pem")
        #expect(settings.tls?.certificatePath == "c.pem" && settings.tls?.privateKeyPath == "k.pem")
        #expect(!"\(settings)".contains("p@ss"))
    }

    @Test func `a password alone is the default user's`() throws {
        let settings = try RedisSettings(url: "redis://:pw@h:1/")
        #expect(settings.user == nil && settings.password == RedisSettings.Secret("pw"))
    }

    @Test(arguments: [
        ("http://h", "redis://"), ("redis://", "host"), ("redis://:secret@", "host"), ("redis://h:secret", "port"),
        ("redis://h:0", "port"), ("redis://h:65536", "port"), ("redis://h:+1", "port"), ("redis://h/secret", "number"),
        ("redis://h/-1", "number"), ("redis://secret@h", "password"), ("redis://u:secret%4@h", "hexadecimal"),
        ("redis://u:secret%+1@h", "hexadecimal"), ("redis://u:secret%ff@h", "UTF-8"), ("redis://u:se#secret@h", "%23"),
        ("redis://u:se/secret@h", "port"), ("redis://u:se?secret=1@h", "port"), ("redis://h?ca_file=x", "rediss"),
        ("rediss://h?secret=x", "none of"), ("rediss://h?secret", "no value"),
        ("rediss://h?cert_file=secret", "together"), ("redis://se cret@h", "password"), ("redis://a b", "host"),
        ("redis://[::1", "port"),
    ])
    func `what is wrong is said without repeating any of it`(url: String, word: String) {
        let error = #expect(throws: RedisError.self) { try RedisSettings(url: url) }
        #expect(error?.kind == .invalidRequest)
        #expect(error?.message.contains(word) == true, "\(error?.message ?? "")")
        #expect(error?.message.contains("secret") == false)
    }

    @Test func `files that cannot be read are named`() throws {
        let settings = try RedisSettings(url: "rediss://h?ca_file=/nowhere/ca.pem")
        let error = #expect(throws: RedisError.self) {
            try RedisClient(settings: settings, on: MultiThreadedEventLoopGroup.singleton, seed: 1, logger: silent)
        }
        #expect(error?.kind == .invalidRequest)
        #expect(error?.message.contains("ca_file /nowhere/ca.pem") == true)
    }
}
