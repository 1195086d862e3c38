import Foundation
import Glibc
import Testing

/// Whatever arrives from outside: a decoder never traps, never takes more memory than its input calls for, and what it
/// accepts means one thing.
///
/// `ESPER_FUZZ_SEEDS=1000000` makes a long run of it (docs/TESTING.md).
@Suite(.timeLimit(.minutes(60))) struct DecoderTests {
    private static let seeds = ProcessInfo.processInfo.environment["ESPER_FUZZ_SEEDS"].flatMap { Double($0) } ?? 20_000

    @Test(arguments: Subject.all)
    func `what is accepted is written again as the same, and nothing traps`(subject: Subject) throws {
        for sample in subject.samples { #expect(try subject.check(sample), "\(subject.name): a sample is refused") }
        let seeds = UInt64(Self.seeds * subject.share)
        var accepted: UInt64 = 0
        for seed in 0..<seeds {
            let bytes = subject.bytes(seed: seed)
            do throws(Subject.Violation) {
                if try subject.check(bytes) { accepted += 1 }
            } catch {
                Issue.record("\(subject.name), seed \(seed): read \(error.read), written \(error.written)")
                return
            }
        }
        #expect(accepted > 0 && accepted < seeds, "\(subject.name): \(accepted) of \(seeds) are accepted")
    }

    @Test func `an announced length or count takes no memory`() async {
        await #expect(processExitsWith: .success) {
            AddressSpace.limit(toFurther: 256 << 20)
            for subject in Subject.all {
                for seed in 0..<UInt64(2000 * subject.share) { _ = subject.again(subject.bytes(seed: seed)) }
            }
        }
    }

    @Test func `the limit of the test above is one`() async {
        await #expect(processExitsWith: .failure) {
            AddressSpace.limit(toFurther: 256 << 20)
            let bytes = [UInt8](repeating: 1, count: 1 << 30)
            exit(bytes.count == 1 << 30 ? EXIT_SUCCESS : EXIT_FAILURE)
        }
    }
}

private enum AddressSpace {
    /// From here on the process traps when it asks for more than this.
    static func limit(toFurther bytes: UInt) {
        let text = (try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8)) ?? ""
        let pages = text.split(separator: " ").first.flatMap { UInt($0) } ?? 0
        var limit = rlimit()
        limit.rlim_cur = rlim_t(pages * UInt(sysconf(Int32(_SC_PAGESIZE))) + bytes)
        limit.rlim_max = limit.rlim_cur
        precondition(setrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &limit) == 0)
    }
}
