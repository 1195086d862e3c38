import EsperTypes
import RaftCore
import RaftRuntime
import RaftStorage

// What peers send, and what lies in the log behind its checksums.
extension Subject {
    static let frames = Subject("peer frames", .canonical, samples: Wire.bodies) { Wire.again($0, isHello: false) }

    /// Apart: it may grow at its end, and an older program ignores what it does not know.
    static let hello = Subject("hello", .stable, samples: [Wire.hello]) { Wire.again($0, isHello: true) }

    static let questions = Subject("questions of peers", .stable, samples: PeerWords.questionSamples) {
        try? PeerWords.question($0)
    }

    static let answers = Subject("answers of peers", .stable, samples: PeerWords.answerSamples) {
        try? PeerWords.answer($0)
    }

    static let configurations = Subject(
        "configurations", .canonical,
        samples: [
            Configuration(voters: [NodeID(1), NodeID(2), NodeID(3)]).encoded(),
            Configuration(
                voters: [NodeID(1), NodeID(4)], outgoing: [NodeID(1), NodeID(2)], learners: [NodeID(7)],
                learnersNext: [NodeID(2)], autoLeave: true
            ).encoded(),
        ]
    ) { bytes in (try? Configuration(decoding: bytes))?.encoded() }

    static let logValues = Subject("values of the log", .canonical, samples: LogValues.samples) { bytes in
        try? LogValues.again(bytes)
    }
}
