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
}
