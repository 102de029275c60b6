/* What the way through the daemon's socket costs beside the model in the program's own process: the same answer asked
 * for both ways in turn, in one program, so that whatever else the machine does meets both.
 *
 *     capi DIRECT UNIX DAEMON ROUNDS TOKENS ANSWERS LEAST
 *
 * DIRECT, UNIX: the two targets. DAEMON: the daemon's process id, for the CPU time of it and of its workers. A round is
 * ANSWERS answers of TOKENS tokens each way; every second round begins with the other way. The last line has the median
 * of the rounds' ratios; the program fails where that is below LEAST. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <wattlm.h>

enum { DIRECT, UNIX, WAYS, MOST_ROUNDS = 1000 };
static const char *const names[WAYS] = {"direct", "socket"};

/* Sums over answers. Seconds, but for the counts. */
struct sums {
    double wall, queue, prefill, decode; /* by this program's clock; by the engine's */
    double caller, own, daemon, workers; /* CPU time: of the calling thread, of all of this program, of the daemon, … */
    double tokens, pieces, answers;
};

static double clock_seconds(clockid_t clock) {
    struct timespec t;
    if (clock_gettime(clock, &t) != 0)
        return 0;
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cpu_of(pid_t pid) {
    clockid_t clock;
    return pid > 0 && clock_getcpuclockid(pid, &clock) == 0 ? clock_seconds(clock) : 0;
}

/* CPU time of all workers that there are. The model stays loaded, so that they are the same before and after. */
static double cpu_of_workers(pid_t daemon) {
    char command[64];
    double sum = 0;
    long pid;
    snprintf(command, sizeof command, "cat /proc/%ld/task/*/children", (long)daemon);
    FILE *children = popen(command, "r");
    while (children && fscanf(children, "%ld", &pid) == 1)
        sum += cpu_of((pid_t)pid);
    if (children)
        pclose(children);
    return sum;
}

static void die(const wattlm_handle *llm, const char *what) {
    fprintf(stderr, "capi: %s: %s\n", what, wattlm_last_error(llm));
    exit(2);
}

static void answer(const wattlm_handle *llm, unsigned tokens, struct sums *s) {
    wattlm_request_options o = {0};
    o.struct_size = sizeof o;
    o.greedy = 1;
    o.max_tokens = tokens;
    o.extra_json = "{\"ignore_eos\":true}";
    wattlm_stream *stream;
    wattlm_piece piece;
    wattlm_receipt *receipt;
    double own = clock_seconds(CLOCK_PROCESS_CPUTIME_ID), cpu = clock_seconds(CLOCK_THREAD_CPUTIME_ID);
    double begun = clock_seconds(CLOCK_MONOTONIC);
    if (wattlm_generate(llm, "wake me at seven", &o, &stream) != WATTLM_OK)
        die(llm, "generate");
    do {
        if (wattlm_stream_next(stream, -1, &piece) != WATTLM_OK)
            die(llm, "next");
        s->pieces += piece.kind == WATTLM_PIECE_TEXT;
    } while (piece.kind != WATTLM_PIECE_END);
    s->wall += clock_seconds(CLOCK_MONOTONIC) - begun;
    s->caller += clock_seconds(CLOCK_THREAD_CPUTIME_ID) - cpu;
    s->own += clock_seconds(CLOCK_PROCESS_CPUTIME_ID) - own;
    if (wattlm_stream_receipt(stream, &receipt) != WATTLM_OK)
        die(llm, "receipt");
    s->queue += wattlm_receipt_queue_seconds(receipt);
    s->prefill += wattlm_receipt_prefill_seconds(receipt);
    s->decode += wattlm_receipt_decode_seconds(receipt);
    s->tokens += wattlm_receipt_completion_tokens(receipt);
    s->answers++;
    wattlm_receipt_free(receipt);
    wattlm_stream_free(stream);
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int n) {
    qsort(values, (size_t)n, sizeof *values, ascending);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

int main(int argc, char **argv) {
    if (argc != 8) {
        fprintf(stderr, "usage: capi DIRECT UNIX DAEMON ROUNDS TOKENS ANSWERS LEAST\n");
        return 2;
    }
    pid_t daemon = (pid_t)atol(argv[3]);
    int rounds = atoi(argv[4]), answers = atoi(argv[6]);
    unsigned tokens = (unsigned)atoi(argv[5]);
    double least = atof(argv[7]);
    if (rounds < 1 || rounds > MOST_ROUNDS || answers < 1 || tokens < 1)
        return 2;
    wattlm_handle *llm[WAYS];
    for (int way = 0; way < WAYS; way++) {
        if (wattlm_open(argv[1 + way], NULL, &llm[way]) != WATTLM_OK)
            die(NULL, argv[1 + way]);
        struct sums warm = {0}; /* loads the model */
        answer(llm[way], tokens, &warm);
    }

    struct sums all[WAYS] = {{0}};
    static double speed[WAYS][MOST_ROUNDS], engine[WAYS][MOST_ROUNDS], ratio[MOST_ROUNDS];
    for (int round = 0; round < rounds; round++) {
        for (int turn = 0; turn < WAYS; turn++) {
            int way = (turn + round) % WAYS;
            struct sums before = all[way], *s = &all[way];
            double cpu = cpu_of(daemon), workers = cpu_of_workers(daemon);
            for (int i = 0; i < answers; i++)
                answer(llm[way], tokens, s);
            s->daemon += cpu_of(daemon) - cpu;
            s->workers += cpu_of_workers(daemon) - workers;
            speed[way][round] = (s->tokens - before.tokens) / (s->wall - before.wall);
            engine[way][round] = (s->tokens - before.tokens) / (s->decode - before.decode);
        }
        ratio[round] = speed[UNIX][round] / speed[DIRECT][round];
        printf("round %d: direct %.1f, socket %.1f tokens/s, ratio %.3f\n", round + 1, speed[DIRECT][round],
               speed[UNIX][round], ratio[round]);
        fflush(stdout);
    }

    for (int way = 0; way < WAYS; way++) {
        struct sums *s = &all[way];
        double us = 1e6 / s->tokens;
        printf("%s: %.0f tokens in %.0f pieces; of each token's %.1f us: decoding %.1f, prompt %.1f, waiting for its turn "
               "%.1f, the way there and back %.1f\n",
               names[way], s->tokens, s->pieces, s->wall * us, s->decode * us, s->prefill * us, s->queue * us,
               (s->wall - s->decode - s->prefill - s->queue) * us);
        printf("%s: CPU for each token: the calling thread %.1f us", names[way], s->caller * us);
        if (way == UNIX)
            printf(", the daemon %.1f us, its worker %.1f us; together %.1f us\n", s->daemon * us, s->workers * us,
                   (s->caller + s->daemon + s->workers) * us);
        else
            printf("; together %.1f us\n", s->own * us);
        wattlm_close(llm[way]);
    }
    double d = median(speed[DIRECT], rounds), u = median(speed[UNIX], rounds);
    printf("medians of %d rounds: direct %.1f tokens/s (decoding alone %.1f), socket %.1f (%.1f)\n", rounds, d,
           median(engine[DIRECT], rounds), u, median(engine[UNIX], rounds));
    /* Sorted by now. The fastest round is the one that the rest of the machine disturbed least. */
    double fastest[WAYS] = {speed[DIRECT][rounds - 1], speed[UNIX][rounds - 1]};
    printf("fastest rounds: direct %.1f, socket %.1f, ratio %.3f\n", fastest[DIRECT], fastest[UNIX],
           fastest[UNIX] / fastest[DIRECT]);
    double middle = median(ratio, rounds);
    printf("socket to direct: %.3f (median of the rounds' ratios, %.3f to %.3f)\n", middle, ratio[0], ratio[rounds - 1]);
    return middle < least;
}
