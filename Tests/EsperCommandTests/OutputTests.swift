import Testing
import esper

struct OutputTests {
    @Test func `a document keeps its order and escapes what it must`() {
        let document = JSON.fields([
            "b": "a \"quoted\"\n\\ \u{1}", "a": .array([.null, .bool(true), .int(-3), .unsigned(.max), .number(1.5)]),
            "none": .number(.nan), "empty": .fields([:]),
        ])
        #expect(
            document.text
                == #"{"b":"a \"quoted\"\n\\ \u0001","a":[null,true,-3,18446744073709551615,1.5],"none":null,"empty":{}}"#
        )
    }

    @Test func `bytes that are no text are given as base64`() {
        #expect(JSON.object(Bytes.fields("value", [0x68, 0x69])).text == #"{"value":"hi"}"#)
        #expect(JSON.object(Bytes.fields("value", [0xff, 0x00])).text == #"{"value":null,"value_base64":"/wA="}"#)
        #expect(Bytes.readable([0x61, 0xff, 0x0a]) == #"a\xff\x0a"#)
    }

    @Test func `numbers stand to the right, words to the left, nothing is a dash`() {
        var table = Table("name", "count")
        table.add("long name", "7")
        table.add("n", "120")
        table.add("", "")
        #expect(table.text == "NAME       COUNT\nlong name      7\nn            120\n-              -")
    }
}
