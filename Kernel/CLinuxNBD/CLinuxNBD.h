// The kernel's NBD client: its netlink constants import as they are, its ioctl numbers are macros that compute and do
// not. Only the kernel's own headers: the C library's belong to one module, and that is CLinuxURing.
#pragma once
#include <linux/genetlink.h>
#include <linux/nbd-netlink.h>
#include <linux/nbd.h>
#include <linux/netlink.h>
#include <linux/ioctl.h>

static const unsigned long HABLK_NBD_SET_SOCKET = NBD_SET_SOCK;
static const unsigned long HABLK_NBD_SET_BLOCK_SIZE = NBD_SET_BLKSIZE;
static const unsigned long HABLK_NBD_SET_BLOCKS = NBD_SET_SIZE_BLOCKS;
static const unsigned long HABLK_NBD_SET_FLAGS = NBD_SET_FLAGS;
static const unsigned long HABLK_NBD_SET_TIMEOUT = NBD_SET_TIMEOUT;
static const unsigned long HABLK_NBD_CLEAR_SOCKET = NBD_CLEAR_SOCK;
static const unsigned long HABLK_NBD_DISCONNECT = NBD_DISCONNECT;
/// Returns when the device is disconnected.
static const unsigned long HABLK_NBD_DO_IT = NBD_DO_IT;
