#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// CRC32C (Castagnoli) of `count` bytes behind data whose checksum is `crc`; begin with 0.
/// Uses the processor's instructions when it has them: found once, at run time.
uint32_t hablk_crc32c(uint32_t crc, const void *bytes, size_t count);

/// The same by a table, for tests and for processors without the instruction.
uint32_t hablk_crc32c_portable(uint32_t crc, const void *bytes, size_t count);

/// What `hablk_crc32c` runs on here: "sse4.2+pclmul", "sse4.2", "arm64 crc+pmull", "arm64 crc" or "table".
const char *hablk_crc32c_implementation(void);

/// Whether all `count` bytes are zero. Stops early at the first difference, in steps of 256 bytes.
bool hablk_is_zero(const void *bytes, size_t count);
