import CJemalloc

/// The allocator of this process: jemalloc takes the place of the C library's.
///
/// A node allocates and frees small blocks of all ages on several threads, which is what it is made for.
enum Allocator {
    /// Named so that the linker keeps the library, and so that a log tells what ran.
    static var version: String {
        var text: UnsafePointer<CChar>?
        var size = MemoryLayout.size(ofValue: text)
        guard mallctl("version", &text, &size, nil, 0) == 0, let text else { return "unknown" }
        return String(cString: text)
    }

    /// What the heap may have in small pages: more than an idle node takes.
    private static let smallPages = 128 << 20

    /// A large heap in small pages costs every search in the state misses of the processor's table of pages, and the
    /// end of the process, which its peers wait for, the return of each of them.
    ///
    /// - Returns: why there are none, or `nil`.
    static func useHugePages() -> Int32? {
        let failure = esper_heap_use_huge_pages(smallPages)
        return failure == 0 ? nil : failure
    }
}
