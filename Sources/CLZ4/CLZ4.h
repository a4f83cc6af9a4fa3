// What `compression: lz4` makes payloads shorter with comes from the system's library.
#pragma once
#include <lz4.h>
