import ObjectStore
import Testing

@Suite struct XMLElementTests {
    private func read(_ text: String) throws -> XMLElement { try XMLElement(document: Array(text.utf8)) }

    @Test func `elements, text and entities are read`() throws {
        let root = try read(
            """
            \u{feff}<?xml version="1.0" encoding="UTF-8"?>
            <!-- what a store says -->
            <s3:List xmlns:s3="http://s3.amazonaws.com/doc/2006-03-01/" other='<b'>
              <Name>a&amp;b &lt;&gt;&quot;&apos; &#65;&#x1F600;</Name><Empty/><Empty  />
              <Deep><Name><![CDATA[1 < 2 & ]]></Name ></Deep>
            </s3:List>
            <!-- the end -->
            """)
        #expect(root.name == "List")
        #expect(root.text(of: "Name") == "a&b <>\"' A\u{1f600}")
        #expect(root.all("Empty").count == 2)
        #expect(root.text(of: "Empty") == nil)
        #expect(root.all("Deep").first?.text(of: "Name") == "1 < 2 & ")
    }

    @Test(arguments: [
        "", "text", "<a>", "<a></b>", "<a/><b/>", "<a/>text", "<a b></a>", "<a b=c></a>", "<a b=\"c></a>", "<a>&b;</a>",
        "<a>&amp</a>", "<a>&#xD800;</a>", "<a>&#;</a>", "<a>&#+65;</a>", "<a><!-- </a>", "<a><![CDATA[ </a>", "< a/>",
        "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>", "<a><?b?></a>",
    ])
    func `anything else is refused`(text: String) {
        #expect(throws: XMLElement.Failure.self) { try read(text) }
    }

    @Test func `what nests too deep is refused`() throws {
        func nested(_ depth: Int) -> String {
            String(repeating: "<a>", count: depth) + String(repeating: "</a>", count: depth)
        }
        _ = try read(nested(XMLElement.maximumDepth))
        #expect(throws: XMLElement.Failure.self) { try read(nested(XMLElement.maximumDepth + 1)) }
        #expect(throws: XMLElement.Failure.self) { try read(String(repeating: "<a>", count: 1_000_000)) }
    }

    @Test func `a document that breaks off is refused at every byte`() throws {
        let document = Array("<?xml version=\"1.0\"?><a b=\"c\"><d>&amp;<![CDATA[e]]></d><!-- f --></a>".utf8)
        _ = try XMLElement(document: document)
        for end in 0..<document.count {
            #expect(throws: XMLElement.Failure.self) { try XMLElement(document: Array(document[..<end])) }
        }
    }

    @Test func `text that is not UTF-8 is refused`() {
        #expect(throws: XMLElement.Failure.self) {
            try XMLElement(document: Array("<a>".utf8) + [0xff] + Array("</a>".utf8))
        }
    }
}
