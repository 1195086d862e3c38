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
}
