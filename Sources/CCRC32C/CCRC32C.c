#include "CCRC32C.h"

#include <string.h>

#if defined(__x86_64__)

#include <nmmintrin.h>

bool esper_crc32c_is_supported(void) { return __builtin_cpu_supports("sse4.2"); }

#define STEP_ATTRIBUTE __attribute__((target("sse4.2")))
#define STEP_8(state, word) (uint32_t) _mm_crc32_u64(state, word)
#define STEP_1(state, byte) _mm_crc32_u8(state, byte)

#elif defined(__aarch64__)

#include <arm_acle.h>
#include <sys/auxv.h>

bool esper_crc32c_is_supported(void) { return (getauxval(AT_HWCAP) & (1 << 7)) != 0; }

#define STEP_ATTRIBUTE __attribute__((target("crc")))
#define STEP_8(state, word) __crc32cd(state, word)
#define STEP_1(state, byte) __crc32cb(state, byte)

#endif

#if defined(STEP_ATTRIBUTE)

STEP_ATTRIBUTE
uint32_t esper_crc32c(uint32_t state, const void *bytes, size_t count) {
    const uint8_t *next = bytes;
    for (; count >= 8; count -= 8, next += 8) {
        uint64_t word;
        memcpy(&word, next, sizeof word);
        state = STEP_8(state, word);
    }
    for (; count > 0; count--, next++) state = STEP_1(state, *next);
    return state;
}

#else

bool esper_crc32c_is_supported(void) { return false; }

uint32_t esper_crc32c(uint32_t state, const void *bytes, size_t count) {
    (void)bytes;
    (void)count;
    return state;
}

#endif
