import Simulation
import Testing

@Suite struct HistoryTests {
    @Test func `a line of the format is read field by field`() throws {
        let line =
            #"{"process":3,"op":"cas","key":"k7","input":[1,2],"output":true,"call_ns":1200,"return_ns":1950,"status":"ok","model":"register","node":"n1"}"#
        let history = try History(reading: line)
        let operation = try #require(history.operations.first)
        #expect(operation.process == 3)
        #expect(operation.op == "cas")
        #expect(operation.key == "k7")
        #expect(operation.input == [1, 2])
        #expect(operation.output == true)
        #expect(operation.callNanoseconds == 1200)
        #expect(operation.returnNanoseconds == 1950)
        #expect(operation.status == .ok)
        #expect(operation.model == "register")
        #expect(operation.extra == [.init("node", "n1")])
        #expect(operation.line == line)
    }

    @Test func `what is written is read back`() throws {
        let history = History(
            header: ["header": true, "seed": 7],
            operations: [
                HistoryOperation(
                    process: 1, op: "write", key: "k\"\\\n\u{1}é", input: "line\tbreak", callNanoseconds: 1,
                    returnNanoseconds: nil, status: .info),
                HistoryOperation(
                    process: 2, op: "acquire", key: "l", output: ["token": 9], callNanoseconds: 2,
                    returnNanoseconds: 5, status: .ok, model: "lock"),
            ],
            faults: [.init(kind: "kill", startNanoseconds: 3, endNanoseconds: 4, target: "n1")])
        #expect(try History(reading: history.text) == history)
    }

    @Test(arguments: [
        ("{", 1), ("[1]", 1), ("\n\n{\"process\":1}", 3), (#"{"process":"x"}"#, 1), ("{} {}", 1), ("nul", 1),
        (#"{"process":1,"op":"read","key":"k","call_ns":1,"return_ns":"soon","status":"ok","model":"register"}"#, 1),
        (#"{"process":1,"op":"read","key":"k","call_ns":1,"return_ns":2,"status":"fine","model":"register"}"#, 1),
    ])
    func `a line that is not of the format is named`(text: String, line: Int) throws {
        let error = #expect(throws: History.ReadingError.self) { _ = try History(reading: text) }
        #expect(error?.line == line)
    }

    @Test(
        arguments: [
            ("null", nil), ("true", true), ("-12", -12), ("\"\\u00e9\\ud83d\\ude00\"", "é😀"), ("[ 1 , [ ] ]", [1, []]),
            ("{\"a\" : {}}", ["a": .object([])]), ("1.5e1", .number(15)), ("18446744073709551615", .number(0x1p64)),
        ] as [(String, JSONValue)])
    func `JSON values are read`(text: String, value: JSONValue) throws {
        #expect(try JSONValue(parsing: text) == value)
    }

    @Test(arguments: [
        "", "01", "+1", "\"", "\"\\x\"", "\"\\ud800\"", "[1,]", "{\"a\":1,}", "{1:2}", "tru", "--1", "1e999",
        "\"\u{1}\"",
    ])
    func `what is not JSON is refused`(text: String) {
        #expect(throws: JSONError.self) { _ = try JSONValue(parsing: text) }
    }

    @Test func `deep nesting is refused, not recursed into`() {
        #expect(throws: JSONError.self) {
            _ = try JSONValue(parsing: [UInt8](repeating: UInt8(ascii: "["), count: 100_000))
        }
    }

    @Test func `a line cut at any byte is refused and never traps`() throws {
        let line = [UInt8](#"{"process":3,"input":[1,-2.5e3,"é\n"],"x":{"y":[null,true]}}"#.utf8)
        for count in 0..<line.count {
            #expect(throws: JSONError.self) { _ = try JSONValue(parsing: Array(line[..<count])) }
        }
    }
}
