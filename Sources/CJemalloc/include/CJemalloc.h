#pragma once

#include <jemalloc/jemalloc.h>

/// Asks the kernel for huge pages for what the heap takes from it from now on, beyond the first `floor` bytes of address space. To be called once.
///
/// What is below the floor stays in small pages, so that small processes stay small. A kernel that has no huge pages gives small ones.
///
/// Returns 0, or the error of `mallctl`, with which the heap gets no huge pages.
int esper_heap_use_huge_pages(size_t floor);
