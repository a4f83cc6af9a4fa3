// What a service manager does for the unit hablk@.service, as far as a restart needs it: runs a program, keeps the
// descriptors that it stores (FDSTORE=1), and hands them to the next run (sd_listen_fds(3)). For machines without systemd.
//   supervisor NOTIFY-SOCKET PROGRAM ARGUMENT…    SIGHUP: restart; SIGTERM: stop
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int stored[64], stored_count;
static char names[4096];
static volatile sig_atomic_t wants_restart, wants_stop;
static void on_signal(int number) { *(number == SIGHUP ? &wants_restart : &wants_stop) = 1; }

static pid_t start(char **arguments) {
    pid_t child = fork();
    if (child != 0) return child;
    char text[32];
    snprintf(text, sizeof text, "%d", getpid());
    setenv("LISTEN_PID", text, 1);
    snprintf(text, sizeof text, "%d", stored_count);
    setenv("LISTEN_FDS", text, 1);
    setenv("LISTEN_FDNAMES", names, 1);
    int high[64];
    for (int i = 0; i < stored_count; i++) high[i] = fcntl(stored[i], F_DUPFD_CLOEXEC, 256);
    for (int i = 0; i < stored_count; i++) dup2(high[i], 3 + i);
    execvp(arguments[0], arguments);
    perror(arguments[0]);
    _exit(127);
}

static void hear(int socket) {
    char text[4096];
    union {
        char bytes[CMSG_SPACE(64 * sizeof(int))];
        struct cmsghdr alignment;
    } control;
    struct iovec piece = {text, sizeof text - 1};
    struct msghdr message = {
        .msg_iov = &piece, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    ssize_t count = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (count < 0) return;
    text[count] = 0;
    if (strstr(text, "FDSTOREREMOVE=1")) {
        while (stored_count > 0) close(stored[--stored_count]);
        names[0] = 0;
        return;
    }
    for (struct cmsghdr *head = CMSG_FIRSTHDR(&message); head; head = CMSG_NXTHDR(&message, head)) {
        int found = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (int i = 0; i < found && stored_count < 64; i++) {
            memcpy(&stored[stored_count++], CMSG_DATA(head) + i * sizeof(int), sizeof(int));
            if (names[0]) strcat(names, ":");
            strcat(names, "hablk-device");
        }
    }
    printf("supervisor: %s(%d descriptors)\n", text, stored_count);
    fflush(stdout);
}

int main(int count, char **arguments) {
    if (count < 3) return 64;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, arguments[1], sizeof address.sun_path - 1);
    unlink(arguments[1]);
    int socket_ = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (bind(socket_, (struct sockaddr *)&address, sizeof address) != 0) return 1;
    setenv("NOTIFY_SOCKET", arguments[1], 1);
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGHUP, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    pid_t child = start(arguments + 2);
    while (1) {
        struct pollfd wish = {socket_, POLLIN, 0};
        poll(&wish, 1, 50);
        while (poll(&wish, 1, 0) > 0) hear(socket_);
        int status;
        if (wants_restart == 1 || wants_stop == 1) {
            kill(child, SIGTERM);
            if (wants_restart) wants_restart = 2;
            if (wants_stop) wants_stop = 2;
        }
        if (waitpid(child, &status, WNOHANG) != child) continue;
        while (poll(&wish, 1, 0) > 0) hear(socket_);
        if (wants_stop) return 0;
        wants_restart = 0;
        child = start(arguments + 2);
    }
}
