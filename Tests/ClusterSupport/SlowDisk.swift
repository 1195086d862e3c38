import Foundation
import TestSupport

/// Makes the disk of a process slow, and fast again: every write to its log takes longer by a second.
///
/// The process loads a library before all others, which stands between it and the system's calls; the C compiler that builds
/// the program makes it.
public struct SlowDisk: Sendable {
    /// For the process whose disk it is to be.
    public let environment: [String: String]
    private let mark: String

    private static let source = """
        #define _GNU_SOURCE
        #include <errno.h>
        #include <stdio.h>
        #include <stdlib.h>
        #include <string.h>
        #include <sys/syscall.h>
        #include <time.h>
        #include <unistd.h>

        static void delay(int file) {
            const char *mark = getenv("SLOW_DISK");
            char link[64], path[4096];
            snprintf(link, sizeof link, "/proc/self/fd/%d", file);
            ssize_t length = readlink(link, path, sizeof path - 1);
            if (length < 8 || !mark || access(mark, F_OK) != 0) return;
            path[length] = 0;
            if (strcmp(path + length - 8, ".segment") != 0) return;
            struct timespec second = { 1, 0 };
            nanosleep(&second, NULL);
        }

        ssize_t pwrite(int file, const void *bytes, size_t count, off_t offset) {
            delay(file);
            return syscall(SYS_pwrite64, file, bytes, count, offset);
        }

        int fdatasync(int file) {
            delay(file);
            return syscall(SYS_fdatasync, file);
        }
        """

    /// - Parameter directory: takes what is needed for it.
    public init(in directory: String) throws {
        let (source, library) = (directory + "/slow-disk.c", directory + "/slow-disk.so")
        try Self.source.write(toFile: source, atomically: true, encoding: .utf8)
        try Child.run("/usr/bin/cc", ["-shared", "-fPIC", "-O1", "-o", library, source])
        mark = directory + "/slow-disk"
        environment = ["LD_PRELOAD": library, "SLOW_DISK": mark]
    }

    public func slowDown() throws { try Data().write(to: URL(fileURLWithPath: mark)) }

    public func speedUp() throws { try FileManager.default.removeItem(atPath: mark) }
}
