/* A real service with the demo model: answers, streams, errors, threads, fork, and what is left behind.
 *     live TARGET [OPEN_CLOSE_PAIRS]
 * The daemon must take some more connections of one user than 16: those that end overlap with those that begin. */
#define _GNU_SOURCE
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

#define PROMPT "wake me at seven"
#define ANSWER "{\"do\":\"alarm.set\",\"time\":\"07:00\"}"

static const char *target;

static wattlm_handle *open_it(void) {
    wattlm_handle *handle = NULL;
    STATUS(wattlm_open(target, NULL, &handle), WATTLM_OK);
    if (!handle) {
        fprintf(stderr, "%s\n", wattlm_last_error(NULL));
        exit(1);
    }
    return handle;
}

static wattlm_request_options greedy(void) {
    wattlm_request_options o = {0};
    o.struct_size = sizeof o;
    o.greedy = 1;
    return o;
}

/* An answer that goes on for as long as the context allows. */
static wattlm_request_options endless(void) {
    wattlm_request_options o = greedy();
    o.max_tokens = 400;
    o.extra_json = "{\"ignore_eos\":true}";
    return o;
}

static void answers(wattlm_handle *llm) {
    wattlm_request_options o = greedy();
    char *text;
    wattlm_receipt *receipt;
    STATUS(wattlm_ask(llm, PROMPT, &o, -1, &text, &receipt), WATTLM_OK);
    CHECK(text && strcmp(text, ANSWER) == 0);
    CHECK(strcmp(wattlm_receipt_finish_reason(receipt), "stop") == 0);
    CHECK(strncmp(wattlm_receipt_model(receipt), "wattlm-demo:", 12) == 0);
    CHECK(strcmp(wattlm_receipt_device(receipt), "cpu") == 0 && wattlm_receipt_kernels(receipt)[0]);
    CHECK(strncmp(wattlm_receipt_request_id(receipt), "req-", 4) == 0 && wattlm_receipt_reason(receipt)[0]);
    CHECK(wattlm_receipt_prompt_tokens(receipt) > 5 && wattlm_receipt_completion_tokens(receipt) > 5);
    CHECK(wattlm_receipt_cached_tokens(receipt) < wattlm_receipt_prompt_tokens(receipt));
    CHECK(wattlm_receipt_queue_seconds(receipt) >= 0 && wattlm_receipt_prefill_seconds(receipt) > 0);
    CHECK(wattlm_receipt_decode_seconds(receipt) > 0);
    CHECK(strstr(wattlm_receipt_json(receipt), "\"finish_reason\":\"stop\""));
    wattlm_string_free(text);
    wattlm_receipt_free(receipt);

    const char *stop = "\"time\"";
    o.stop = &stop;
    o.stop_count = 1;
    STATUS(wattlm_ask(llm, PROMPT, &o, -1, &text, NULL), WATTLM_OK);
    CHECK(text && strcmp(text, "{\"do\":\"alarm.set\",") == 0);
    wattlm_string_free(text);

    o = greedy();
    o.max_tokens = 2;
    STATUS(wattlm_ask(llm, PROMPT, &o, 60000, &text, &receipt), WATTLM_OK);
    CHECK(strcmp(wattlm_receipt_finish_reason(receipt), "length") == 0);
    CHECK(wattlm_receipt_completion_tokens(receipt) == 2);
    wattlm_string_free(text);
    wattlm_receipt_free(receipt);
}

static int count_bytes(void *user, const wattlm_piece *piece) {
    *(size_t *)user += piece->length;
    return 0;
}

static int stop_at_once(void *user, const wattlm_piece *piece) {
    (void)piece;
    ++*(int *)user;
    return 1;
}

static void streams(wattlm_handle *llm) {
    wattlm_request_options o = greedy();
    wattlm_message messages[2] = {{"system", "x"}, {"user", PROMPT}};
    wattlm_stream *stream;
    wattlm_piece piece;
    wattlm_receipt *receipt;
    char all[256] = "";

    /* By poll, without ever waiting in the library. */
    STATUS(wattlm_chat(llm, messages + 1, 1, &o, &stream), WATTLM_OK);
    for (;;) {
        STATUS(wattlm_stream_next(stream, 0, &piece), WATTLM_OK);
        if (piece.kind == WATTLM_PIECE_END)
            break;
        if (piece.kind == WATTLM_PIECE_NOTHING) {
            struct pollfd p = {wattlm_stream_fd(stream), POLLIN, 0};
            CHECK(poll(&p, 1, 60000) == 1);
            continue;
        }
        CHECK(strlen(piece.text) == piece.length);
        strncat(all, piece.text, sizeof all - strlen(all) - 1);
    }
    CHECK(strcmp(all, ANSWER) == 0);
    STATUS(wattlm_stream_next(stream, -1, &piece), WATTLM_OK);
    CHECK(piece.kind == WATTLM_PIECE_END);
    wattlm_stream_cancel(stream); /* too late */
    STATUS(wattlm_stream_receipt(stream, &receipt), WATTLM_OK);
    CHECK(wattlm_stream_request_id(stream) && receipt);
    CHECK(receipt && strcmp(wattlm_stream_request_id(stream), wattlm_receipt_request_id(receipt)) == 0);
    wattlm_stream_free(stream);
    CHECK(wattlm_receipt_completion_tokens(receipt) > 5); /* it outlives its stream */
    wattlm_receipt_free(receipt);

    size_t bytes = 0;
    STATUS(wattlm_chat(llm, messages, 2, &o, &stream), WATTLM_OK);
    STATUS(wattlm_stream_each(stream, count_bytes, &bytes), WATTLM_OK);
    CHECK(bytes > 5);
    wattlm_stream_free(stream);

    int calls = 0;
    o = endless();
    STATUS(wattlm_generate(llm, PROMPT, &o, &stream), WATTLM_OK);
    STATUS(wattlm_stream_each(stream, stop_at_once, &calls), WATTLM_E_CANCELLED);
    CHECK(calls == 1);
    STATUS(wattlm_stream_receipt(stream, &receipt), WATTLM_E_CANCELLED);
    wattlm_stream_free(stream);

    STATUS(wattlm_generate(llm, PROMPT, &o, &stream), WATTLM_OK);
    wattlm_stream_cancel(stream);
    STATUS(wattlm_stream_next(stream, -1, &piece), WATTLM_E_CANCELLED);
    wattlm_stream_free(stream);

    /* Closed in the middle of an answer: no SIGPIPE here nor, in direct mode, from the service. */
    for (int i = 0; i < 20; i++) {
        STATUS(wattlm_generate(llm, PROMPT, &o, &stream), WATTLM_OK);
        STATUS(wattlm_stream_next(stream, 60000, &piece), WATTLM_OK);
        wattlm_stream_free(stream);
    }

    o = greedy();
    o.max_tokens = 8;
    char *text;
    STATUS(wattlm_complete(llm, "once upon", &o, &stream), WATTLM_OK);
    STATUS(wattlm_stream_text(stream, -1, &text), WATTLM_OK);
    CHECK(text != NULL);
    wattlm_string_free(text);
    wattlm_stream_free(stream);
}

static void errors(wattlm_handle *llm) {
    wattlm_request_options o = greedy();
    wattlm_stream *stream;
    wattlm_piece piece;
    char *text;
    o.model = "nothing";
    STATUS(wattlm_generate(llm, "hi", &o, &stream), WATTLM_OK); /* it has not asked yet */
    STATUS(wattlm_stream_next(stream, -1, &piece), WATTLM_E_MODEL_NOT_FOUND);
    STATUS(wattlm_stream_next(stream, -1, &piece), WATTLM_E_MODEL_NOT_FOUND);
    CHECK(wattlm_last_error(llm)[0] && wattlm_last_error_param(llm) && strcmp(wattlm_last_error_param(llm), "model") == 0);
    wattlm_stream_free(stream);

    o = greedy();
    o.greedy = 0;
    o.temperature = 3;
    STATUS(wattlm_ask(llm, "hi", &o, -1, &text, NULL), WATTLM_E_INVALID_REQUEST);
    CHECK(strcmp(wattlm_last_error_param(llm), "temperature") == 0);
    o = greedy();
    o.json_schema = "{\"type\":\"object\"}";
    wattlm_status status = wattlm_ask(llm, PROMPT, &o, -1, &text, NULL);
    CHECK(status == WATTLM_OK || status == WATTLM_E_UNSUPPORTED_FIELD); /* enforced or refused, never ignored */
    wattlm_string_free(text);
    o = greedy();
    o.deadline_ms = 1;
    o.max_tokens = 400;
    o.extra_json = "{\"ignore_eos\":true}";
    STATUS(wattlm_ask(llm, PROMPT, &o, -1, &text, NULL), WATTLM_E_DEADLINE_EXCEEDED);
    CHECK(text == NULL);
    char *long_prompt = malloc(40001);
    memset(long_prompt, 'a', 40000);
    long_prompt[40000] = '\0';
    o = greedy();
    STATUS(wattlm_ask(llm, long_prompt, &o, -1, &text, NULL), WATTLM_E_CONTEXT_LENGTH_EXCEEDED);
    free(long_prompt);
}

static void door(wattlm_handle *llm) {
    char *text;
    STATUS(wattlm_status_json(llm, &text), WATTLM_OK);
    CHECK(text && strstr(text, "\"uptime_s\""));
    wattlm_string_free(text);
    STATUS(wattlm_models_json(llm, &text), WATTLM_OK);
    CHECK(text && strstr(text, "wattlm-demo"));
    wattlm_string_free(text);
    wattlm_status status = wattlm_budget_json(llm, &text);
    CHECK(status == WATTLM_OK || status == WATTLM_E_NOT_FOUND);
    wattlm_string_free(text);
    STATUS(wattlm_request_json(llm, "GET", "/health", NULL, 5000, &text), WATTLM_OK);
    CHECK(text && strcmp(text, "{\"status\":\"ok\"}") == 0);
    wattlm_string_free(text);
    STATUS(wattlm_request_json(llm, "GET", "/metrics", NULL, 5000, &text), WATTLM_OK);
    CHECK(text && strstr(text, "# TYPE"));
    wattlm_string_free(text);
    const char *ask = "{\"messages\":[{\"role\":\"user\",\"content\":\"" PROMPT "\"}],\"temperature\":0}";
    STATUS(wattlm_request_json(llm, "POST", "/v1/chat/completions", ask, -1, &text), WATTLM_OK);
    CHECK(text && strstr(text, "alarm.set"));
    wattlm_string_free(text);
    STATUS(wattlm_request_json(llm, "POST", "/v1/chat/completions", "{", 5000, &text), WATTLM_E_INVALID_REQUEST);
    CHECK(text == NULL && wattlm_last_error(llm)[0]);
    STATUS(wattlm_request_json(llm, "GET", "/v1/nothing", NULL, 5000, &text), WATTLM_E_NOT_FOUND);
    STATUS(wattlm_request_json(llm, "PUT", "/health", NULL, 5000, &text), WATTLM_E_METHOD_NOT_ALLOWED);
    STATUS(wattlm_cancel(llm, "req-00000000"), WATTLM_E_NOT_FOUND);

    wattlm_stream *stream;
    wattlm_piece piece;
    wattlm_receipt *receipt;
    int events = 0;
    ask = "{\"messages\":[{\"role\":\"user\",\"content\":\"" PROMPT "\"}],\"temperature\":0,\"stream\":true}";
    STATUS(wattlm_request_stream(llm, "POST", "/v1/chat/completions", ask, &stream), WATTLM_OK);
    do {
        STATUS(wattlm_stream_next(stream, -1, &piece), WATTLM_OK);
        events += piece.kind == WATTLM_PIECE_EVENT && piece.text[0] == '{';
    } while (piece.kind == WATTLM_PIECE_EVENT);
    CHECK(piece.kind == WATTLM_PIECE_END && events > 2);
    STATUS(wattlm_stream_receipt(stream, &receipt), WATTLM_E_INVALID_REQUEST);
    wattlm_stream_free(stream);

    /* By its name, from another connection. The request may be over by then. */
    wattlm_request_options o = endless();
    STATUS(wattlm_generate(llm, PROMPT, &o, &stream), WATTLM_OK);
    STATUS(wattlm_stream_next(stream, -1, &piece), WATTLM_OK);
    status = wattlm_cancel(llm, wattlm_stream_request_id(stream));
    CHECK(status == WATTLM_OK || status == WATTLM_E_NOT_FOUND);
    wattlm_status end;
    do
        end = wattlm_stream_next(stream, -1, &piece);
    while (end == WATTLM_OK && piece.kind != WATTLM_PIECE_END);
    CHECK(end == (status == WATTLM_OK ? WATTLM_E_CANCELLED : WATTLM_OK) || end == WATTLM_OK);
    wattlm_stream_free(stream);
}

static void *asks(void *handle) {
    wattlm_request_options o = greedy();
    wattlm_handle *llm = handle ? handle : open_it();
    for (int i = 0; i < 4; i++) {
        char *text;
        STATUS(wattlm_ask(llm, PROMPT, &o, -1, &text, NULL), WATTLM_OK);
        CHECK(text && strcmp(text, ANSWER) == 0);
        wattlm_string_free(text);
        o.model = "nothing"; /* each thread sees its own failure */
        STATUS(wattlm_ask(llm, PROMPT, &o, -1, &text, NULL), WATTLM_E_MODEL_NOT_FOUND);
        CHECK(strstr(wattlm_last_error(llm), "nothing"));
        o.model = NULL;
    }
    if (!handle)
        wattlm_close(llm);
    return NULL;
}

/* 16 at a time. */
static void threads(wattlm_handle *shared) {
    for (int own = 0; own < 2; own++) {
        pthread_t all[15];
        for (int i = 0; i < 15; i++)
            CHECK(pthread_create(&all[i], NULL, asks, own ? NULL : shared) == 0);
        asks(own ? NULL : shared);
        for (int i = 0; i < 15; i++)
            pthread_join(all[i], NULL);
    }
}

static void forks(wattlm_handle *llm) {
    wattlm_request_options o = greedy();
    wattlm_stream *stream;
    wattlm_piece piece;
    char *text;
    STATUS(wattlm_generate(llm, PROMPT, &o, &stream), WATTLM_OK);
    pid_t child = fork();
    if (child == 0) {
        checks = failures = 0;
        STATUS(wattlm_models_json(llm, &text), WATTLM_E_FORKED);
        STATUS(wattlm_stream_next(stream, 0, &piece), WATTLM_E_FORKED);
        CHECK(wattlm_last_error(llm)[0]);
        wattlm_stream_cancel(stream);
        wattlm_stream_free(stream);
        wattlm_close(llm);
        if (strncmp(target, "unix:", 5) == 0) {
            wattlm_handle *own = open_it();
            STATUS(wattlm_models_json(own, &text), WATTLM_OK);
            wattlm_string_free(text);
            wattlm_close(own);
        }
        _exit(failures != 0);
    }
    int status;
    CHECK(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    STATUS(wattlm_stream_text(stream, -1, &text), WATTLM_OK);
    CHECK(text && strcmp(text, ANSWER) == 0);
    wattlm_string_free(text);
    wattlm_stream_free(stream);
}

static void descriptors(wattlm_handle *llm) {
    struct rlimit limit, tight;
    char *text;
    getrlimit(RLIMIT_NOFILE, &limit);
    tight = limit;
    tight.rlim_cur = 3;
    setrlimit(RLIMIT_NOFILE, &tight);
    wattlm_status status = wattlm_models_json(llm, &text);
    setrlimit(RLIMIT_NOFILE, &limit);
    STATUS(status, WATTLM_E_TOO_MANY_CONNECTIONS);
    CHECK(wattlm_retry_after_ms(llm) > 0 && wattlm_status_retryable(status));
}

static _Atomic int lines;

static void on_log(void *user, int32_t level, const char *text) {
    CHECK(user == (void *)&lines && level >= 1 && level <= 4 && text[0]);
    lines++;
}

static void *nothing(void *unused) { return unused; }

int main(int argc, char **argv) {
    target = argc > 1 ? argv[1] : NULL;
    long pairs = argc > 2 ? atol(argv[2]) : 1000;
    struct sigaction before[32], after[32]; /* those above are the C library's own */
    for (int i = 1; i < 32; i++)
        sigaction(i, NULL, &before[i]);
    STATUS(wattlm_set_log(on_log, &lines, 9), WATTLM_E_INVALID_REQUEST);
    STATUS(wattlm_set_log(on_log, &lines, WATTLM_LOG_DEBUG), WATTLM_OK);
    pthread_t first; /* the thread sanitizer starts one of its own beside the first */
    CHECK(pthread_create(&first, NULL, nothing, NULL) == 0 && pthread_join(first, NULL) == 0);
    int tasks = entries("/proc/self/task");

    wattlm_handle *llm = open_it();
    answers(llm); /* and what is opened once is open */
    int fds = descriptors_at_rest();
    streams(llm);
    errors(llm);
    door(llm);
    threads(llm);
    forks(llm);
    descriptors(llm);
    for (long i = 0; i < pairs; i++)
        wattlm_close(open_it());
    CHECK(descriptors_at_rest() == fds);
    wattlm_close(llm);

    CHECK(settled("/proc/self/task", tasks) == tasks);
    for (int i = 1; i < 32; i++)
        sigaction(i, NULL, &after[i]);
    for (int i = 1; i < 32; i++)
        CHECK(before[i].sa_handler == after[i].sa_handler && before[i].sa_flags == after[i].sa_flags);
    STATUS(wattlm_set_log(NULL, NULL, 0), WATTLM_OK);
    return done("live");
}
