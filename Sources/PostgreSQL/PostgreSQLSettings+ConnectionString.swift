internal import CLibPQ

extension PostgreSQLSettings {
    /// Reads libpq's connection strings: `postgresql://user@host:5432/db?sslmode=verify-full` or `host=… dbname=…`.
    ///
    /// What is not given has the defaults of the initialiser, not of the environment. A password is better left out
    /// of files that others read: libpq finds one in `~/.pgpass`.
    ///
    /// - Throws: ``PostgreSQLError/Kind/invalidRequest`` naming the first keyword that cannot be used.
    public init(connectionString: String) throws(PostgreSQLError) {
        var message: UnsafeMutablePointer<CChar>?
        guard let options = PQconninfoParse(connectionString, &message) else {
            defer { PQfreemem(message) }
            let reason = message.map { String(cString: $0) } ?? "out of memory"
            throw PostgreSQLError(.invalidRequest, "PostgreSQL connection string: \(reason.prefix { $0 != "\n" })")
        }
        defer { PQconninfoFree(options) }
        self.init(hosts: [], database: "", user: "")
        var option = options
        while let keyword = option.pointee.keyword {
            if let value = option.pointee.val {
                try set(String(cString: keyword), to: String(cString: value))
            }
            option += 1
        }
        if user.isEmpty { user = "esper" }
        if database.isEmpty { database = user }
        if let problem = problems.first { throw PostgreSQLError(.invalidRequest, problem) }
    }

    private mutating func set(_ keyword: String, to value: String) throws(PostgreSQLError) {
        func number() throws(PostgreSQLError) -> Int {
            guard let number = Int(value) else {
                throw PostgreSQLError(.invalidRequest, "PostgreSQL \(keyword) is not a number")
            }
            return number
        }
        switch keyword {
        case "host", "hostaddr": hosts = value.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
        case "port": port = try number()
        case "dbname": database = value
        case "user": user = value
        case "password": password = Secret(value)
        case "sslmode":
            guard let mode = TLSMode(rawValue: value) else {
                let modes = TLSMode.allCases.map(\.rawValue).joined(separator: ", ")
                throw PostgreSQLError(.invalidRequest, "PostgreSQL sslmode \(value) is not one of \(modes)")
            }
            tls = mode
        case "sslrootcert": rootCertificatePath = value
        case "sslcert": certificatePath = value
        case "sslkey": privateKeyPath = value
        case "application_name": applicationName = value
        case "connect_timeout": connectTimeout = .seconds(try number())
        default: throw PostgreSQLError(.invalidRequest, "PostgreSQL keyword \(keyword) cannot be set here")
        }
    }
}
