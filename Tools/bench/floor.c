// The floor: the least that a replicated block device over NBD can do, to be measured beside hablk. NBD in on a Unix socket; each
// write goes with O_DIRECT to the file here and in a frame to a peer, which does likewise; the reply follows when both are done.
// No metadata, no states, no checks, no checksums, no recovery: nobody's data belongs here.
//
//   floor primary SOCKET FILE PEER-PORT       floor secondary PORT FILE
//
// One thread with io_uring, one io_uring_enter a turn, payload copied once, as hablk does. It serves one client at a time.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { SLOTS = 256, PIECE = 1 << 20, STREAM = 4 << 20, VECTORS = 128 };
enum { NBD_READ = 0, NBD_WRITE = 1, NBD_DISCONNECT = 2, NBD_FLUSH = 3 };
enum { RECEIVE = 1, SEND, DISK };

// A frame to the peer and its answer: the answer is the first eight bytes.
struct frame {
    uint32_t slot, kind;
    uint64_t offset;
    uint32_t length, zero;
} __attribute__((packed));
struct request {
    uint32_t magic;
    uint16_t flags, type;
    uint64_t handle, offset;
    uint32_t length;
} __attribute__((packed));
struct reply {
    uint32_t magic, error;
    uint64_t handle;
} __attribute__((packed));

struct slot {
    uint8_t *data;
    struct frame frame;
    struct reply reply;
    uint32_t answer[2];
    uint32_t kind, length, got;
    int legs;
};

// One connection: what came and is not yet taken, and what waits to be sent.
struct stream {
    int fd, index;
    uint8_t *in;
    size_t begin, end;
    struct iovec queue[SLOTS * 4];
    size_t head, tail;
    int sending;
    struct msghdr message;
    struct iovec vectors[VECTORS];
    struct slot *filling;
};

static struct io_uring ring;
static struct slot slots[SLOTS];
static uint32_t unused[SLOTS], unusedCount;
static struct stream client, peer;
static int disk, isPrimary, listener;
static uint64_t size;

static void die(const char *what) {
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void readAll(int fd, void *into, size_t count) {
    for (size_t done = 0; done < count;) {
        ssize_t got = read(fd, (char *)into + done, count - done);
        if (got <= 0) exit(0);
        done += got;
    }
}

static void writeAll(int fd, const void *from, size_t count) {
    if (write(fd, from, count) != (ssize_t)count) die("write");
}

// Fixed newstyle, as far as fio's and qemu's clients go: GO and EXPORT_NAME, everything else is not supported.
static void greet(int fd) {
    uint64_t head[2] = {htobe64(0x4e42444d41474943), htobe64(0x49484156454f5054)};
    uint16_t flags = htobe16(3), transmission = htobe16(1 | 4 | 8);
    writeAll(fd, head, 16);
    writeAll(fd, &flags, 2);
    uint32_t clientFlags;
    readAll(fd, &clientFlags, 4);
    for (;;) {
        struct {
            uint64_t magic;
            uint32_t option, length;
        } __attribute__((packed)) option;
        static uint8_t body[4096];
        readAll(fd, &option, 16);
        uint32_t number = be32toh(option.option), length = be32toh(option.length);
        if (length > sizeof body) exit(1);
        readAll(fd, body, length);
        struct {
            uint64_t magic;
            uint32_t option, type, length;
        } __attribute__((packed)) answer = {htobe64(0x3e889045565a9), option.option, htobe32(0x80000001), 0};
        uint64_t bytes = htobe64(size);
        if (number == 1) {  // EXPORT_NAME
            static uint8_t zeroes[124];
            writeAll(fd, &bytes, 8);
            writeAll(fd, &transmission, 2);
            if (!(be32toh(clientFlags) & 2)) writeAll(fd, zeroes, 124);
            return;
        }
        if (number == 7) {  // GO
            uint8_t info[12] = {0, 0};
            memcpy(info + 2, &bytes, 8);
            memcpy(info + 10, &transmission, 2);
            answer.type = htobe32(3);
            answer.length = htobe32(12);
            writeAll(fd, &answer, 20);
            writeAll(fd, info, 12);
            answer.type = htobe32(1);
            answer.length = 0;
            writeAll(fd, &answer, 20);
            return;
        }
        writeAll(fd, &answer, 20);
    }
}

static struct io_uring_sqe *entry(uint64_t kind, uint64_t value) {
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
    if (!sqe) {
        io_uring_submit(&ring);
        sqe = io_uring_get_sqe(&ring);
    }
    sqe->user_data = kind << 32 | value;
    return sqe;
}

static void receive(struct stream *stream) {
    if (stream->begin == stream->end) stream->begin = stream->end = 0;
    if (STREAM - stream->end < PIECE) {
        memmove(stream->in, stream->in + stream->begin, stream->end - stream->begin);
        stream->end -= stream->begin;
        stream->begin = 0;
    }
    struct io_uring_sqe *sqe = entry(RECEIVE, stream->index);
    io_uring_prep_recv(sqe, stream->fd, stream->in + stream->end, STREAM - stream->end, 0);
    sqe->user_data = (uint64_t)RECEIVE << 32 | stream->index;
}

static void queue(struct stream *stream, void *data, size_t length) {
    stream->queue[stream->tail++ % (SLOTS * 4)] = (struct iovec){data, length};
}

static void flushStream(struct stream *stream) {
    if (stream->sending || stream->head == stream->tail) return;
    size_t count = 0;
    while (count < VECTORS && stream->head + count < stream->tail) {
        stream->vectors[count] = stream->queue[(stream->head + count) % (SLOTS * 4)];
        count++;
    }
    stream->message = (struct msghdr){.msg_iov = stream->vectors, .msg_iovlen = count};
    stream->sending = 1;
    struct io_uring_sqe *sqe = entry(SEND, stream->index);
    io_uring_prep_sendmsg(sqe, stream->fd, &stream->message, MSG_WAITALL | MSG_NOSIGNAL);
    sqe->user_data = (uint64_t)SEND << 32 | stream->index;
}

static void sent(struct stream *stream, size_t bytes) {
    stream->sending = 0;
    while (bytes) {
        struct iovec *first = &stream->queue[stream->head % (SLOTS * 4)];
        if (bytes < first->iov_len) {
            first->iov_base = (char *)first->iov_base + bytes;
            first->iov_len -= bytes;
            return;
        }
        bytes -= first->iov_len;
        stream->head++;
    }
}

static void toDisk(struct slot *slot, uint64_t offset) {
    struct io_uring_sqe *sqe = entry(DISK, slot - slots);
    if (slot->kind == NBD_WRITE) io_uring_prep_write(sqe, disk, slot->data, slot->length, offset);
    else if (slot->kind == NBD_READ) io_uring_prep_read(sqe, disk, slot->data, slot->length, offset);
    else io_uring_prep_fsync(sqe, disk, IORING_FSYNC_DATASYNC);
    sqe->user_data = (uint64_t)DISK << 32 | (slot - slots);
}

static void start(struct slot *slot) {
    uint64_t offset = slot->frame.offset;
    slot->legs = 1;
    if (isPrimary && slot->kind != NBD_READ) {
        slot->legs = 2;
        queue(&peer, &slot->frame, sizeof slot->frame);
        if (slot->kind == NBD_WRITE) queue(&peer, slot->data, slot->length);
    }
    toDisk(slot, offset);
}

static void legDone(struct slot *slot) {
    if (--slot->legs) return;
    if (isPrimary) {
        queue(&client, &slot->reply, sizeof slot->reply);
        if (slot->kind == NBD_READ) queue(&client, slot->data, slot->length);
    } else {
        queue(&peer, slot->answer, sizeof slot->answer);
    }
    // What is queued is sent before the slot is filled again: SLOTS is more than any client keeps in flight.
    memmove(unused + 1, unused, unusedCount++ * sizeof *unused);
    unused[0] = slot - slots;
}

// Takes the next request or frame; 0: more bytes are needed.
static int take(struct stream *stream) {
    size_t there = stream->end - stream->begin;
    uint8_t *at = stream->in + stream->begin;
    struct slot *slot = stream->filling;
    if (!slot && isPrimary && stream == &peer) {  // an answer
        if (there < 8) return 0;
        uint32_t number;
        memcpy(&number, at, 4);
        stream->begin += 8;
        legDone(&slots[number]);
        return 1;
    }
    if (!slot) {
        size_t head = isPrimary ? sizeof(struct request) : sizeof(struct frame);
        if (there < head || !unusedCount) return 0;
        slot = &slots[unused[--unusedCount]];
        if (isPrimary) {
            struct request request;
            memcpy(&request, at, sizeof request);
            if (be32toh(request.magic) != 0x25609513) die("not a request");
            slot->kind = be16toh(request.type);
            if (slot->kind == NBD_DISCONNECT) {  // it closes the connection now
                unusedCount++;
                return 0;
            }
            slot->length = be32toh(request.length);
            slot->frame = (struct frame){slot - slots, slot->kind, be64toh(request.offset), slot->length, 0};
            slot->reply = (struct reply){htobe32(0x67446698), 0, request.handle};
        } else {
            memcpy(&slot->frame, at, sizeof slot->frame);
            slot->kind = slot->frame.kind;
            slot->length = slot->frame.length;
            slot->answer[0] = slot->frame.slot;
        }
        if (slot->length > PIECE) die("a request is too large");
        slot->got = 0;
        stream->begin += head;
        stream->filling = slot;
        return 1;
    }
    if (slot->kind == NBD_WRITE) {
        size_t part = slot->length - slot->got < there ? slot->length - slot->got : there;
        memcpy(slot->data + slot->got, at, part);
        slot->got += part;
        stream->begin += part;
        if (slot->got < slot->length) return 0;
    }
    stream->filling = NULL;
    start(slot);
    return 1;
}

// One client after the other: whoever comes earlier waits in the listener.
static void nextClient(void) {
    if (client.fd > 0) close(client.fd);
    client.fd = accept(listener, NULL, NULL);
    greet(client.fd);
    client.begin = client.end = client.head = client.tail = client.sending = 0;
    client.filling = NULL;
}

static void completed(uint64_t data, int result) {
    uint32_t kind = data >> 32, value = (uint32_t)data;
    struct stream *stream = value == 0 ? &client : &peer;
    switch (kind) {
    case RECEIVE:
        if (result <= 0 && stream == &client) {
            nextClient();
            receive(stream);
            break;
        }
        if (result <= 0) exit(0);
        stream->end += result;
        while (take(stream)) {}
        receive(stream);
        break;
    case SEND:
        if (result < 0) exit(0);
        sent(stream, result);
        break;
    case DISK:
        if (result < 0) errno = -result, die("disk");
        legDone(&slots[value]);
    }
}

static void serve(void) {
    struct io_uring_params parameters = {.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN};
    if (io_uring_queue_init_params(1024, &ring, &parameters)) die("io_uring");
    for (int index = 0; index < SLOTS; index++) {
        slots[index].data = aligned_alloc(4096, PIECE);
        memset(slots[index].data, 0, PIECE);
        unused[unusedCount++] = index;
    }
    struct stream *streams[] = {&client, &peer};
    for (int index = 0; index < 2; index++) {
        streams[index]->index = index;
        streams[index]->in = aligned_alloc(4096, STREAM);
        if (streams[index]->fd > 0) receive(streams[index]);
    }
    for (;;) {
        flushStream(&client);
        flushStream(&peer);
        io_uring_submit_and_wait(&ring, 1);
        unsigned head, count = 0;
        struct io_uring_cqe *cqe;
        io_uring_for_each_cqe(&ring, head, cqe) {
            completed(cqe->user_data, cqe->res);
            count++;
        }
        io_uring_cq_advance(&ring, count);
        if (client.fd > 0) while (client.begin < client.end && take(&client)) {}
    }
}

static int tcp(int port, int isListener) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (isListener) {
        if (bind(fd, (void *)&address, sizeof address) || listen(fd, 1)) die("listen");
        int accepted = accept(fd, NULL, NULL);
        close(fd);
        fd = accepted;
    } else if (connect(fd, (void *)&address, sizeof address)) {
        die("connect");
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

int main(int count, char **words) {
    isPrimary = count == 5 && !strcmp(words[1], "primary");
    if (!isPrimary && !(count == 4 && !strcmp(words[1], "secondary"))) {
        fprintf(stderr, "usage: floor primary SOCKET FILE PEER-PORT | floor secondary PORT FILE\n");
        return 64;
    }
    disk = open(words[3], O_RDWR | O_DIRECT | O_CLOEXEC);
    if (disk < 0) die(words[3]);
    if (!isPrimary) {
        peer.fd = tcp(atoi(words[2]), 1);
        serve();
    }
    peer.fd = tcp(atoi(words[4]), 0);
    struct stat status;
    fstat(disk, &status);
    size = status.st_size;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", words[2]);
    unlink(words[2]);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(listener, (void *)&address, sizeof address) || listen(listener, 8)) die("listen");
    nextClient();
    serve();
}
