/* Eight clients stream while whoever runs this harms their daemon: each call must return within its time, with a status
 * that fits, and answers must come again in the end.   faults TARGET SECONDS [SILENCE_MS] */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "check.h"

enum { CLIENTS = 8, WAIT_MS = 300, CONNECT_MS = 5000 };
/* What a busy machine may add. */
enum { SLACK_MS = 2000 };

static const char *target;
static unsigned silence_ms = 1000;
static double end;
static _Atomic long statuses[600], answered, slowest_ms;
static _Atomic double last_answer;

static void in_time(double begun, long limit_ms) {
    long took = (long)((now() - begun) * 1000), slowest = slowest_ms;
    while (took > slowest && !atomic_compare_exchange_weak(&slowest_ms, &slowest, took)) {}
    CHECK(took <= limit_ms + SLACK_MS);
}

static wattlm_status answer(wattlm_handle *llm) {
    wattlm_request_options o = {0};
    o.struct_size = sizeof o;
    o.greedy = 1;
    o.max_tokens = 300;
    o.extra_json = "{\"ignore_eos\":true}";
    wattlm_stream *stream;
    double begun = now();
    wattlm_status status = wattlm_generate(llm, "wake me at seven", &o, &stream);
    in_time(begun, CONNECT_MS);
    while (status == WATTLM_OK) {
        wattlm_piece piece;
        begun = now();
        status = wattlm_stream_next(stream, WAIT_MS, &piece);
        in_time(begun, WAIT_MS);
        if (status == WATTLM_OK && piece.kind == WATTLM_PIECE_END) {
            answered++;
            last_answer = now();
            break;
        }
    }
    wattlm_stream_free(stream);
    return status;
}

static void *client(void *unused) {
    (void)unused;
    wattlm_open_options o = {0};
    o.struct_size = sizeof o;
    o.flags = WATTLM_OPEN_LAZY;
    o.silence_ms = silence_ms;
    wattlm_handle *llm = NULL;
    STATUS(wattlm_open(target, &o, &llm), WATTLM_OK);
    while (now() < end) {
        wattlm_status status = answer(llm);
        CHECK(status >= 0 && status < 600);
        statuses[status]++;
        CHECK(status == WATTLM_OK || wattlm_last_error(llm)[0]);
        if (status != WATTLM_OK)
            usleep(20000); /* a program would wait longer */
    }
    wattlm_close(llm);
    return NULL;
}

int main(int argc, char **argv) {
    if (argc < 3)
        return 2;
    target = argv[1];
    if (argc > 3)
        silence_ms = (unsigned)atoi(argv[3]);
    double begun = now();
    end = begun + atof(argv[2]);
    pthread_t all[CLIENTS];
    for (int i = 0; i < CLIENTS; i++)
        CHECK(pthread_create(&all[i], NULL, client, NULL) == 0);
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(all[i], NULL);
    for (int i = 0; i < 600; i++)
        if (statuses[i])
            printf("%s %ld, ", wattlm_status_name(i), (long)statuses[i]);
    printf("slowest call %ld ms\n", (long)slowest_ms);
    CHECK(answered > 0 && last_answer > end - 3.0);
    for (int i = 0; i < 600; i++) /* nothing is the request's fault */
        CHECK(!statuses[i] || i == WATTLM_OK || i == WATTLM_E_REQUEST_TIMEOUT || i >= 200);
    CHECK(statuses[WATTLM_E_INTERNAL] == 0);
    return done("faults");
}
