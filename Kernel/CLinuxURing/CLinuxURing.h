// What of Linux's io_uring and process controls the Swift importer cannot take from the system's headers.
#pragma once
#include <features.h>
#include <liburing.h>
#include <sys/prctl.h>
static const unsigned int HABLK_SQE_FIXED_FILE = IOSQE_FIXED_FILE;
static const int HABLK_O_DIRECT = 040000;
static inline int hablk_set_io_flusher(void) { return prctl(57 /* PR_SET_IO_FLUSHER */, 1, 0, 0, 0); }
