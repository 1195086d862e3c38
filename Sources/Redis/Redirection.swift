/// What a cluster's server says when a command is not for it (Redis Cluster specification, "Redirection and resharding").
package enum Redirection: Equatable {
    /// The slot has another owner, for good.
    case moved(slot: Int, RedisSettings.Endpoint)
    /// This once, after ASKING: the slot is on its way there.
    case ask(RedisSettings.Endpoint)
    /// Some of the keys are on their way: later.
    case tryAgain

    /// - Parameter asked: the server that said it, for answers without a host.
    /// - Returns: nil for every other answer.
    package init?(_ reply: RedisReply, from asked: RedisSettings.Endpoint) {
        guard case .error(let error) = reply else { return nil }
        // The message is ours up to the code.
        let words = error.message.split(separator: " ").drop { $0 != error.code ?? "" }
        switch error.code {
        case "TRYAGAIN": self = .tryAgain
        case "MOVED", "ASK":
            guard words.count >= 3, let slot = Int(words[words.startIndex + 1]), (0..<HashSlot.count).contains(slot),
                let endpoint = Self.endpoint(words[words.startIndex + 2], from: asked)
            else { return nil }
            self = error.code == "MOVED" ? .moved(slot: slot, endpoint) : .ask(endpoint)
        default: return nil
        }
    }

    /// `host:port`, where a host of version 6 has colons too and may be missing.
    private static func endpoint(
        _ text: Substring, from asked: RedisSettings.Endpoint
    ) -> RedisSettings.Endpoint? {
        guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]), port > 0
        else { return nil }
        let host = text[..<colon]
        return RedisSettings.Endpoint(host: host.isEmpty ? asked.host : String(host), port: Int(port))
    }
}
