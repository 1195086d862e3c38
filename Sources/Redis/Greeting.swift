/// What is said first on a connection, and what is made of the answers.
struct Greeting {
    private enum Step {
        case authenticate, select, name, slots
    }

    let commands: [RedisCommand]
    private var steps: ArraySlice<Step>
    /// The server's map of its cluster; nil when it is none, or does not tell.
    private(set) var slots: RedisReply?

    init(_ settings: RedisSettings) {
        var steps: [(Step, RedisCommand)] = []
        if let password = settings.password {
            let words = [settings.user, password.value].compactMap { $0.map { Array($0.utf8) } }
            steps.append((.authenticate, RedisCommand("AUTH", words)))
        }
        if settings.database != 0 {
            steps.append((.select, RedisCommand("SELECT", [Array("\(settings.database)".utf8)])))
        }
        let name = [Array("SETNAME".utf8), Array(settings.clientName.utf8)]
        steps.append((.name, RedisCommand("CLIENT", name)))
        steps.append((.slots, .clusterSlots))
        self.steps = steps.map(\.0)[...]
        commands = steps.map(\.1)
    }

    /// - Returns: whether that was the last answer.
    /// - Throws: why the connection cannot be used.
    mutating func answered(_ reply: RedisReply) throws(RedisError) -> Bool {
        guard let step = steps.popFirst() else { return true }
        switch (step, reply) {
        case (.authenticate, .error(let error)):
            // Its words may repeat the password.
            let code = error.code ?? "ERR"
            throw RedisError(.server, "Redis refuses the user or password of its URL (\(code))", code: "WRONGPASS")
        case (.select, .error(let error)): throw error
        case (.name, .error(let error)), (.slots, .error(let error)):
            if error.message.contains("max number of clients") { throw RedisError(.unavailable, error.message) }
            // Such a server, or user, does without; but not without a password that is asked for.
            if error.code == "NOAUTH" { throw error }
        case (.slots, .array): slots = reply
        default: break
        }
        return steps.isEmpty
    }
}
