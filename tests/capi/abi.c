/* Arguments: every function with every pointer NULL, and every options struct smaller, equal, larger with a zero and
 * with a dirty tail. Needs no daemon: a socket that accepts nobody stands in where a stream has to exist. */
#define _GNU_SOURCE
#include <math.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "check.h"

static char target[128];
static int listener;

/* A listener that never accepts: connections wait in its backlog. */
static void silent_daemon(void) {
    struct sockaddr_un address = {0};
    address.sun_family = AF_UNIX;
    snprintf(address.sun_path, sizeof address.sun_path, "/tmp/wattlm-abi.%d", (int)getpid());
    snprintf(target, sizeof target, "unix:%s", address.sun_path);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(bind(listener, (struct sockaddr *)&address, sizeof address) == 0);
    CHECK(listen(listener, 128) == 0);
}

static wattlm_handle *open_silent(uint32_t silence_ms) {
    wattlm_open_options o = {0};
    o.struct_size = sizeof o;
    o.silence_ms = silence_ms;
    wattlm_handle *handle = NULL;
    STATUS(wattlm_open(target, &o, &handle), WATTLM_OK);
    return handle;
}

static void null_everywhere(void) {
    wattlm_handle *handle = open_silent(0), *none;
    wattlm_stream *stream = NULL, *s;
    wattlm_receipt *receipt;
    wattlm_piece piece;
    char *text;
    wattlm_message message = {"user", "hi"}, no_role = {NULL, "hi"}, no_content = {"user", NULL};
    const wattlm_status bad = WATTLM_E_INVALID_REQUEST;

    CHECK(wattlm_version() == WATTLM_VERSION_NUMBER && wattlm_abi_version() == WATTLM_ABI_VERSION);
    CHECK(strcmp(wattlm_version_string(), WATTLM_VERSION_STRING) == 0);
    CHECK(wattlm_has_direct() == 0 || wattlm_has_direct() == 1);
    CHECK(strcmp(wattlm_status_name(WATTLM_E_FORKED), "forked") == 0);
    CHECK(wattlm_status_retryable(WATTLM_E_QUEUE_FULL) == 1 && wattlm_status_retryable(WATTLM_OK) == 0);

    STATUS(wattlm_open(target, NULL, NULL), bad);
    STATUS(wattlm_open("nothing", NULL, &none), bad);
    CHECK(none == NULL && wattlm_last_error(NULL)[0] && strcmp(wattlm_last_error_param(NULL), "target") == 0);
    CHECK(wattlm_retry_after_ms(NULL) == -1);

    STATUS(wattlm_generate(NULL, "hi", NULL, &s), bad);
    STATUS(wattlm_generate(handle, NULL, NULL, &s), bad);
    CHECK(s == NULL);
    STATUS(wattlm_generate(handle, "hi", NULL, NULL), bad);
    STATUS(wattlm_generate(handle, "\xff\xfe", NULL, &s), bad);
    STATUS(wattlm_complete(NULL, "hi", NULL, &s), bad);
    STATUS(wattlm_complete(handle, NULL, NULL, &s), bad);
    STATUS(wattlm_complete(handle, "hi", NULL, NULL), bad);
    STATUS(wattlm_chat(NULL, &message, 1, NULL, &s), bad);
    STATUS(wattlm_chat(handle, NULL, 1, NULL, &s), bad);
    STATUS(wattlm_chat(handle, NULL, 0, NULL, &s), bad);
    STATUS(wattlm_chat(handle, &message, 1, NULL, NULL), bad);
    STATUS(wattlm_chat(handle, &message, SIZE_MAX, NULL, &s), bad);
    STATUS(wattlm_chat(handle, &no_role, 1, NULL, &s), bad);
    CHECK(strcmp(wattlm_last_error_param(handle), "messages[0].role") == 0);
    STATUS(wattlm_chat(handle, &no_content, 1, NULL, &s), bad);
    STATUS(wattlm_ask(NULL, "hi", NULL, 0, &text, &receipt), bad);
    STATUS(wattlm_ask(handle, NULL, NULL, 0, &text, &receipt), bad);
    CHECK(text == NULL && receipt == NULL);
    STATUS(wattlm_ask(handle, "hi", NULL, 0, NULL, &receipt), bad);
    STATUS(wattlm_ask(handle, "hi", NULL, 20, &text, NULL), WATTLM_E_REQUEST_TIMEOUT);
    CHECK(text == NULL);
    STATUS(wattlm_ask(handle, "hi", NULL, -2, &text, NULL), bad);

    STATUS(wattlm_request_json(NULL, "GET", "/health", NULL, 0, &text), bad);
    STATUS(wattlm_request_json(handle, NULL, "/health", NULL, 0, &text), bad);
    STATUS(wattlm_request_json(handle, "GET", NULL, NULL, 0, &text), bad);
    STATUS(wattlm_request_json(handle, "GET", "/health", NULL, 0, NULL), bad);
    STATUS(wattlm_request_json(handle, "GET", "/a b", NULL, 0, &text), bad);
    STATUS(wattlm_request_json(handle, "GET", "/x\r\nEvil: y", NULL, 0, &text), bad);
    STATUS(wattlm_request_json(handle, "GET", "/health", NULL, 20, &text), WATTLM_E_REQUEST_TIMEOUT);
    STATUS(wattlm_request_stream(NULL, "GET", "/health", NULL, &s), bad);
    STATUS(wattlm_request_stream(handle, NULL, "/health", NULL, &s), bad);
    STATUS(wattlm_request_stream(handle, "GET", NULL, NULL, &s), bad);
    STATUS(wattlm_request_stream(handle, "GET", "/health", NULL, NULL), bad);
    STATUS(wattlm_models_json(NULL, &text), bad);
    STATUS(wattlm_models_json(handle, NULL), bad);
    STATUS(wattlm_status_json(NULL, &text), bad);
    STATUS(wattlm_status_json(handle, NULL), bad);
    STATUS(wattlm_budget_json(NULL, &text), bad);
    STATUS(wattlm_budget_json(handle, NULL), bad);
    STATUS(wattlm_cancel(NULL, "req-00000001"), bad);
    STATUS(wattlm_cancel(handle, NULL), bad);

    STATUS(wattlm_generate(handle, "hi", NULL, &stream), WATTLM_OK);
    STATUS(wattlm_stream_next(NULL, 0, &piece), bad);
    STATUS(wattlm_stream_next(stream, 0, NULL), bad);
    STATUS(wattlm_stream_next(stream, -7, &piece), bad);
    STATUS(wattlm_stream_next(stream, 0, &piece), WATTLM_OK);
    CHECK(piece.kind == WATTLM_PIECE_NOTHING && piece.length == 0 && piece.text[0] == '\0');
    STATUS(wattlm_stream_text(NULL, 0, &text), bad);
    STATUS(wattlm_stream_text(stream, 0, NULL), bad);
    STATUS(wattlm_stream_each(NULL, NULL, NULL), bad);
    STATUS(wattlm_stream_each(stream, NULL, NULL), bad);
    STATUS(wattlm_stream_receipt(NULL, &receipt), bad);
    STATUS(wattlm_stream_receipt(stream, NULL), bad);
    STATUS(wattlm_stream_receipt(stream, &receipt), bad); /* not at its end */
    CHECK(receipt == NULL);
    CHECK(wattlm_stream_fd(NULL) == -1 && wattlm_stream_fd(stream) >= 0);
    CHECK(wattlm_stream_request_id(NULL) == NULL && wattlm_stream_request_id(stream) == NULL);
    wattlm_stream_cancel(NULL);

    const char *(*const strings[])(const wattlm_receipt *) = {
        wattlm_receipt_json,   wattlm_receipt_finish_reason,  wattlm_receipt_request_id,    wattlm_receipt_model,
        wattlm_receipt_device, wattlm_receipt_kernels,        wattlm_receipt_reason,        wattlm_receipt_energy_quality,
        wattlm_receipt_energy_source, wattlm_receipt_energy_limit};
    for (size_t i = 0; i < sizeof strings / sizeof *strings; i++)
        CHECK(strings[i](NULL)[0] == '\0');
    double (*const figures[])(const wattlm_receipt *) = {
        wattlm_receipt_queue_seconds, wattlm_receipt_prefill_seconds, wattlm_receipt_decode_seconds,
        wattlm_receipt_joules,        wattlm_receipt_joules_error,    wattlm_receipt_wake_joules,
        wattlm_receipt_prefill_joules, wattlm_receipt_decode_joules,  wattlm_receipt_idle_joules};
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++)
        CHECK(isnan(figures[i](NULL)));
    CHECK(wattlm_receipt_prompt_tokens(NULL) == 0 && wattlm_receipt_cached_tokens(NULL) == 0);
    CHECK(wattlm_receipt_completion_tokens(NULL) == 0);

    STATUS(wattlm_set_log(NULL, NULL, 0), WATTLM_OK);
    wattlm_string_free(NULL);
    wattlm_receipt_free(NULL);
    wattlm_stream_free(NULL);
    wattlm_close(NULL);
    wattlm_stream_free(stream);
    wattlm_close(handle);
}

/* A struct as a program with an older or a newer header would pass it. */
#define SIZES(type, call)                                                                                     \
    do {                                                                                                      \
        static const size_t odd[] = {0, 1, sizeof(size_t) - 1, 4097, SIZE_MAX};                               \
        union { type known; unsigned char raw[sizeof(type) + 256]; } o;                                       \
        for (size_t size = sizeof(size_t); size <= sizeof o.raw; size++) {                                    \
            memset(&o, 0, sizeof o);                                                                          \
            o.known.struct_size = size;                                                                       \
            STATUS(call, WATTLM_OK);                                                                          \
            if (size > sizeof(type)) {                                                                        \
                o.raw[size - 1] = 1;                                                                          \
                STATUS(call, WATTLM_E_UNSUPPORTED_FIELD);                                                     \
            }                                                                                                 \
        }                                                                                                     \
        for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {                                               \
            memset(&o, 0, sizeof o);                                                                          \
            o.known.struct_size = odd[i];                                                                     \
            STATUS(call, WATTLM_E_INVALID_REQUEST);                                                           \
        }                                                                                                     \
    } while (0)

static wattlm_status try_open(const wattlm_open_options *options) {
    wattlm_handle *handle;
    wattlm_status status = wattlm_open("unix:/nonexistent/lazy", options, &handle);
    wattlm_close(handle);
    /* The target is wrong, the struct is right. */
    return status == WATTLM_E_NO_DAEMON ? WATTLM_OK : status;
}

static wattlm_handle *nowhere;

static wattlm_status try_ask(const wattlm_request_options *options) {
    char *text;
    wattlm_status status = wattlm_ask(nowhere, "hi", options, 0, &text, NULL);
    wattlm_string_free(text);
    return status == WATTLM_E_NO_DAEMON ? WATTLM_OK : status;
}

static void sizes(void) {
    wattlm_open_options lazy = {0};
    lazy.struct_size = sizeof lazy;
    lazy.flags = WATTLM_OPEN_LAZY;
    STATUS(wattlm_open("unix:/nonexistent/lazy", &lazy, &nowhere), WATTLM_OK);
    SIZES(wattlm_open_options, try_open(&o.known));
    SIZES(wattlm_request_options, try_ask(&o.known));
    wattlm_close(nowhere);
}

static void values(void) {
    wattlm_open_options lazy = {0};
    lazy.struct_size = sizeof lazy;
    lazy.flags = WATTLM_OPEN_LAZY;
    STATUS(wattlm_open("unix:/nonexistent/lazy", &lazy, &nowhere), WATTLM_OK);
    const char *stop[2] = {"x", NULL};
    wattlm_request_options zero = {0}, o;
    zero.struct_size = sizeof zero;
#define REFUSED(assignment, name)                                                           \
    do {                                                                                    \
        o = zero;                                                                           \
        assignment;                                                                         \
        STATUS(try_ask(&o), WATTLM_E_INVALID_REQUEST);                                      \
        CHECK(strcmp(wattlm_last_error_param(nowhere), "options." name) == 0);              \
    } while (0)
    REFUSED(o.request_class = 4, "request_class");
    REFUSED(o.request_class = -1, "request_class");
    REFUSED(o.policy = 99, "policy");
    REFUSED(o.backend = 3, "backend");
    REFUSED(o.degrade = 2, "degrade");
    REFUSED(o.greedy = 2, "greedy");
    REFUSED((o.greedy = 1, o.temperature = 1.0), "temperature");
    REFUSED(o.temperature = NAN, "temperature");
    REFUSED(o.top_p = INFINITY, "top_p");
    REFUSED(o.max_joules = NAN, "max_joules");
    REFUSED(o.stop_count = 1, "stop");
    REFUSED((o.stop = stop, o.stop_count = 2), "stop[1]");
    REFUSED(o.json_schema = "{", "json_schema");
    REFUSED(o.extra_json = "[]", "extra_json");
    REFUSED((o.extra_json = "{\"wattlm\":1}", o.deadline_ms = 5), "extra_json");
    REFUSED(o.model = "\xff", "model");
    wattlm_close(nowhere);
}

static void *cancel_it(void *stream) {
    usleep(20000); /* so that the reader mostly waits by then; right in any order */
    wattlm_stream_cancel(stream);
    return NULL;
}

static void waits_end(void) {
    wattlm_handle *handle = open_silent(0);
    wattlm_stream *stream = NULL;
    wattlm_piece piece;
    pthread_t other;
    STATUS(wattlm_generate(handle, "hi", NULL, &stream), WATTLM_OK);
    CHECK(pthread_create(&other, NULL, cancel_it, stream) == 0);
    STATUS(wattlm_stream_next(stream, -1, &piece), WATTLM_E_CANCELLED);
    STATUS(wattlm_stream_next(stream, -1, &piece), WATTLM_E_CANCELLED);
    pthread_join(other, NULL);
    wattlm_close(handle); /* before its stream: allowed */
    wattlm_stream_free(stream);

    handle = open_silent(50);
    STATUS(wattlm_generate(handle, "hi", NULL, &stream), WATTLM_OK);
    STATUS(wattlm_stream_next(stream, -1, &piece), WATTLM_E_REQUEST_TIMEOUT);
    wattlm_stream_free(stream);
    char *text;
    STATUS(wattlm_status_json(handle, &text), WATTLM_E_REQUEST_TIMEOUT);
    wattlm_close(handle);
}

int main(void) {
    silent_daemon();
    null_everywhere();
    sizes();
    values();
    waits_end();
    unlink(target + strlen("unix:"));
    close(listener);
    return done("abi");
}
