import Identity
import Testing

@Suite struct SPIFFEIDTests {
    @Test(arguments: [
        "spiffe://esper.local/node/n1", "spiffe://esper.local/client/train-42", "spiffe://a/node/N_1.x",
        "spiffe://a-b_c.9/client/...x",
    ])
    func `an identity is read from and written in one spelling`(text: String) throws {
        #expect(try SPIFFEID(text).description == text)
    }

    @Test(arguments: [
        ("", SPIFFEID.ParseError.notSPIFFE),
        ("spiffe:/esper.local/node/n1", .notSPIFFE),
        ("SPIFFE://esper.local/node/n1", .notSPIFFE),
        ("https://esper.local/node/n1", .notSPIFFE),
        ("spiffe://", .trustDomain),
        ("spiffe:///node/n1", .trustDomain),
        ("spiffe://Esper.local/node/n1", .trustDomain),
        ("spiffe://esper.local:7400/node/n1", .trustDomain),
        ("spiffe://user@esper.local/node/n1", .trustDomain),
        ("spiffe://esper.löcal/node/n1", .trustDomain),
        ("spiffe://" + String(repeating: "a", count: 256) + "/node/n1", .trustDomain),
        ("spiffe://esper.local", .path),
        ("spiffe://esper.local/", .path),
        ("spiffe://esper.local/node", .path),
        ("spiffe://esper.local/Node/n1", .path),
        ("spiffe://esper.local/admin/n1", .path),
        ("spiffe://esper.local/node/n1/", .path),
        ("spiffe://esper.local//node/n1", .path),
        ("spiffe://esper.local/node/", .name),
        ("spiffe://esper.local/node/.", .name),
        ("spiffe://esper.local/node/..", .name),
        ("spiffe://esper.local/node/n1?x", .name),
        ("spiffe://esper.local/node/n%31", .name),
        ("spiffe://esper.local/node/n1\0", .name),
        ("spiffe://esper.local/node/" + String(repeating: "n", count: 65), .name),
    ])
    func `anything else is refused with the part at fault`(text: String, reason: SPIFFEID.ParseError) {
        #expect(throws: reason) { try SPIFFEID(text) }
    }

    @Test func `parts that could not be read back are refused when an identity is made`() {
        #expect(throws: SPIFFEID.ParseError.name) { try SPIFFEID(trustDomain: "a", role: .node, name: "x/y") }
        #expect(throws: SPIFFEID.ParseError.trustDomain) { try SPIFFEID(trustDomain: "a/b", role: .node, name: "x") }
    }
}
