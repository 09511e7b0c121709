/* An OpenAI-compatible upstream for benchmarks, on one core: chat completions with a fixed text, streamed or whole.
 *
 *     mock_upstream PORT
 *
 *     POST /v1/chat/completions     a completion of 64 tokens, or a stream if the body has "stream": true
 *     GET  /settings?latency_ms=0&delay_ms=0&chunks=64
 *     GET  /stats                   {"completions": N, "streams": N}, counted when an answer begins
 *
 * `latency_ms` is the wait before an answer, `delay_ms` the wait before each chunk. Each chunk is one write and one chunk of
 * HTTP, as providers send tokens. Request bodies need a Content-Length.
 */
#define _GNU_SOURCE
#include "event_loop.h"

#define MAX_HEAD 16384
#define READ_SIZE 16384

enum state { READING, WAITING, STREAMING };

struct connection {
    int fd;
    enum state state;
    int stream, include_usage, close_after, wants_write;
    int sent, chunks, delay_ms;
    uint64_t due; /* of its timer, in nanoseconds; 0 without one */
    struct connection *previous, *next; /* in the list of timers */
    struct buffer in, out;
    uint64_t id;
};

static int epoll, latency_ms, delay_ms, chunks = 64;
static uint64_t last_id, completions, streams;
static struct connection *first_timer, *last_timer; /* sorted by due time */

static const char TEXT[] =
    "A gateway checks the key, reserves the credits, passes the request on, relays the answer and charges what it cost. "
    "This answer is the same for every request, so any difference that a client measures comes from the gateway. Its "
    "length, about a kilobyte with the fields around it, is that of a short answer of a chat model; nothing else in it "
    "matters, and nobody needs to read it to the end. The rest only fills the space that is left in the message body.";

/* ---- timers ---- */

static void cancel_timer(struct connection *c)
{
    if (c->due == 0)
        return;
    *(c->previous ? &c->previous->next : &first_timer) = c->next;
    *(c->next ? &c->next->previous : &last_timer) = c->previous;
    c->due = 0;
}

/* Timers mostly end in the order in which they start, so the place of a new one is found from the end. */
static void start_timer(struct connection *c, int ms)
{
    struct connection *before = last_timer;
    c->due = now_ns() + (uint64_t)ms * 1000000u;
    while (before != NULL && before->due > c->due)
        before = before->previous;
    c->previous = before;
    c->next = before ? before->next : first_timer;
    *(c->previous ? &c->previous->next : &first_timer) = c;
    *(c->next ? &c->next->previous : &last_timer) = c;
}

static int timeout_ms(void)
{
    uint64_t now = now_ns();
    if (first_timer == NULL)
        return -1;
    return first_timer->due <= now ? 0 : (int)((first_timer->due - now + 999999u) / 1000000u);
}

/* ---- connections ---- */

static void close_connection(struct connection *c)
{
    cancel_timer(c);
    close(c->fd);
    free(c->in.data);
    free(c->out.data);
    free(c);
}

static void watch_writes(struct connection *c, int on)
{
    if (c->wants_write == on)
        return;
    c->wants_write = on;
    watch(epoll, EPOLL_CTL_MOD, c->fd, EPOLLIN | (on ? EPOLLOUT : 0), c);
}

/* Write what waits. Returns -1 if the peer is gone. */
static int flush(struct connection *c)
{
    while (c->out.start < c->out.end) {
        ssize_t written = send(c->fd, c->out.data + c->out.start, c->out.end - c->out.start, 0);
        if (written < 0) {
            watch_writes(c, 1);
            return errno == EAGAIN ? 0 : -1;
        }
        c->out.start += (size_t)written;
    }
    watch_writes(c, 0);
    return 0;
}

static int is_blocked(const struct connection *c)
{
    return c->out.start < c->out.end;
}

static int write_all(struct connection *c, const char *data, size_t size)
{
    buffer_append(&c->out, data, size);
    return flush(c);
}

/* ---- answers ---- */

static int write_json(struct connection *c, int status, const char *body)
{
    char answer[4096];
    int size = snprintf(answer, sizeof answer,
        "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
        status, status == 200 ? "OK" : "Error", strlen(body), body);
    return write_all(c, answer, (size_t)size);
}

static int write_completion(struct connection *c)
{
    char body[2048];
    completions++;
    c->state = READING;
    snprintf(body, sizeof body,
        "{\"id\":\"chatcmpl-%016lx\",\"object\":\"chat.completion\",\"created\":%ld,\"model\":\"gpt-4o-mini\","
        "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"%s\",\"refusal\":null},"
        "\"logprobs\":null,\"finish_reason\":\"stop\"}],"
        "\"usage\":{\"prompt_tokens\":20,\"completion_tokens\":64,\"total_tokens\":84,"
        "\"prompt_tokens_details\":{\"cached_tokens\":0},\"completion_tokens_details\":{\"reasoning_tokens\":0}},"
        "\"service_tier\":\"default\",\"system_fingerprint\":\"fp_mock\"}",
        (unsigned long)c->id, (long)time(NULL), TEXT);
    return write_json(c, 200, body);
}

static void write_hex(char *digits, uint64_t value)
{
    for (int i = 15; i >= 0; i--, value >>= 4)
        digits[i] = "0123456789abcdef"[value & 15];
}

/* A chunk with text. Only its id and its time stamp differ from the one before, so they are written over. */
static int write_text(struct connection *c)
{
    static char framed[512];
    static char *id, *stamp;
    static size_t size;
    if (size == 0) {
        char event[400];
        snprintf(event, sizeof event,
            "data: {\"id\":\"chatcmpl-%016d\",\"object\":\"chat.completion.chunk\",\"created\":%ld,\"model\":\"gpt-4o-mini\","
            "\"system_fingerprint\":\"fp_mock\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" STAMP "%016d..\"},"
            "\"logprobs\":null,\"finish_reason\":null}]}\n\n",
            0, (long)time(NULL), 0);
        size = (size_t)snprintf(framed, sizeof framed, "%zx\r\n%s\r\n", strlen(event), event);
        id = strstr(framed, "chatcmpl-") + strlen("chatcmpl-");
        stamp = strstr(framed, STAMP) + strlen(STAMP);
    }
    write_hex(id, c->id);
    write_hex(stamp, now_ns());
    return write_all(c, framed, size);
}

/* One event with `fields` behind those that all events share, as one HTTP chunk; `end` follows it in the same write. */
static int write_event(struct connection *c, const char *fields, const char *end)
{
    char event[1024], framed[1280];
    int size = snprintf(event, sizeof event,
        "data: {\"id\":\"chatcmpl-%016lx\",\"object\":\"chat.completion.chunk\",\"created\":%ld,\"model\":\"gpt-4o-mini\","
        "\"system_fingerprint\":\"fp_mock\",%s}\n\n",
        (unsigned long)c->id, (long)time(NULL), fields);
    size = snprintf(framed, sizeof framed, "%x\r\n%s\r\n%s", (unsigned)size, event, end);
    return write_all(c, framed, (size_t)size);
}

static int write_delta(struct connection *c, const char *delta, const char *finish_reason)
{
    char fields[512];
    snprintf(fields, sizeof fields, "\"choices\":[{\"index\":0,\"delta\":%s,\"logprobs\":null,\"finish_reason\":%s}]", delta,
        finish_reason);
    return write_event(c, fields, "");
}

static int write_stream_end(struct connection *c)
{
    static const char DONE[] = "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n";
    char fields[256];
    if (write_delta(c, "{}", "\"stop\"") < 0)
        return -1;
    c->state = READING;
    if (!c->include_usage)
        return write_all(c, DONE, sizeof DONE - 1);
    snprintf(fields, sizeof fields,
        "\"choices\":[],\"usage\":{\"prompt_tokens\":20,\"completion_tokens\":%d,\"total_tokens\":%d}", c->chunks,
        20 + c->chunks);
    return write_event(c, fields, DONE);
}

/* Write the chunks that are due. A reader that is slow delays them: the rest follows when its socket takes bytes again. */
static int continue_stream(struct connection *c)
{
    while (c->sent < c->chunks) {
        if (is_blocked(c)) {
            if (c->delay_ms)
                start_timer(c, c->delay_ms);
            return 0;
        }
        if (write_text(c) < 0)
            return -1;
        c->sent++;
        if (c->delay_ms) {
            start_timer(c, c->delay_ms);
            return 0;
        }
    }
    return write_stream_end(c);
}

static int begin_stream(struct connection *c)
{
    static const char HEAD[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
                               "Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n";
    streams++;
    c->state = STREAMING;
    c->sent = 0;
    c->chunks = chunks;
    c->delay_ms = delay_ms;
    buffer_append(&c->out, HEAD, sizeof HEAD - 1);
    if (write_delta(c, "{\"role\":\"assistant\",\"content\":\"\"}", "null") < 0)
        return -1;
    if (c->delay_ms == 0)
        return continue_stream(c);
    start_timer(c, c->delay_ms);
    return 0;
}

static int answer(struct connection *c)
{
    return c->stream ? begin_stream(c) : write_completion(c);
}

/* ---- requests ---- */

static void read_setting(const char *query, const char *name, int *value)
{
    const char *found = strstr(query, name);
    if (found != NULL)
        *value = atoi(found + strlen(name));
}

static int is_true(const char *body, size_t size, const char *name)
{
    const char *found = memmem(body, size, name, strlen(name));
    if (found == NULL)
        return 0;
    found += strlen(name);
    found += strspn(found, " :");
    return strncmp(found, "true", 4) == 0;
}

static int write_control(struct connection *c, const char *path)
{
    char body[128];
    if (strncmp(path, "/settings", 9) == 0) {
        read_setting(path, "latency_ms=", &latency_ms);
        read_setting(path, "delay_ms=", &delay_ms);
        read_setting(path, "chunks=", &chunks);
        return write_json(c, 200, "{}");
    }
    if (strncmp(path, "/stats", 6) != 0)
        return write_json(c, 404, "{\"error\":{\"message\":\"not found\"}}");
    snprintf(body, sizeof body, "{\"completions\":%lu,\"streams\":%lu}", (unsigned long)completions, (unsigned long)streams);
    return write_json(c, 200, body);
}

/* Answer the next request in the buffer. Returns 1 if there was one, 0 if more has to come, -1 to close the connection. */
static int handle_request(struct connection *c)
{
    char *head = c->in.data + c->in.start, path[256] = "";
    char *end = memmem(head, c->in.end - c->in.start, "\r\n\r\n", 4);
    const char *value;
    size_t size, body_size;
    int is_call;
    if (end == NULL)
        return c->in.end - c->in.start > MAX_HEAD ? -1 : 0;
    *end = '\0';
    value = header(head, "\r\ncontent-length:");
    body_size = value ? strtoul(value, NULL, 10) : 0;
    size = (size_t)(end - head) + 4 + body_size;
    value = header(head, "\r\nconnection:");
    c->close_after = value != NULL && strncasecmp(value, "close", 5) == 0;
    is_call = sscanf(head, "POST %255s", path) == 1;
    if (!is_call)
        sscanf(head, "%*s %255s", path);
    *end = '\r';
    if (c->in.end - c->in.start < size)
        return 0;
    c->id = ++last_id;
    c->stream = is_true(end + 4, body_size, "\"stream\"");
    c->include_usage = is_true(end + 4, body_size, "\"include_usage\"");
    c->in.start += size;
    if (!is_call || strstr(path, "/chat/completions") == NULL)
        return write_control(c, path) < 0 ? -1 : 1;
    if (latency_ms == 0)
        return answer(c) < 0 ? -1 : 1;
    c->state = WAITING;
    start_timer(c, latency_ms);
    return 1;
}

/* ---- the loop ---- */

static int read_requests(struct connection *c)
{
    ssize_t received;
    buffer_reserve(&c->in, READ_SIZE + 1);
    received = recv(c->fd, c->in.data + c->in.end, READ_SIZE, 0);
    if (received <= 0)
        return received < 0 && errno == EAGAIN ? 0 : -1;
    c->in.end += (size_t)received;
    c->in.data[c->in.end] = '\0'; /* a search ends here */
    return 0;
}

static int handle_event(struct connection *c, uint32_t events)
{
    int result = 1;
    if (events & (EPOLLHUP | EPOLLERR))
        return -1;
    if (events & EPOLLOUT) {
        if (flush(c) < 0)
            return -1;
        if (c->state == STREAMING && !c->delay_ms && !is_blocked(c) && continue_stream(c) < 0)
            return -1;
    }
    if (events & EPOLLIN && read_requests(c) < 0)
        return -1;
    while (result == 1 && c->state == READING && c->in.start < c->in.end)
        result = handle_request(c);
    if (c->close_after && c->state == READING && !is_blocked(c))
        return -1;
    return result;
}

static void run_timers(void)
{
    uint64_t now = now_ns();
    while (first_timer != NULL && first_timer->due <= now) {
        struct connection *c = first_timer;
        cancel_timer(c);
        if ((c->state == WAITING ? answer(c) : continue_stream(c)) < 0)
            close_connection(c);
    }
}

static void accept_connections(int listener)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct connection *c = calloc(1, sizeof *c);
        if (c == NULL)
            die("calloc");
        c->fd = fd;
        send_without_delay(fd);
        watch(epoll, EPOLL_CTL_ADD, fd, EPOLLIN, c);
    }
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = loopback(argc == 2 ? atoi(argv[1]) : 0);
    struct epoll_event events[MAX_EVENTS];
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    if (address.sin_port == 0) {
        fprintf(stderr, "usage: mock_upstream PORT\n");
        return 2;
    }
    prepare_process();
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, SOMAXCONN) < 0)
        die("listen");
    epoll = epoll_create1(EPOLL_CLOEXEC);
    watch(epoll, EPOLL_CTL_ADD, listener, EPOLLIN, NULL);
    for (;;) {
        int count = epoll_wait(epoll, events, MAX_EVENTS, timeout_ms());
        for (int i = 0; i < count; i++) {
            struct connection *c = events[i].data.ptr;
            if (c == NULL)
                accept_connections(listener);
            else if (handle_event(c, events[i].events) < 0)
                close_connection(c);
        }
        run_timers();
    }
}
