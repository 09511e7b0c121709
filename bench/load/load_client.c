/* A load client for chat completions, on one core: each of its connections sends the next call when its last is answered.
 *
 *     load_client --port PORT --body FILE [--path /v1/chat/completions] [--key KEY]
 *                 [--connections 1] [--seconds 5] [--stream --chunks 64]
 *                 [--ramp-ms 0] [--drain-seconds 3]
 *
 * A good answer has status 200 and is whole: a completion with "usage", or a stream with all its chunks and "[DONE]". Chunks are
 * recognized by the time stamp that the mock upstream writes into their text, however the gateway frames them; it gives the
 * delay of each. Calls under way when the time is over get `--drain-seconds` more. Prints one JSON object.
 */
#define _GNU_SOURCE
#include "event_loop.h"
#include <getopt.h>

#define READ_SIZE 65536
#define MAX_HEAD 8192
#define MAX_KEPT_BODY 16384

enum framing { LENGTH, CHUNKED };
enum chunk_part { CHUNK_SIZE, CHUNK_DATA, CHUNK_END, TRAILER };

struct samples {
    float *values; /* milliseconds */
    size_t count, capacity;
};

struct connection {
    int fd, is_busy, has_head, status, keep_alive;
    enum framing framing;
    enum chunk_part part;
    size_t left;      /* of the body, or of the chunk */
    size_t line;      /* length of the line in a trailer so far */
    size_t written;   /* of the request */
    uint64_t started; /* nanoseconds */
    int chunks;
    int matched; /* characters of a time stamp so far */
    uint64_t stamp;
    struct buffer head, body;
};

static struct {
    int port, connections, ramp_ms, is_stream, chunks;
    double seconds, drain_seconds;
    const char *path, *key, *body;
    char headers[1024]; /* complete lines */
} options = {.connections = 1, .seconds = 5, .drain_seconds = 3, .chunks = 64, .path = "/v1/chat/completions", .key = ""};

static int epoll, busy;
static struct sockaddr_in gateway;
static struct buffer request;
static uint64_t stop_at;
static unsigned long good, bad_status, bad_body, cut, connect_errors, chunks;
static struct samples latency, first_token, chunk_delay;

/* ---- samples ---- */

static void add_sample(struct samples *samples, uint64_t from, uint64_t to)
{
    if (samples->count == samples->capacity) {
        samples->capacity = samples->capacity ? 2 * samples->capacity : 4096;
        samples->values = realloc(samples->values, samples->capacity * sizeof *samples->values);
        if (samples->values == NULL)
            die("realloc");
    }
    samples->values[samples->count++] = to > from ? (float)((double)(to - from) / 1e6) : 0;
}

static int compare(const void *a, const void *b)
{
    float left = *(const float *)a, right = *(const float *)b;
    return (left > right) - (left < right);
}

static double quantile(const struct samples *samples, double share)
{
    return samples->count ? samples->values[(size_t)(share * (double)(samples->count - 1))] : 0;
}

static void print_samples(const char *name, struct samples *samples)
{
    qsort(samples->values, samples->count, sizeof *samples->values, compare);
    printf(",\"%s\":{\"count\":%zu,\"p50\":%.4f,\"p90\":%.4f,\"p99\":%.4f,\"max\":%.4f}", name, samples->count,
        quantile(samples, 0.5), quantile(samples, 0.9), quantile(samples, 0.99), quantile(samples, 1));
}

/* ---- calls ---- */

static void disconnect(struct connection *c)
{
    close(c->fd);
    c->fd = -1;
}

static void send_request(struct connection *c)
{
    while (c->written < request.end) {
        ssize_t written = send(c->fd, request.data + c->written, request.end - c->written, 0);
        if (written < 0)
            return; /* the rest when the socket takes bytes again; an error shows when reading */
        c->written += (size_t)written;
    }
}

static int connect_to_gateway(struct connection *c)
{
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        die("socket");
    send_without_delay(c->fd);
    if (connect(c->fd, (struct sockaddr *)&gateway, sizeof gateway) < 0 && errno != EINPROGRESS) {
        disconnect(c);
        return -1;
    }
    watch(epoll, EPOLL_CTL_ADD, c->fd, EPOLLIN | EPOLLOUT | EPOLLET, c);
    return 0;
}

static void begin_call(struct connection *c)
{
    c->started = now_ns();
    c->has_head = c->chunks = c->matched = 0;
    c->written = 0;
    c->head.start = c->head.end = c->body.start = c->body.end = 0;
    if (c->fd < 0 && connect_to_gateway(c) < 0) {
        connect_errors++;
        return;
    }
    c->is_busy = 1;
    busy++;
    send_request(c);
}

static int is_whole(const struct connection *c)
{
    const char *wanted = options.is_stream ? "[DONE]" : "\"usage\"";
    if (options.is_stream && c->chunks != options.chunks)
        return 0;
    return memmem(c->body.data, c->body.end, wanted, strlen(wanted)) != NULL;
}

static void end_call(struct connection *c, int is_cut)
{
    uint64_t now = now_ns();
    c->is_busy = 0;
    busy--;
    if (is_cut)
        cut++;
    else if (c->status != 200)
        bad_status++;
    else if (!is_whole(c))
        bad_body++;
    else {
        good++;
        add_sample(&latency, c->started, now);
    }
    if (is_cut || !c->keep_alive)
        disconnect(c);
    if (now < stop_at)
        begin_call(c);
}

/* ---- bodies ---- */

static void count_chunk(struct connection *c)
{
    uint64_t now = now_ns();
    if (c->chunks++ == 0)
        add_sample(&first_token, c->started, now);
    add_sample(&chunk_delay, c->stamp, now);
    chunks++;
}

static int digit(char character)
{
    if ('0' <= character && character <= '9')
        return character - '0';
    return 'a' <= character && character <= 'f' ? character - 'a' + 10 : -1;
}

/* Find time stamps in the next part of a body; one may be split between two parts. */
static void find_stamps(struct connection *c, const char *data, size_t size)
{
    const char *end = data + size;
    const int length = (int)strlen(STAMP);
    while (data < end) {
        if (c->matched == 0) {
            data = memchr(data, STAMP[0], (size_t)(end - data));
            if (data == NULL)
                return;
            c->matched = 1;
            c->stamp = 0;
            data++;
        } else if (c->matched < length) {
            c->matched = *data == STAMP[c->matched] ? c->matched + 1 : 0;
            data += c->matched != 0; /* else the same character may begin another */
        } else {
            int value = digit(*data++);
            c->stamp = c->stamp << 4 | (uint64_t)(value & 15);
            c->matched = value < 0 ? 0 : c->matched + 1;
            if (c->matched == length + STAMP_DIGITS) {
                c->matched = 0;
                count_chunk(c);
            }
        }
    }
}

/* Keep a completion whole, and of a stream its end. */
static void take_body(struct connection *c, const char *data, size_t size)
{
    if (options.is_stream)
        find_stamps(c, data, size);
    if (c->body.end + size > MAX_KEPT_BODY) {
        size_t kept = size < 64 ? size : 64;
        c->body.end = 0;
        data += size - kept;
        size = kept;
    }
    buffer_append(&c->body, data, size);
}

static size_t take_left(struct connection *c, const char *data, size_t size)
{
    size_t taken = size < c->left ? size : c->left;
    take_body(c, data, taken);
    c->left -= taken;
    return taken;
}

static void take_size_digit(struct connection *c, char character)
{
    int value = digit((char)(character | ('A' <= character && character <= 'F' ? 32 : 0)));
    if (value >= 0)
        c->left = c->left << 4 | (size_t)value;
    if (character != '\n')
        return;
    c->line = 0;
    c->part = c->left ? CHUNK_DATA : TRAILER;
}

/* Returns 1 when the answer is complete. */
static int read_body(struct connection *c, const char *data, size_t size)
{
    const char *end = data + size;
    if (c->framing == LENGTH) {
        take_left(c, data, size);
        return c->left == 0;
    }
    while (data < end) {
        switch (c->part) {
        case CHUNK_SIZE:
            take_size_digit(c, *data++);
            break;
        case CHUNK_DATA:
            data += take_left(c, data, (size_t)(end - data));
            if (c->left == 0)
                c->part = CHUNK_END;
            break;
        case CHUNK_END:
            if (*data++ == '\n')
                c->part = CHUNK_SIZE;
            break;
        case TRAILER:
            if (*data == '\n' && c->line == 0)
                return 1;
            c->line = *data == '\n' ? 0 : c->line + (*data != '\r');
            data++;
            break;
        }
    }
    return 0;
}

/* ---- heads ---- */

/* Take the head from the next bytes. Returns how many of them belong to it, -1 if it is longer than MAX_HEAD. */
static ssize_t read_head(struct connection *c, const char *data, size_t size)
{
    size_t before = c->head.end;
    const char *value;
    char *end;
    buffer_append(&c->head, data, size);
    end = memmem(c->head.data, c->head.end, "\r\n\r\n", 4);
    if (end == NULL)
        return c->head.end > MAX_HEAD ? -1 : (ssize_t)size;
    *end = '\0';
    c->has_head = 1;
    c->status = strlen(c->head.data) > 9 ? atoi(c->head.data + 9) : 0;
    value = header(c->head.data, "\r\nconnection:");
    c->keep_alive = value == NULL || strncasecmp(value, "close", 5) != 0;
    value = header(c->head.data, "\r\ntransfer-encoding:");
    c->framing = value != NULL && strncasecmp(value, "chunked", 7) == 0 ? CHUNKED : LENGTH;
    value = header(c->head.data, "\r\ncontent-length:");
    c->left = c->framing == LENGTH && value != NULL ? strtoul(value, NULL, 10) : 0;
    c->part = CHUNK_SIZE;
    return end + 4 - (c->head.data + before);
}

static void take(struct connection *c, const char *data, size_t size)
{
    if (!c->is_busy)
        return;
    if (!c->has_head) {
        ssize_t used = read_head(c, data, size);
        if (used < 0) {
            end_call(c, 1);
            return;
        }
        if (!c->has_head)
            return;
        data += used;
        size -= (size_t)used;
    }
    if (read_body(c, data, size))
        end_call(c, 0);
}

/* Read until the socket is empty: events come only when that changes. */
static void read_answers(struct connection *c)
{
    static char data[READ_SIZE];
    while (c->fd >= 0) {
        ssize_t received = recv(c->fd, data, sizeof data, 0);
        if (received > 0) {
            take(c, data, (size_t)received);
            continue;
        }
        if (received < 0 && errno == EAGAIN)
            return;
        if (c->is_busy)
            end_call(c, 1);
        else
            disconnect(c);
        return;
    }
}

/* ---- the run ---- */

static void build_request(void)
{
    static char body[1 << 20];
    char head[2048];
    FILE *file = fopen(options.body, "rb");
    size_t size;
    int head_size;
    if (file == NULL)
        die(options.body);
    size = fread(body, 1, sizeof body, file);
    fclose(file);
    head_size = snprintf(head, sizeof head,
        "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n%s%s%s%s"
        "Content-Length: %zu\r\n\r\n",
        options.path, options.port, *options.key ? "Authorization: Bearer " : "", options.key, *options.key ? "\r\n" : "",
        options.headers, size);
    if ((size_t)head_size >= sizeof head) {
        fprintf(stderr, "the request's head has more than %zu bytes\n", sizeof head - 1);
        exit(2);
    }
    buffer_append(&request, head, (size_t)head_size);
    buffer_append(&request, body, size);
}

static void add_header(const char *line)
{
    size_t used = strlen(options.headers), left = sizeof options.headers - used;
    if ((size_t)snprintf(options.headers + used, left, "%s\r\n", line) >= left) {
        fprintf(stderr, "the headers have more than %zu bytes\n", sizeof options.headers - 1);
        exit(2);
    }
}

static int parse_options(int argc, char **argv)
{
    static const struct option NAMES[] = {
        {"port", required_argument, NULL, 'p'}, {"path", required_argument, NULL, 'u'},
        {"key", required_argument, NULL, 'k'}, {"header", required_argument, NULL, 'h'},
        {"body", required_argument, NULL, 'b'}, {"connections", required_argument, NULL, 'c'},
        {"seconds", required_argument, NULL, 's'}, {"stream", no_argument, NULL, 't'},
        {"chunks", required_argument, NULL, 'n'}, {"ramp-ms", required_argument, NULL, 'r'},
        {"drain-seconds", required_argument, NULL, 'd'}, {NULL, 0, NULL, 0}};
    int name;
    while ((name = getopt_long(argc, argv, "", NAMES, NULL)) != -1) {
        switch (name) {
        case 'p': options.port = atoi(optarg); break;
        case 'u': options.path = optarg; break;
        case 'k': options.key = optarg; break;
        case 'h': add_header(optarg); break;
        case 'b': options.body = optarg; break;
        case 'c': options.connections = atoi(optarg); break;
        case 's': options.seconds = atof(optarg); break;
        case 't': options.is_stream = 1; break;
        case 'n': options.chunks = atoi(optarg); break;
        case 'r': options.ramp_ms = atoi(optarg); break;
        case 'd': options.drain_seconds = atof(optarg); break;
        default: return -1;
        }
    }
    return options.port > 0 && options.body != NULL && options.connections > 0 ? 0 : -1;
}

static void wait_for_events(int timeout_ms)
{
    struct epoll_event events[MAX_EVENTS];
    int count = epoll_wait(epoll, events, MAX_EVENTS, timeout_ms);
    for (int i = 0; i < count; i++) {
        struct connection *c = events[i].data.ptr;
        if (c->fd >= 0 && c->is_busy && events[i].events & EPOLLOUT)
            send_request(c);
        if (c->fd >= 0 && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
            read_answers(c);
    }
}

/* How many connections should have begun by now. */
static int due(uint64_t elapsed_ns)
{
    double share = options.ramp_ms ? (double)elapsed_ns / 1e6 / options.ramp_ms : 1;
    return share >= 1 ? options.connections : (int)(share * options.connections) + 1;
}

int main(int argc, char **argv)
{
    struct connection *connections;
    unsigned long good_in_time, chunks_before = 0, chunks_in_time;
    uint64_t began, full_at = 0, stopped, give_up_at;
    int started = 0;
    if (parse_options(argc, argv) < 0) {
        fprintf(stderr, "usage: load_client --port PORT --body FILE [--path PATH] [--key KEY] [--header 'NAME: VALUE']... [--connections N]"
                        " [--seconds N] [--stream] [--chunks N] [--ramp-ms N] [--drain-seconds N]\n");
        return 2;
    }
    prepare_process();
    build_request();
    gateway = loopback(options.port);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    connections = calloc((size_t)options.connections, sizeof *connections);
    if (connections == NULL)
        die("calloc");
    for (int i = 0; i < options.connections; i++)
        connections[i].fd = -1;
    began = now_ns();
    stop_at = began + (uint64_t)(options.seconds * 1e9);
    give_up_at = stop_at + (uint64_t)(options.drain_seconds * 1e9);
    while (now_ns() < stop_at) {
        for (int wanted = due(now_ns() - began); started < wanted; started++)
            begin_call(&connections[started]);
        if (started == options.connections && full_at == 0) {
            full_at = now_ns();
            chunks_before = chunks;
        }
        for (int i = 0; i < started; i++) /* those that could not connect */
            if (!connections[i].is_busy)
                begin_call(&connections[i]);
        wait_for_events(started < options.connections ? 1 : 50);
    }
    stopped = now_ns();
    good_in_time = good;
    chunks_in_time = chunks;
    while (busy > 0 && now_ns() < give_up_at)
        wait_for_events(50);
    printf("{\"seconds\":%.3f,\"good\":%lu,\"bad\":%lu,\"bad_status\":%lu,\"bad_body\":%lu,\"cut\":%lu,\"connect_errors\":%lu",
        (double)(stopped - began) / 1e9, good, bad_status + bad_body + cut + connect_errors, bad_status, bad_body, cut,
        connect_errors);
    printf(",\"unfinished\":%d,\"calls_per_second\":%.2f,\"chunks\":%lu,\"chunks_per_second\":%.1f", busy,
        (double)good_in_time / ((double)(stopped - began) / 1e9), chunks,
        full_at ? (double)(chunks_in_time - chunks_before) / ((double)(stopped - full_at) / 1e9) : 0);
    print_samples("latency_ms", &latency);
    print_samples("first_token_ms", &first_token);
    print_samples("chunk_delay_ms", &chunk_delay);
    printf("}\n");
    return 0;
}
