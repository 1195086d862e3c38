import Enrollment
import EsperTypes
import Testing

@Suite struct JoinTokenTests {
    static let token = JoinToken(
        id: JoinTokenID(0xa1), secret: (0..<32).map { UInt8($0) },
        authorityFingerprint: [UInt8](repeating: 0xfe, count: 32),
        cluster: ClusterID(0xc1), expires: 1_800_000_000,
        endpoints: [HostPort(host: "10.0.0.1", port: 7403), HostPort(host: "::1", port: 17_403)])

    @Test func `a token reads back, blanks around it or not`() throws {
        let text = Self.token.text
        #expect(text.hasPrefix("esper-join-1."))
        #expect(text.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f && $0 != 0x3d && $0 != 0x2f && $0 != 0x2b })
        for written in [text, " \(text)\n", "\n\t\(text) "] { #expect(try JoinToken(written) == Self.token) }
    }

    @Test func `a token that was changed or cut anywhere is refused`() {
        let text = Array(Self.token.text)
        for position in text.indices {
            var changed = text
            changed[position] = changed[position] == "A" ? "B" : "A"
            #expect(throws: JoinTokenError.self) { try JoinToken(String(changed)) }
            #expect(throws: JoinTokenError.self) { try JoinToken(String(text[..<position])) }
        }
        #expect(throws: JoinTokenError.damaged) { try JoinToken(Self.token.text + "A") }
    }

    @Test(arguments: [
        ("", JoinTokenError.notAToken), ("esper-join-", .notAToken), ("esper-join-1", .newerFormat),
        ("esper-join-1.", .damaged), ("esper-join-2.AAAA", .newerFormat), ("ESPER-JOIN-1.AAAA", .notAToken),
        ("esper-join-1.ä", .damaged), ("esper-join-1.AA=A", .damaged),
    ])
    func `what is no token is told apart`(text: String, error: JoinTokenError) {
        #expect(throws: error) { try JoinToken(text) }
    }

    @Test func `a token beyond any length is refused`() {
        #expect(throws: JoinTokenError.damaged) {
            try JoinToken("esper-join-1." + String(repeating: "A", count: 100_000))
        }
    }

    @Test func `a token does not show its secret where it is printed`() {
        let secret = Self.token.text.dropFirst(40).prefix(20)
        for printed in ["\(Self.token)", String(reflecting: Self.token), "\([Self.token])"] {
            #expect(!printed.contains(secret))
            #expect(printed.contains("00000000000000a1"))
        }
    }
}
