#include "CJemalloc.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>

// jemalloc's `thp:always` would ask for huge pages from the first byte on, and `thp:default` never does.

static extent_hooks_t *plain;
static extent_hooks_t hooks;
static atomic_size_t small_pages = SIZE_MAX;
static atomic_size_t mapped;

static void *map(
    extent_hooks_t *unused, void *address, size_t size, size_t alignment, bool *zero, bool *commit, unsigned arena) {
    void *memory = plain->alloc(plain, address, size, alignment, zero, commit, arena);
    // Only advice: where it is not taken, nothing is lost.
    if (memory && atomic_fetch_add(&mapped, size) >= atomic_load(&small_pages)) madvise(memory, size, MADV_HUGEPAGE);
    return memory;
}

/// The arena of large blocks, which does not exist before the first of them.
static void begin_large_blocks(void) {
    size_t least;
    size_t size = sizeof least;
    if (mallctl("opt.oversize_threshold", &least, &size, NULL, 0) || least == 0) return;
    void *block = mallocx(least, 0);
    if (block) dallocx(block, 0);
}

int esper_heap_use_huge_pages(size_t floor) {
    unsigned arenas;
    size_t size = sizeof arenas;
    int failure = mallctl("arenas.narenas", &arenas, &size, NULL, 0);
    if (failure) return failure;
    size = sizeof plain;
    failure = mallctl("arena.0.extent_hooks", &plain, &size, NULL, 0);
    if (failure) return failure;
    hooks = *plain;
    hooks.alloc = map;
    begin_large_blocks();
    for (unsigned arena = 0; arena < arenas; arena++) {
        char name[48];
        extent_hooks_t *ours = &hooks;
        snprintf(name, sizeof name, "arena.%u.extent_hooks", arena);
        failure = mallctl(name, NULL, NULL, &ours, sizeof ours);
        if (failure) return failure;
    }
    // What the arenas took to begin with, one for each of four times the processors, does not count.
    atomic_store(&mapped, 0);
    atomic_store(&small_pages, floor);
    return 0;
}
