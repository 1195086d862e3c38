import EsperClient
import EsperTypes

// How the client library's values read in JSON and in text.

extension Commit {
    var fields: [JSON.Field] {
        [
            .init(name: "outcome", value: .string(outcome.rawValue)),
            .init(name: "revision", value: .unsigned(revision)),
            .init(name: "log_index", value: .unsigned(logIndex)),
            .init(name: "term", value: .unsigned(term)),
        ]
    }
}

extension KeyValue {
    var fields: [JSON.Field] {
        Bytes.fields("key", key) + Bytes.fields("value", value) + [
            .init(name: "create_revision", value: .unsigned(createRevision)),
            .init(name: "mod_revision", value: .unsigned(modRevision)),
            .init(name: "version", value: .unsigned(version)),
            .init(name: "session_id", value: .optional(session) { .string($0.description) }),
        ]
    }
}

extension Leadership {
    var fields: [JSON.Field] {
        [
            .init(name: "name", value: .string(name)),
            .init(name: "session_id", value: .string(session.description)),
            .init(name: "fencing_token", value: .unsigned(token.rawValue)),
        ] + Bytes.fields("value", value) + [.init(name: "mod_revision", value: .unsigned(modRevision))]
    }

    var text: String {
        "\(name)  leader \(value.isEmpty ? "-" : Bytes.readable(value))  fencing token \(token)  session \(session)"
    }
}
