import EsperTypes
import RaftCore
import Testing

@Suite struct ConfigurationTests {
    static let joint = Configuration(
        voters: [NodeID(3), NodeID(1), NodeID(2), NodeID(3)], outgoing: [NodeID(4), NodeID(3)], learners: [NodeID(9)],
        learnersNext: [NodeID(4)], autoLeave: true)

    @Test func `members are sorted and each once`() {
        #expect(Self.joint.incoming == [NodeID(1), NodeID(2), NodeID(3)])
        #expect(Self.joint.voters == [NodeID(1), NodeID(2), NodeID(3), NodeID(4)])
        #expect(Self.joint.members == [NodeID(1), NodeID(2), NodeID(3), NodeID(4), NodeID(9)])
        #expect(Self.joint.description == "voters=(1 2 3)&&(3 4) learners=(9) learnersNext=(4) autoLeave")
    }

    @Test func `what is written is read back`() throws {
        for configuration in [Self.joint, Configuration(voters: [NodeID(1)]), .none] {
            #expect(try Configuration(decoding: configuration.encoded()) == configuration)
        }
    }

    @Test func `damaged bytes are refused and never trap`() {
        let bytes = Self.joint.encoded()
        for length in 0..<bytes.count {
            #expect(throws: DecodingError.self) { try Configuration(decoding: Array(bytes[..<length])) }
        }
        for position in bytes.indices {
            for bit in 0..<8 {
                var flipped = bytes
                flipped[position] ^= 1 << bit
                if let read = try? Configuration(decoding: flipped) { #expect(read.isValid || read == .none) }
            }
        }
    }

    @Test(arguments: [
        Configuration(voters: [], learners: [NodeID(1)]),
        Configuration(voters: [NodeID(1)], learners: [NodeID(1)]),
        Configuration(voters: [NodeID(1)], learnersNext: [NodeID(2)]),
        Configuration(voters: [NodeID(1)], autoLeave: true),
        Configuration(voters: [NodeID(1)], outgoing: [NodeID(1)], learnersNext: [NodeID(1)]),
    ])
    func `a configuration that breaks its rules is not valid`(configuration: Configuration) {
        #expect(!configuration.isValid)
        #expect(throws: DecodingError.self) { try Configuration(decoding: configuration.encoded()) }
    }
}
