/* What both programs need: a monotonic clock, sockets that do not block, and growable buffers. */
#ifndef EVENT_LOOP_H
#define EVENT_LOOP_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_EVENTS 256

/* A time stamp in a chunk's text: "@t" and 16 hexadecimal digits, the nanoseconds of CLOCK_MONOTONIC when it was written. */
#define STAMP "@t"
#define STAMP_DIGITS 16

struct buffer {
    char *data;
    size_t start, end, capacity; /* what is unread lies between start and end */
};

static inline uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline void die(const char *what)
{
    perror(what);
    exit(1);
}

/* Make room for `more` bytes behind the unread ones. */
static inline void buffer_reserve(struct buffer *buffer, size_t more)
{
    if (buffer->start > 0) {
        memmove(buffer->data, buffer->data + buffer->start, buffer->end - buffer->start);
        buffer->end -= buffer->start;
        buffer->start = 0;
    }
    if (buffer->end + more <= buffer->capacity)
        return;
    buffer->capacity = 2 * (buffer->end + more);
    buffer->data = realloc(buffer->data, buffer->capacity);
    if (buffer->data == NULL)
        die("realloc");
}

static inline void buffer_append(struct buffer *buffer, const char *data, size_t size)
{
    buffer_reserve(buffer, size);
    memcpy(buffer->data + buffer->end, data, size);
    buffer->end += size;
}

static inline void watch(int epoll, int operation, int fd, uint32_t events, void *owner)
{
    struct epoll_event event = {.events = events, .data.ptr = owner};
    if (epoll_ctl(epoll, operation, fd, &event) < 0)
        die("epoll_ctl");
}

static inline struct sockaddr_in loopback(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static inline void send_without_delay(int fd)
{
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/* As many open files as the system allows, and no signal for a peer that is gone. */
static inline void prepare_process(void)
{
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    signal(SIGPIPE, SIG_IGN);
}

/* The value of a header in a head that ends with a null byte; NULL if it is missing. `name` includes the line break and colon. */
static inline const char *header(const char *head, const char *name)
{
    const char *found = strcasestr(head, name);
    return found == NULL ? NULL : found + strlen(name) + strspn(found + strlen(name), " ");
}

#endif
