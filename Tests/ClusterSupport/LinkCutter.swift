import Foundation
import TestSupport

/// Closes connections between two processes from outside, as a network does that resets them: both ends see it.
///
/// A program that the C compiler makes takes copies of the process's sockets (pidfd_getfd(2)), and shuts those down.
public struct LinkCutter: Sendable {
    private let program: String

    private static let source = """
        #define _GNU_SOURCE
        #include <arpa/inet.h>
        #include <dirent.h>
        #include <stdio.h>
        #include <stdlib.h>
        #include <sys/socket.h>
        #include <sys/syscall.h>
        #include <unistd.h>

        int main(int count, char **words) {
            char path[64];
            if (count != 3) return 2;
            int process = syscall(SYS_pidfd_open, atoi(words[1]), 0), port = atoi(words[2]), copied = 0, closed = 0;
            snprintf(path, sizeof path, "/proc/%s/fd", words[1]);
            DIR *files = opendir(path);
            if (process < 0 || !files) return 2;
            for (struct dirent *file; (file = readdir(files));) {
                struct sockaddr_in address;
                socklen_t size = sizeof address;
                int copy = syscall(SYS_pidfd_getfd, process, atoi(file->d_name), 0);
                if (copy < 0) continue;
                copied++;
                if (getpeername(copy, (struct sockaddr *)&address, &size) == 0 && address.sin_family == AF_INET
                    && ntohs(address.sin_port) == port && shutdown(copy, SHUT_RDWR) == 0) closed++;
                close(copy);
            }
            return (port > 0 ? closed : copied) > 0 ? 0 : 1;
        }
        """

    /// Whether the system lets this process copy what another has open, tried once.
    public static let isPossible: Bool = {
        let directory = NSTemporaryDirectory() + "esper-cutter-\(UInt64.random(in: 0 ... .max))"
        defer { try? FileManager.default.removeItem(atPath: directory) }
        do {
            try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
            let cutter = try LinkCutter(in: directory)
            let other = try Child("/bin/sh", ["-c", "read -r line"], output: "/dev/null")
            defer {
                other.writeLine()
                _ = other.wait()
            }
            // No port: nothing is closed.
            try Child.run(cutter.program, ["\(other.pid)", "0"])
            return true
        } catch {
            return false
        }
    }()

    /// - Parameter directory: takes what is needed for it.
    public init(in directory: String) throws {
        let source = directory + "/link-cutter.c"
        program = directory + "/link-cutter"
        try Self.source.write(toFile: source, atomically: true, encoding: .utf8)
        try Child.run("/usr/bin/cc", ["-O1", "-o", program, source])
    }

    /// Closes every connection by which the process calls `port`.
    ///
    /// - Throws: when there is none, or the system does not let us.
    public func cut(_ process: NodeProcess, calling port: Int) throws {
        try Child.run(program, ["\(process.identifier)", "\(port)"])
    }
}
