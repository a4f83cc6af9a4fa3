// What `compression: zstd` makes payloads shorter with comes from the system's library.
#pragma once
#include <zstd.h>
