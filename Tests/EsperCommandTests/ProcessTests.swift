import Foundation
import Synchronization
import Testing
import esper

@Suite(.timeLimit(.minutes(1)))
struct ProcessTests {
    private static func temporaryPath() -> String {
        NSTemporaryDirectory() + "/esper-command-tests.\(UInt64.random(in: 0 ... .max))"
    }

    @Test func `a record finds its process again, and no other with the same number`() throws {
        let path = Self.temporaryPath()
        defer { unlink(path) }
        var record = try #require(ProcessRecord(running: getpid()))
        #expect(record.isRunning)
        try record.write(to: path)
        #expect(ProcessRecord(file: path) == record)
        record.startTicks += 1
        #expect(!record.isRunning)
        #expect(!record.signal(SIGTERM))
    }

    @Test(arguments: ["", "1 2", "x 2 boot", "0 1 boot", "1 1 boot", "-5 1 boot"])
    func `a record that is not ours is no record`(text: String) throws {
        let path = Self.temporaryPath()
        defer { unlink(path) }
        try Files.write(text, to: path)
        #expect(ProcessRecord(file: path) == nil)
    }

    @Test func `a detached process is found and ends on a signal`() async throws {
        let log = Self.temporaryPath()
        defer { unlink(log) }
        let record = try Spawn.detached(["/bin/sh", "-c", "echo started; exec sleep 60"], log: log)
        #expect(record.isRunning)
        #expect(record.signal(SIGTERM))
        #expect(await Spawn.ending(of: record.pid) == 128 + SIGTERM)
        #expect(!record.isRunning)
    }

    @Test func `a process whose first thread has ended runs until its last has`() async throws {
        let log = Self.temporaryPath()
        defer { unlink(log) }
        let record = try Spawn.detached(
            [
                "/usr/bin/python3", "-c",
                "import ctypes, platform, threading, time; threading.Thread(target=time.sleep, args=(60,)).start(); "
                    + "ctypes.CDLL(None).syscall({'x86_64': 60, 'aarch64': 93}[platform.machine()], 0)",
            ], log: log)
        let stat = URL(fileURLWithPath: "/proc/\(record.pid)/stat")
        while try !String(contentsOf: stat, encoding: .utf8).contains(") Z ") { await Task.yield() }
        #expect(record.isRunning)
        #expect(record.signal(SIGKILL))
        #expect(await Spawn.ending(of: record.pid) == 128 + SIGKILL)
        #expect(!record.isRunning)
    }

    @Test func `a detached process holds nothing open that is ours`() async throws {
        let log = Self.temporaryPath()
        defer { unlink(log) }
        var ends: [Int32] = [-1, -1]
        try #require(pipe(&ends) == 0)
        defer { ends.forEach { close($0) } }
        var status = stat()
        try #require(fstat(ends[1], &status) == 0)
        let record = try Spawn.detached(["/bin/sleep", "60"], log: log)
        // Of this process alone: what other tests start meanwhile may have the pipe, too.
        let directory = "/proc/\(record.pid)/fd/"
        let held = try FileManager.default.contentsOfDirectory(atPath: directory).map {
            try FileManager.default.destinationOfSymbolicLink(atPath: directory + $0)
        }
        #expect(!held.isEmpty)
        #expect(!held.contains("pipe:[\(status.st_ino)]"), "\(held)")
        #expect(record.signal(SIGTERM))
        #expect(await Spawn.ending(of: record.pid) == 128 + SIGTERM)
    }

    @Test func `a command's exit code is passed on, and its environment reaches it`() async throws {
        let child = try GuardedChild(
            ["/bin/sh", "-c", "exit $ESPER_FENCING_TOKEN"], environment: ["ESPER_FENCING_TOKEN": "42"],
            outputToError: true)
        let (code, lost) = await child.run { nil }
        #expect(code == 42)
        #expect(lost == nil)
    }

    @Test func `a command is ended when what it needs is lost`() async throws {
        let child = try GuardedChild(["/bin/sh", "-c", "sleep 60"], environment: [:], outputToError: true)
        let (code, lost) = await child.run { "gone" }
        #expect(code == 128 + SIGTERM)
        #expect(lost == "gone")
    }

    @Test func `a program that fails is quoted`() async throws {
        let failure = await #expect(throws: CommandFailure.self) {
            try await Spawn.run(["/bin/sh", "-c", "echo what went wrong; exit 3"])
        }
        #expect(failure?.message == "/bin/sh failed with 3: what went wrong")
    }

    @Test func `a port that is taken is one line with the port, who has it and what to do`() throws {
        let file = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(file) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let port =
            withUnsafeMutablePointer(to: &address) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                    bind(file, pointer, length) == 0 && listen(file, 1) == 0 && getsockname(file, pointer, &length) == 0
                }
            } ? Int(UInt16(bigEndian: address.sin_port)) : 0
        try #require(port > 0)
        #expect(!PortCheck.isFree(port))
        let failure = #expect(throws: CommandFailure.self) {
            try PortCheck([(port, "PostgreSQL")]).run(isNew: true, directory: "/nowhere")
        }
        let message = failure?.message ?? ""
        #expect(message.hasPrefix("port \(port) for PostgreSQL is taken by "))
        #expect(message.contains("(pid \(getpid()))"))
        #expect(message.hasSuffix("choose another --base-port"))
        #expect(!message.contains("\n"))
    }
}
