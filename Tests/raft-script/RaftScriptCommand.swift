import Glibc
import RaftScript

/// Runs a data-driven file. Exit code 0: every case answers what it should; 1: the first difference is printed; 2: the file
/// cannot be read, is not of the format, or asks for what is not known here.
@main
enum RaftScriptCommand {
    static func main() {
        guard CommandLine.arguments.count == 2 else { fail("usage: raft-script FILE") }
        let path = CommandLine.arguments[1]
        do throws(ScriptError) {
            let script = try Script(read(path))
            guard let difference = try script.run() else {
                print("ok \(script.cases.count) cases")
                return
            }
            print(
                """
                \(path):\(difference.line): \(difference.title)
                expected:
                \(difference.expected)actual:
                \(difference.actual)
                """, terminator: "")
            exit(1)
        } catch {
            fail("\(path): \(error)")
        }
    }

    private static func read(_ path: String) -> String {
        guard let stream = fopen(path, "rb") else { fail("\(path): \(String(cString: strerror(errno)))") }
        defer { fclose(stream) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = fread(&buffer, 1, buffer.count, stream)
            bytes.append(contentsOf: buffer[..<count])
            if count == 0 { break }
        }
        if ferror(stream) != 0 { fail("\(path): \(String(cString: strerror(errno)))") }
        guard let text = String(validating: bytes, as: UTF8.self) else { fail("\(path): not UTF-8 text") }
        return text
    }

    private static func fail(_ reason: String) -> Never {
        let line = Array((reason + "\n").utf8)
        _ = write(STDERR_FILENO, line, line.count)
        exit(2)
    }
}
