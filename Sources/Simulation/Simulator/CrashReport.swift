import Glibc
import Synchronization

/// Names the seeds that were running when the process trapped.
///
/// A broken invariant of a core stops the process, as it should; without this nobody would know which seed to replay.
enum CrashReport {
    static let maximumJobs = 64

    /// By job: the seed it runs, plus one; 0 when none.
    private static let running = UnsafeRunningSeeds()

    /// Storage that a signal handler may read: allocated once, never freed, read and written in whole words.
    ///
    /// `@unchecked` holds because each word is written by one job alone, and read only while the process dies.
    private struct UnsafeRunningSeeds: @unchecked Sendable {
        let words = UnsafeMutablePointer<UInt64>.allocate(capacity: maximumJobs)
        init() { words.initialize(repeating: 0, count: maximumJobs) }
    }

    static func begins(seed: UInt64, job: Int) {
        guard job < maximumJobs else { return }
        running.words[job] = seed &+ 1
    }

    static func install() {
        for number in [SIGILL, SIGTRAP, SIGSEGV, SIGBUS] {
            signal(number) { number in
                for job in 0..<CrashReport.maximumJobs where CrashReport.running.words[job] > 0 {
                    CrashReport.write("trapped while running; to see it: simulate replay --seed ")
                    CrashReport.write(CrashReport.running.words[job] - 1)
                    CrashReport.write("\n")
                }
                signal(number, SIG_DFL)
                raise(number)
            }
        }
    }

    private static func write(_ text: StaticString) {
        _ = Glibc.write(2, text.utf8Start, text.utf8CodeUnitCount)
    }

    /// Digits by hand: nothing in a signal handler may allocate.
    private static func write(_ number: UInt64) {
        var divisor: UInt64 = 1
        while number / divisor >= 10 { divisor *= 10 }
        while divisor > 0 {
            var digit = UInt8(ascii: "0") + UInt8(number / divisor % 10)
            _ = Glibc.write(2, &digit, 1)
            divisor /= 10
        }
    }
}
