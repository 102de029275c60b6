/* The service in this process, harmed: models that are missing, broken or unreadable, state that cannot be written, no
 * descriptors, threads that come, cancel and go at random, and forks in the midst of it. Each call returns with a status
 * that fits, and nothing is left behind.
 *     direct_faults direct:/path/to/model.gguf SCRATCH SECONDS [STATE...]
 * SCRATCH: a folder of this test's own that others may enter. STATE: folders that cannot be written. */
#define _GNU_SOURCE
#include <grp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

#define PROMPT "wake me at seven"

static const char *target, *scratch;

/* Threads and descriptors while nothing is open. */
static int tasks, fds;

static void nothing_is_left(void) {
    CHECK(settled("/proc/self/task", tasks) == tasks);
    CHECK(settled("/proc/self/fd", fds) == fds);
}

/* A configuration whose state is kept there. Lives until the next call. */
static const char *state_in(const char *folder) {
    static char path[4096];
    snprintf(path, sizeof path, "%s/state.toml", scratch);
    FILE *file = fopen(path, "w");
    CHECK(file && fprintf(file, "[paths]\nstate = \"%s\"\n", folder) > 0 && fclose(file) == 0);
    return path;
}

static wattlm_handle *open_with(const char *which, const char *config) {
    wattlm_open_options o = {0};
    o.struct_size = sizeof o;
    o.config = config;
    wattlm_handle *llm;
    STATUS(wattlm_open(which, &o, &llm), WATTLM_OK);
    if (!llm) {
        fprintf(stderr, "%s\n", wattlm_last_error(NULL));
        exit(1);
    }
    return llm;
}

static void answered(wattlm_handle *llm) {
    wattlm_request_options o = {0};
    o.struct_size = sizeof o;
    o.greedy = 1;
    char *text;
    wattlm_receipt *receipt;
    STATUS(wattlm_ask(llm, PROMPT, &o, 60000, &text, &receipt), WATTLM_OK);
    CHECK(text && strstr(text, "alarm.set") && wattlm_receipt_completion_tokens(receipt) > 5);
    wattlm_string_free(text);
    wattlm_receipt_free(receipt);
}

/* ---- Models ---- */

/* The first bytes of the model, and one byte of them changed. */
static void piece_of_model(const char *to, long length, long changed) {
    FILE *in = fopen(target + strlen("direct:"), "rb"), *out = fopen(to, "wb");
    CHECK(in && out);
    if (!in || !out)
        return;
    int byte;
    for (long i = 0; i < length && (byte = fgetc(in)) != EOF; i++)
        fputc(i == changed ? byte ^ 0x80 : byte, out);
    fclose(in);
    fclose(out);
}

/* Opening is fine, for the file may be mended; asking says what is wrong with it, each time. */
static void refused(const char *file, wattlm_status expected, const char *word) {
    char which[4200], *text;
    snprintf(which, sizeof which, "direct:%s", file);
    wattlm_handle *llm;
    STATUS(wattlm_open(which, NULL, &llm), WATTLM_OK);
    for (int i = 0; llm && i < 2; i++) {
        STATUS(wattlm_ask(llm, PROMPT, NULL, 60000, &text, NULL), expected);
        CHECK(text == NULL && strstr(wattlm_last_error(llm), word));
        if (!strstr(wattlm_last_error(llm), word))
            fprintf(stderr, "%s: %s\n", file, wattlm_last_error(llm));
    }
    wattlm_close(llm);
    nothing_is_left();
}

static void models(void) {
    char path[4096];
    snprintf(path, sizeof path, "%s/odd-q4_0.gguf", scratch);
    refused(path, WATTLM_E_MODEL_NOT_FOUND, "odd");
    struct stat whole;
    CHECK(stat(target + strlen("direct:"), &whole) == 0);
    const long lengths[] = {0, 3, 24, 5000, whole.st_size / 2, whole.st_size - 1};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        piece_of_model(path, lengths[i], -1);
        refused(path, WATTLM_E_MODEL_LOAD_FAILED, "odd");
    }
    piece_of_model(path, whole.st_size, 0); /* it begins with other letters */
    refused(path, WATTLM_E_MODEL_LOAD_FAILED, "odd");
    piece_of_model(path, whole.st_size, 15); /* more tensors than any file holds */
    refused(path, WATTLM_E_MODEL_LOAD_FAILED, "odd");
    unlink(path);
    CHECK(mkdir(path, 0755) == 0); /* a folder of that name */
    refused(path, WATTLM_E_MODEL_LOAD_FAILED, "odd");
    rmdir(path);

    /* Replaced by a broken one while it is loaded: the loaded one goes on. */
    piece_of_model(path, whole.st_size, -1);
    char which[4200];
    snprintf(which, sizeof which, "direct:%s", path);
    wattlm_handle *llm = open_with(which, NULL);
    answered(llm);
    char other[4200];
    snprintf(other, sizeof other, "%s.new", path);
    piece_of_model(other, 5000, -1);
    CHECK(rename(other, path) == 0);
    answered(llm);
    wattlm_close(llm);
    unlink(path);
}

/* As a user who may not read it. Before anything is opened in the parent. */
static void unreadable(void) {
    char path[4096];
    snprintf(path, sizeof path, "%s/mine-q4_0.gguf", scratch);
    piece_of_model(path, 5000, -1);
    CHECK(chmod(path, 0) == 0);
    pid_t child = fork();
    if (child == 0) {
        checks = failures = 0;
        if (geteuid() == 0 && (setgroups(0, NULL) != 0 || setresgid(65534, 65534, 65534) != 0 || setresuid(65534, 65534, 65534) != 0))
            _exit(77); /* root of a namespace without other users */
        wattlm_open_options o = {0};
        o.struct_size = sizeof o;
        char which[4200], config[4200], *text;
        snprintf(which, sizeof which, "direct:%s", path);
        snprintf(config, sizeof config, "%s/state.toml", scratch);
        o.config = config;
        wattlm_handle *llm;
        STATUS(wattlm_open(which, &o, &llm), WATTLM_OK);
        STATUS(wattlm_ask(llm, PROMPT, NULL, 60000, &text, NULL), WATTLM_E_MODEL_LOAD_FAILED);
        CHECK(strstr(wattlm_last_error(llm), "ermission denied"));
        if (failures)
            fprintf(stderr, "%s / %s\n", wattlm_last_error(NULL), wattlm_last_error(llm));
        wattlm_close(llm);
        _exit(failures != 0);
    }
    int status;
    CHECK(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 77);
    if (WEXITSTATUS(status) == 77)
        printf("skipped: a model that may not be read (there is no other user); ");
    unlink(path);
}

/* ---- State ---- */

static void state(const char *folder) {
    wattlm_handle *llm = open_with(target, state_in(folder));
    for (int i = 0; i < 3; i++)
        answered(llm);
    char *text;
    STATUS(wattlm_budget_json(llm, &text), WATTLM_OK);
    wattlm_string_free(text);
    wattlm_close(llm);
    nothing_is_left();
}

/* ---- Descriptors ---- */

static void descriptors(void) {
    struct rlimit limit, tight;
    getrlimit(RLIMIT_NOFILE, &limit);
    wattlm_handle *llm;
    int refusals = 0, answers = 0;
    for (rlim_t n = 3; n < 40; n++) {
        tight = limit;
        tight.rlim_cur = n;
        setrlimit(RLIMIT_NOFILE, &tight);
        wattlm_status status = wattlm_open(target, NULL, &llm);
        char *text = NULL;
        wattlm_status asked = status == WATTLM_OK ? wattlm_ask(llm, PROMPT, NULL, 60000, &text, NULL) : status;
        setrlimit(RLIMIT_NOFILE, &limit);
        CHECK((status == WATTLM_OK) == (llm != NULL) && (asked == WATTLM_OK) == (text != NULL));
        CHECK(asked == WATTLM_OK || strlen(wattlm_last_error(llm)) > 10);
        answers += asked == WATTLM_OK;
        refusals += asked != WATTLM_OK;
        wattlm_close(llm);
        wattlm_string_free(text);
    }
    CHECK(refusals > 0 && answers > 0);
    nothing_is_left();
    llm = open_with(target, NULL);
    answered(llm);
    wattlm_close(llm);
}

/* ---- Threads ---- */

enum { THREADS = 12 };
/* What a thread reads, for others to cancel; the lock keeps it from being freed meanwhile. */
static struct {
    pthread_mutex_t lock;
    wattlm_stream *stream;
} reading[THREADS];
static _Atomic long complete, cancelled, rounds;
static double end;

static void ends(wattlm_status status) {
    complete += status == WATTLM_OK;
    cancelled += status == WATTLM_E_CANCELLED;
    CHECK(status == WATTLM_OK || status == WATTLM_E_CANCELLED);
}

static void *at_random(void *number) {
    long me = (long)number;
    unsigned seed = (unsigned)me * 2654435761u + 1;
    while (now() < end) {
        wattlm_request_options o = {0};
        o.struct_size = sizeof o;
        o.max_tokens = 1 + (unsigned)rand_r(&seed) % 200;
        o.extra_json = "{\"ignore_eos\":true}";
        wattlm_handle *llm = open_with(target, NULL);
        for (int asks = rand_r(&seed) % 4; asks > 0; asks--) {
            wattlm_stream *stream;
            STATUS(wattlm_generate(llm, PROMPT, &o, &stream), WATTLM_OK);
            pthread_mutex_lock(&reading[me].lock);
            reading[me].stream = stream;
            pthread_mutex_unlock(&reading[me].lock);
            wattlm_piece piece;
            wattlm_status status = WATTLM_OK;
            int pieces = rand_r(&seed) % 100; /* and away in the middle */
            do
                status = wattlm_stream_next(stream, 60000, &piece);
            while (status == WATTLM_OK && piece.kind != WATTLM_PIECE_END && pieces-- > 0);
            ends(status);
            pthread_mutex_lock(&reading[me].lock);
            reading[me].stream = NULL;
            pthread_mutex_unlock(&reading[me].lock);
            if (rand_r(&seed) % 8 == 0 && asks == 1) { /* the stream outlives its handle */
                wattlm_close(llm);
                llm = NULL;
            }
            wattlm_stream_free(stream);
        }
        wattlm_close(llm);
        rounds++;
    }
    return NULL;
}

static void *cancels(void *unused) {
    unsigned seed = 7;
    while (now() < end) {
        int i = rand_r(&seed) % THREADS;
        pthread_mutex_lock(&reading[i].lock);
        wattlm_stream_cancel(reading[i].stream);
        pthread_mutex_unlock(&reading[i].lock);
        usleep((useconds_t)(rand_r(&seed) % 20000));
    }
    return unused;
}

/* A child has the parent's handle and none of its threads. It is refused at once, whatever these were in the middle of: it
 * waits for no lock of theirs. */
static void forks(wattlm_handle *llm) {
    pid_t child = fork();
    if (child == 0) {
        failures = 0;
        char *text;
        wattlm_handle *own;
        alarm(30); /* a call that hangs is a failure */
        double begun = now();
        STATUS(wattlm_models_json(llm, &text), WATTLM_E_FORKED);
        wattlm_close(llm);
        STATUS(wattlm_open(target, NULL, &own), WATTLM_E_FORKED);
        CHECK(now() < begun + 1);
        _exit(failures != 0);
    }
    int status = 0;
    CHECK(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    if (WIFSIGNALED(status))
        fprintf(stderr, "the child was ended by signal %d\n", WTERMSIG(status));
}

static void threads(double seconds) {
    pthread_t all[THREADS], canceller;
    end = now() + seconds;
    wattlm_handle *llm = open_with(target, NULL);
    for (long i = 0; i < THREADS; i++) {
        pthread_mutex_init(&reading[i].lock, NULL);
        CHECK(pthread_create(&all[i], NULL, at_random, (void *)i) == 0);
    }
    CHECK(pthread_create(&canceller, NULL, cancels, NULL) == 0);
    while (now() < end) {
        forks(llm);
        usleep(200000);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(all[i], NULL);
    pthread_join(canceller, NULL);
    answered(llm);
    wattlm_close(llm);
    nothing_is_left();
    CHECK(complete > 0 && cancelled > 0);
}

int main(int argc, char **argv) {
    if (argc < 4)
        return 2;
    target = argv[1];
    scratch = argv[2];
    char path[4096];
    snprintf(path, sizeof path, "%s/state", scratch);
    state_in(path);
    unreadable();

    tasks = entries("/proc/self/task");
    wattlm_handle *first = open_with(target, NULL); /* what is loaded once stays loaded: llama.cpp's kernels */
    answered(first);
    wattlm_close(first);
    CHECK(settled("/proc/self/task", tasks) == tasks);
    fds = entries("/proc/self/fd");

    models();
    state("/proc/nothing/can/be/made/here");
    for (int i = 4; i < argc; i++)
        state(argv[i]);
    descriptors();
    threads(atof(argv[3]));

    nothing_is_left();
    printf("%ld rounds, %ld answers and %ld cancelled; ", (long)rounds, (long)complete, (long)cancelled);
    return done("direct_faults");
}
