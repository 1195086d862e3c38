#ifndef ESPER_CCRC32C_H
#define ESPER_CCRC32C_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// Whether this processor computes CRC-32C itself (x86-64 SSE 4.2, ARMv8 CRC).
bool esper_crc32c_is_supported(void);

/// The inverted checksum that `state` becomes over `count` bytes. Only where supported.
uint32_t esper_crc32c(uint32_t state, const void *bytes, size_t count);

#endif
