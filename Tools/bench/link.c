// A long, thin link on one machine: relays TCP connections, each byte by so many milliseconds later and no faster than so
// many bytes a second, in both directions.
//
//   link LISTEN-PORT TARGET-PORT DELAY-MILLISECONDS BYTES-PER-SECOND (0: no bound)
//
// One thread. What is under way is bounded by twice the delay at that rate, and 4 MiB; more waits in the sender's socket.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { pairs_limit = 32, piece_bytes = 16384 };

struct piece {
    struct piece *next;
    uint64_t due;
    size_t start, end;
    char bytes[piece_bytes];
};

struct direction {
    int from, to, ended, told;
    struct piece *first, **last;
    size_t under_way;
    uint64_t line_free;
};

struct pair {
    int used;
    struct direction way[2];
};

static struct pair pairs[pairs_limit];
static uint64_t delay;
static uint64_t rate;
static size_t capacity;

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static int socket_at(int port, int listens) {
    int one = 1, file = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (file < 0) return -1;
    setsockopt(file, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    int done = listens ? bind(file, (struct sockaddr *)&address, sizeof address)
                       : connect(file, (struct sockaddr *)&address, sizeof address);
    if (done != 0 || (listens && listen(file, 16) != 0)) {
        close(file);
        return -1;
    }
    return file;
}

static void prepare(int file) {
    int one = 1;
    setsockopt(file, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(file, F_SETFL, O_NONBLOCK);
}

static void open_pair(int client, int target_port) {
    int target = socket_at(target_port, 0);
    struct pair *pair = pairs;
    while (pair < pairs + pairs_limit && pair->used) pair++;
    if (target < 0 || pair == pairs + pairs_limit) {
        close(client);
        if (target >= 0) close(target);
        return;
    }
    prepare(client);
    prepare(target);
    memset(pair, 0, sizeof *pair);
    pair->used = 1;
    for (int side = 0; side < 2; side++) {
        struct direction *way = &pair->way[side];
        way->from = side ? target : client;
        way->to = side ? client : target;
        way->last = &way->first;
    }
}

static void close_pair(struct pair *pair) {
    close(pair->way[0].from);
    close(pair->way[0].to);
    for (int side = 0; side < 2; side++)
        while (pair->way[side].first) {
            struct piece *next = pair->way[side].first->next;
            free(pair->way[side].first);
            pair->way[side].first = next;
        }
    pair->used = 0;
}

// False when the connection broke.
static int take(struct direction *way) {
    struct piece *piece = malloc(sizeof *piece);
    if (!piece) fail("memory");
    ssize_t count = recv(way->from, piece->bytes, piece_bytes, 0);
    if (count <= 0) {
        free(piece);
        if (count < 0) return errno == EAGAIN || errno == EINTR;
        way->ended = 1;
        return 1;
    }
    uint64_t time = now();
    if (way->line_free < time) way->line_free = time;
    if (rate) way->line_free += (uint64_t)count * 1000000000u / rate;
    piece->due = way->line_free + delay;
    piece->start = 0;
    piece->end = (size_t)count;
    piece->next = NULL;
    *way->last = piece;
    way->last = &piece->next;
    way->under_way += (size_t)count;
    return 1;
}

// Sends what is due. False when the connection broke.
static int give(struct direction *way, uint64_t time) {
    while (way->first && way->first->due <= time) {
        struct piece *piece = way->first;
        ssize_t count = send(way->to, piece->bytes + piece->start, piece->end - piece->start, 0);
        if (count < 0) return errno == EAGAIN || errno == EINTR;
        piece->start += (size_t)count;
        if (piece->start < piece->end) return 1;
        way->under_way -= piece->end;
        way->first = piece->next;
        if (!way->first) way->last = &way->first;
        free(piece);
    }
    if (way->ended && !way->first && !way->told) {
        shutdown(way->to, SHUT_WR);
        way->told = 1;
    }
    return 1;
}

// One round; the time when something is due next, or UINT64_MAX.
static void wait_and_work(int listener, int target_port) {
    struct pollfd files[1 + 4 * pairs_limit];
    nfds_t used = 0;
    uint64_t due = UINT64_MAX, time = now();
    files[used++] = (struct pollfd){.fd = listener, .events = POLLIN};
    for (struct pair *pair = pairs; pair < pairs + pairs_limit; pair++)
        for (int side = 0; pair->used && side < 2; side++) {
            struct direction *way = &pair->way[side];
            if (!way->ended && way->under_way < capacity)
                files[used++] = (struct pollfd){.fd = way->from, .events = POLLIN};
            if (!way->first) continue;
            if (way->first->due <= time)
                files[used++] = (struct pollfd){.fd = way->to, .events = POLLOUT};
            else if (way->first->due < due)
                due = way->first->due;
        }
    struct timespec left = {.tv_sec = 3600};
    if (due != UINT64_MAX) left = (struct timespec){.tv_sec = (due - time) / 1000000000u, .tv_nsec = (due - time) % 1000000000u};
    if (ppoll(files, used, &left, NULL) < 0 && errno != EINTR) fail("poll");
    if (files[0].revents) {
        int client = accept(listener, NULL, NULL);
        if (client >= 0) open_pair(client, target_port);
    }
    time = now();
    for (struct pair *pair = pairs; pair < pairs + pairs_limit; pair++) {
        int whole = 1;
        for (int side = 0; pair->used && whole && side < 2; side++) {
            struct direction *way = &pair->way[side];
            if (!way->ended && way->under_way < capacity) whole = take(way);
            whole = whole && give(way, time);
        }
        if (pair->used && (!whole || (pair->way[0].told && pair->way[1].told))) close_pair(pair);
    }
}

int main(int count, char **words) {
    if (count != 5) {
        fprintf(stderr, "usage: link LISTEN-PORT TARGET-PORT DELAY-MILLISECONDS BYTES-PER-SECOND\n");
        return 64;
    }
    delay = (uint64_t)(atof(words[3]) * 1e6);
    rate = strtoull(words[4], NULL, 10);
    capacity = (size_t)((double)(rate ? rate : 1000000000) * (double)delay * 2 / 1e9) + (4u << 20);
    signal(SIGPIPE, SIG_IGN);
    int listener = socket_at(atoi(words[1]), 1);
    if (listener < 0) fail("listen");
    for (;;) wait_and_work(listener, atoi(words[2]));
}
