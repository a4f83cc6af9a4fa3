#include "CChecksum.h"

#include <string.h>

typedef uint32_t (*crc_function)(uint32_t, const uint8_t *, size_t);

struct implementation {
    crc_function run;
    const char *name;
};

static uint64_t load64(const uint8_t *bytes) {
    uint64_t value;
    memcpy(&value, bytes, sizeof value);  // An unaligned load; the compiler sees through it.
    return value;
}

// ---- By tables: eight bytes a step. -------------------------------------------------------------------------------

#define POLYNOMIAL 0x82f63b78u  // Castagnoli, bits reflected.

static uint32_t table[8][256];

// Before main, so that no call has to ask whether the tables are there.
__attribute__((constructor)) static void fill_table(void) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;
        for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ (crc & 1 ? POLYNOMIAL : 0);
        table[0][byte] = crc;
    }
    for (uint32_t byte = 0; byte < 256; byte++) {
        for (int step = 1; step < 8; step++) {
            uint32_t before = table[step - 1][byte];
            table[step][byte] = (before >> 8) ^ table[0][before & 0xff];
        }
    }
}

static uint32_t crc_table(uint32_t crc, const uint8_t *bytes, size_t count) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    for (; count >= 8; bytes += 8, count -= 8) {
        uint64_t word = load64(bytes) ^ crc;
        crc = table[7][word & 0xff] ^ table[6][(word >> 8) & 0xff] ^ table[5][(word >> 16) & 0xff] ^
              table[4][(word >> 24) & 0xff] ^ table[3][(word >> 32) & 0xff] ^ table[2][(word >> 40) & 0xff] ^
              table[1][(word >> 48) & 0xff] ^ table[0][word >> 56];
    }
#endif
    for (; count > 0; bytes++, count--) crc = (crc >> 8) ^ table[0][(crc ^ *bytes) & 0xff];
    return crc;
}

// ---- By the processor. --------------------------------------------------------------------------------------------
//
// The instruction takes three cycles and one can begin in each, so one stream uses a third of the processor. Three
// streams of LANE bytes run side by side; afterwards the first two are moved over what follows them: multiplied by
// x^(8n) modulo the polynomial. A carry-less product with the constant x^(8n-33) (reflected), reduced by the same
// instruction, does that. LANE × 3 = 4080: a block of 4 KiB is one round and two more words.

#define LANE 1360
#define SHIFT_ONE_LANE 0x3f70cc6fu   // x^(8·1360−33) mod P
#define SHIFT_TWO_LANES 0x5aa1f3cfu  // x^(8·2720−33) mod P

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>

#define ONE_STREAM __attribute__((target("sse4.2")))
#define THREE_STREAMS __attribute__((target("sse4.2,pclmul")))
#define STEP64(crc, word) ((uint32_t)_mm_crc32_u64((crc), (word)))
#define STEP8(crc, byte) _mm_crc32_u8((crc), (byte))

THREE_STREAMS static inline uint32_t shifted(uint32_t crc, uint32_t constant) {
    __m128i product = _mm_clmulepi64_si128(_mm_cvtsi32_si128((int)crc), _mm_cvtsi32_si128((int)constant), 0);
    return STEP64(0, (uint64_t)_mm_cvtsi128_si64(product));
}

#elif defined(__aarch64__) && defined(__linux__)
#include <arm_acle.h>
#include <arm_neon.h>
#include <sys/auxv.h>

#define ONE_STREAM __attribute__((target("crc")))
#define THREE_STREAMS __attribute__((target("crc,aes")))
#define STEP64(crc, word) __crc32cd((crc), (word))
#define STEP8(crc, byte) __crc32cb((crc), (byte))
#define CAPABILITY_PMULL (1ul << 4)
#define CAPABILITY_CRC32 (1ul << 7)

THREE_STREAMS static inline uint32_t shifted(uint32_t crc, uint32_t constant) {
    return STEP64(0, (uint64_t)vmull_p64(crc, constant));
}
#endif

#if defined(STEP64)
ONE_STREAM static uint32_t crc_one_stream(uint32_t crc, const uint8_t *bytes, size_t count) {
    for (; count >= 8; bytes += 8, count -= 8) crc = STEP64(crc, load64(bytes));
    for (; count > 0; bytes++, count--) crc = STEP8(crc, *bytes);
    return crc;
}

THREE_STREAMS static uint32_t crc_three_streams(uint32_t crc, const uint8_t *bytes, size_t count) {
    while (count >= 3 * LANE) {
        uint32_t second = 0, third = 0;
        for (size_t at = 0; at < LANE; at += 8) {
            crc = STEP64(crc, load64(bytes + at));
            second = STEP64(second, load64(bytes + LANE + at));
            third = STEP64(third, load64(bytes + 2 * LANE + at));
        }
        crc = shifted(crc, SHIFT_TWO_LANES) ^ shifted(second, SHIFT_ONE_LANE) ^ third;
        bytes += 3 * LANE;
        count -= 3 * LANE;
    }
    return crc_one_stream(crc, bytes, count);
}
#endif

static struct implementation best(void) {
#if defined(__x86_64__)
    unsigned a, b, c, d;
    if (__get_cpuid(1, &a, &b, &c, &d)) {
        if ((c & bit_SSE4_2) && (c & bit_PCLMUL)) {
            return (struct implementation){crc_three_streams, "sse4.2+pclmul"};
        }
        if (c & bit_SSE4_2) return (struct implementation){crc_one_stream, "sse4.2"};
    }
#elif defined(STEP64)
    unsigned long capabilities = getauxval(AT_HWCAP);
    if ((capabilities & CAPABILITY_CRC32) && (capabilities & CAPABILITY_PMULL)) {
        return (struct implementation){crc_three_streams, "arm64 crc+pmull"};
    }
    if (capabilities & CAPABILITY_CRC32) return (struct implementation){crc_one_stream, "arm64 crc"};
#endif
    return (struct implementation){crc_table, "table"};
}

static struct implementation chosen = {crc_table, "table"};

__attribute__((constructor)) static void choose(void) { chosen = best(); }

uint32_t hablk_crc32c(uint32_t crc, const void *bytes, size_t count) { return ~chosen.run(~crc, bytes, count); }

uint32_t hablk_crc32c_portable(uint32_t crc, const void *bytes, size_t count) {
    return ~crc_table(~crc, bytes, count);
}

const char *hablk_crc32c_implementation(void) { return chosen.name; }

bool hablk_is_zero(const void *start, size_t count) {
    const uint8_t *bytes = start;
    for (; count >= 256; bytes += 256, count -= 256) {
        uint64_t any = 0;
        for (int at = 0; at < 256; at += 8) any |= load64(bytes + at);
        if (any != 0) return false;
    }
    uint8_t any = 0;
    for (size_t at = 0; at < count; at++) any |= bytes[at];
    return any == 0;
}
