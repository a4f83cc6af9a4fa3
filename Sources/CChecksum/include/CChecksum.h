#pragma once
#include <stddef.h>
#include <stdint.h>
uint32_t hablk_crc32c(uint32_t crc, const void *bytes, size_t count);
