// What of Linux's io_uring, files, sockets and process controls the Swift importer cannot take from the system's
// headers: macros that compute, variadic functions, unions, anonymous enums. Plain types only; nothing decides here.
#pragma once
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include <features.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <pthread.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

// The ring.

/// Completions are delivered only while we wait in the kernel: the cheapest mode, and one that needs Linux 6.1.
static const unsigned int HABLK_RING_DEFERRED =
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN;
static const unsigned int HABLK_RING_COOPERATIVE = IORING_SETUP_COOP_TASKRUN;
static const unsigned int HABLK_RING_ALWAYS = IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE | IORING_SETUP_SUBMIT_ALL;
static const int HABLK_WRITE_DURABLE = RWF_DSYNC;
static const unsigned int HABLK_FSYNC_DATA = IORING_FSYNC_DATASYNC;
static const int HABLK_CANCEL_ALL = IORING_ASYNC_CANCEL_ALL;

static inline int hablk_ring_open(struct io_uring *ring, unsigned entries, unsigned completions, unsigned flags) {
    struct io_uring_params parameters = {.flags = flags | HABLK_RING_ALWAYS, .cq_entries = completions};
    return io_uring_queue_init_params(entries, ring, &parameters);
}

/// Takes one completion without a system call; false when there is none.
static inline bool hablk_ring_next(struct io_uring *ring, uint64_t *user_data, int32_t *result, uint32_t *flags) {
    unsigned head = *ring->cq.khead;
    if (head == io_uring_smp_load_acquire(ring->cq.ktail)) return false;
    const struct io_uring_cqe *entry = &ring->cq.cqes[head & ring->cq.ring_mask];
    *user_data = entry->user_data;
    *result = entry->res;
    *flags = entry->flags;
    io_uring_cq_advance(ring, 1);
    return true;
}

// Without io_uring: readiness by epoll, files by threads. Results as a completion has them: negative for an error.

static inline int hablk_epoll_open(void) { return epoll_create1(EPOLL_CLOEXEC); }
/// The next of `events` at this descriptor is told once.
static inline int hablk_epoll_arm(int epoll, int file, unsigned events) {
    struct epoll_event event = {.events = events | EPOLLONESHOT, .data.fd = file};
    if (epoll_ctl(epoll, EPOLL_CTL_MOD, file, &event) == 0) return 0;
    if (errno != ENOENT) return -errno;
    return epoll_ctl(epoll, EPOLL_CTL_ADD, file, &event) == 0 ? 0 : -errno;
}
static inline void hablk_epoll_forget(int epoll, int file) { epoll_ctl(epoll, EPOLL_CTL_DEL, file, NULL); }
/// Waits so many nanoseconds (negative: without end), or a little more on a kernel before 5.11.
static inline int hablk_epoll_wait(int epoll, int *files, unsigned *told, int room, long long nanoseconds) {
    struct epoll_event events[64];
    int count = -1;
    if (room > 64) room = 64;
#ifdef SYS_epoll_pwait2
    struct timespec time = {.tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000};
    count = (int)syscall(SYS_epoll_pwait2, epoll, events, room, nanoseconds < 0 ? NULL : &time, NULL, 0);
    if (count < 0 && errno != ENOSYS) return -errno;
#endif
    if (count < 0) {
        long long whole = nanoseconds < 0 ? -1 : (nanoseconds + 999999) / 1000000;
        count = epoll_wait(epoll, events, room, whole > 1000000 ? 1000000 : (int)whole);
        if (count < 0) return -errno;
    }
    for (int place = 0; place < count; place++) {
        files[place] = events[place].data.fd;
        told[place] = events[place].events;
    }
    return count;
}
static const unsigned HABLK_READABLE = EPOLLIN;
static const unsigned HABLK_WRITABLE = EPOLLOUT;
static const unsigned HABLK_FAILED = EPOLLERR | EPOLLHUP;

static inline int hablk_set_nonblocking(int file, bool wanted) {
    int flags = fcntl(file, F_GETFL);
    return flags < 0 ? -1 : fcntl(file, F_SETFL, wanted ? flags | O_NONBLOCK : flags & ~O_NONBLOCK);
}
/// Whether reads and writes of it end by themselves: only then may a thread be given to them.
static inline bool hablk_is_storage(int file) {
    struct stat facts;
    return fstat(file, &facts) == 0 && (S_ISREG(facts.st_mode) || S_ISBLK(facts.st_mode));
}
static inline int hablk_result(long result) { return result < 0 ? -errno : (int)result; }
/// One that must not wait; the caller knows that the descriptor is ready, or asks again.
static inline int hablk_try_accept(int listener) {
    if (hablk_set_nonblocking(listener, true) != 0) return -errno;
    return hablk_result(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
}
static inline int hablk_try_receive(int socket, void *memory, size_t count) {
    return hablk_result(recv(socket, memory, count, MSG_DONTWAIT));
}
static inline int hablk_try_send(int socket, const void *memory, size_t count) {
    return hablk_result(send(socket, memory, count, MSG_DONTWAIT | MSG_NOSIGNAL));
}
static inline int hablk_try_send_message(int socket, const struct msghdr *message) {
    return hablk_result(sendmsg(socket, message, MSG_DONTWAIT | MSG_NOSIGNAL));
}
static inline int hablk_try_connect(int socket, const struct sockaddr *address, socklen_t length) {
    if (hablk_set_nonblocking(socket, true) != 0) return -errno;
    int result = hablk_result(connect(socket, address, length));
    if (result != -EINPROGRESS && result != -EINTR) hablk_set_nonblocking(socket, false);
    return result;
}
/// How a connect ended that is writable now.
static inline int hablk_connected(int socket) {
    int error = 0;
    socklen_t length = sizeof error;
    if (getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &length) != 0) return -errno;
    hablk_set_nonblocking(socket, false);
    return -error;
}
static inline int hablk_read_at(int file, void *memory, size_t count, uint64_t offset) {
    return hablk_result(pread(file, memory, count, (off_t)offset));
}
static inline int hablk_write_at(int file, const void *memory, size_t count, uint64_t offset, int flags) {
    struct iovec piece = {.iov_base = (void *)memory, .iov_len = count};
    return hablk_result(pwritev2(file, &piece, 1, (off_t)offset, flags));
}
static inline int hablk_allocate(int file, int mode, uint64_t offset, uint64_t length) {
    return hablk_result(fallocate(file, mode, (off_t)offset, (off_t)length));
}
static inline int hablk_sync_data(int file) { return hablk_result(fdatasync(file)); }
static inline int hablk_read_ready(int file, void *memory, size_t count) { return hablk_result(read(file, memory, count)); }

// Files and block devices.

static const int HABLK_O_DIRECT = O_DIRECT;
static const int HABLK_PUNCH_HOLE = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
static const int HABLK_ZERO_RANGE = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;

static inline int hablk_open(const char *path, int flags, unsigned mode) { return open(path, flags, mode); }
static inline int hablk_lock_exclusively(int file) { return flock(file, LOCK_EX | LOCK_NB); }
static inline int hablk_device_sector_size(int file, int *bytes) { return ioctl(file, BLKSSZGET, bytes); }
static inline int hablk_device_size(int file, uint64_t *bytes) { return ioctl(file, BLKGETSIZE64, bytes); }
/// An ioctl that takes a number.
static inline int hablk_ioctl(int file, unsigned long request, unsigned long value) {
    return ioctl(file, request, value);
}
/// Takes the claim that a mount takes: EBUSY while somebody has it.
static inline int hablk_open_exclusively(const char *path) { return open(path, O_RDONLY | O_EXCL | O_CLOEXEC); }
/// Whether a path is a block device, and which.
static inline bool hablk_is_block_device(const char *path, unsigned *major_number, unsigned *minor_number) {
    struct stat facts;
    if (stat(path, &facts) != 0 || !S_ISBLK(facts.st_mode)) return false;
    *major_number = major(facts.st_rdev);
    *minor_number = minor(facts.st_rdev);
    return true;
}

/// Whether the file lies in a user's file system (FUSE_SUPER_MAGIC).
static inline bool hablk_is_fuse(int file) {
    struct statfs facts;
    return fstatfs(file, &facts) == 0 && facts.f_type == 0x65735546;
}

/// The alignment that O_DIRECT needs on this regular file: 0 when it cannot, -1 when the kernel does not say.
static inline int hablk_direct_alignment(int file) {
#ifdef STATX_DIOALIGN
    struct statx answer;
    if (statx(file, "", AT_EMPTY_PATH, STATX_DIOALIGN, &answer) != 0) return -1;
    if (!(answer.stx_mask & STATX_DIOALIGN)) return -1;
    return answer.stx_dio_offset_align > answer.stx_dio_mem_align ? (int)answer.stx_dio_offset_align
                                                                  : (int)answer.stx_dio_mem_align;
#else
    (void)file;
    return -1;
#endif
}

// Sockets.

static inline int hablk_socket_stream(int family) { return socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0); }
static inline int hablk_socket_datagram(int family) { return socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0); }
static inline int hablk_socket_netlink(int protocol) { return socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol); }
/// Two Unix stream sockets that are connected to each other.
static inline int hablk_socket_pair(int *one, int *other) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) return -1;
    *one = pair[0];
    *other = pair[1];
    return 0;
}
static inline int hablk_set_option(int socket, int level, int option, int value) {
    return setsockopt(socket, level, option, &value, sizeof value);
}
static inline int hablk_get_option(int socket, int level, int option, int *value) {
    socklen_t length = sizeof *value;
    return getsockopt(socket, level, option, value, &length);
}
// Plain pointers: glibc's own declarations take transparent unions.
static inline int hablk_bind(int socket, const struct sockaddr *address, socklen_t length) {
    return bind(socket, address, length);
}
static inline int hablk_connect(int socket, const struct sockaddr *address, socklen_t length) {
    return connect(socket, address, length);
}
/// One datagram, with descriptors (at most 64) beside it; does not wait.
static inline long hablk_send_descriptors(
    int socket, const void *bytes, size_t count, const struct sockaddr *address, socklen_t length,
    const int *descriptors, size_t descriptor_count) {
    union {
        char bytes[CMSG_SPACE(64 * sizeof(int))];
        struct cmsghdr alignment;
    } control;
    struct iovec piece = {.iov_base = (void *)bytes, .iov_len = count};
    struct msghdr message = {.msg_name = (void *)address, .msg_namelen = length, .msg_iov = &piece, .msg_iovlen = 1};
    if (descriptor_count > 64) {
        errno = EINVAL;
        return -1;
    }
    if (descriptor_count > 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(descriptor_count * sizeof(int));
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(descriptor_count * sizeof(int));
        memcpy(CMSG_DATA(head), descriptors, descriptor_count * sizeof(int));
    }
    return sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}
static inline int hablk_peer_name(int socket, struct sockaddr_storage *address) {
    socklen_t length = sizeof *address;
    return getpeername(socket, (struct sockaddr *)address, &length);
}
static inline int hablk_own_name(int socket, struct sockaddr_storage *address) {
    socklen_t length = sizeof *address;
    return getsockname(socket, (struct sockaddr *)address, &length);
}
static inline int hablk_peer_credentials(int socket, int *process, unsigned *user, unsigned *group) {
    struct ucred who;
    socklen_t length = sizeof who;
    if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &who, &length) != 0) return -1;
    *process = who.pid;
    *user = who.uid;
    *group = who.gid;
    return 0;
}
static const int HABLK_SEND_QUIETLY = MSG_NOSIGNAL;
// Never waits for room; less than all counts as a failure, and so is said.
static const int HABLK_SEND_AT_ONCE = MSG_NOSIGNAL | MSG_DONTWAIT | MSG_WAITALL;
static const int HABLK_RECEIVE_WHOLE = MSG_WAITALL;
static const int HABLK_RECEIVE_AT_ONCE = MSG_DONTWAIT;
static const unsigned char HABLK_LINK = IOSQE_IO_LINK;
static const unsigned short HABLK_WAIT_FIRST = IORING_RECVSEND_POLL_FIRST;
static const unsigned char HABLK_SUCCEED_QUIETLY = IOSQE_CQE_SKIP_SUCCESS;

// The process.

static inline int hablk_set_io_flusher(void) { return prctl(57 /* PR_SET_IO_FLUSHER */, 1, 0, 0, 0); }
static inline int hablk_lock_memory(void) { return mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT); }
static inline int hablk_eventfd(bool counting) { return eventfd(0, counting ? EFD_CLOEXEC | EFD_SEMAPHORE : EFD_CLOEXEC); }
static inline long hablk_getrandom(void *into, size_t count) { return getrandom(into, count, 0); }

// A descriptor that is readable once the process ended (Linux 5.3; Debian 12's C library has no wrapper that imports).
static inline int hablk_pidfd_open(int process) { return (int)syscall(SYS_pidfd_open, process, 0); }

/// Blocks SIGTERM, SIGINT and SIGHUP in the calling thread, ignores SIGPIPE; a descriptor to read them from, or -1.
static inline int hablk_signalfd(void) {
    sigset_t wanted;
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGTERM);
    sigaddset(&wanted, SIGINT);
    sigaddset(&wanted, SIGHUP);
    int error = pthread_sigmask(SIG_BLOCK, &wanted, NULL);
    if (error != 0) {
        errno = error;
        return -1;
    }
    signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &wanted, SFD_CLOEXEC);
}
/// The signal set of a thread that must never be the one that is interrupted.
static inline int hablk_block_all_signals(void) {
    sigset_t all;
    sigfillset(&all);
    return pthread_sigmask(SIG_BLOCK, &all, NULL);
}
static const int HABLK_SIGNAL_RECORD_BYTES = sizeof(struct signalfd_siginfo);
static inline int hablk_raise_limit(int memory_lock, uint64_t wanted, uint64_t *reached) {
    int which = memory_lock ? RLIMIT_MEMLOCK : RLIMIT_NOFILE;
    struct rlimit limit;
    if (getrlimit(which, &limit) != 0) return -1;
    struct rlimit raised = {.rlim_cur = wanted, .rlim_max = wanted > limit.rlim_max ? wanted : limit.rlim_max};
    if (limit.rlim_cur >= wanted) raised = limit;
    if (setrlimit(which, &raised) != 0) {
        raised.rlim_max = limit.rlim_max;
        raised.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
        if (setrlimit(which, &raised) != 0) return -1;
    }
    *reached = raised.rlim_cur;
    return 0;
}
