/* The service in this process: shared by handles, started and ended many times and by many threads, in the middle of
 * loading and of answers; and nothing of the program is other than before.   direct direct:/path/to/model.gguf ROUNDS */
#define _GNU_SOURCE
#include <locale.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"

#define PROMPT "wake me at seven"

extern char **environ;
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

static void answered(wattlm_handle *llm) {
    wattlm_request_options o = {0};
    o.struct_size = sizeof o;
    o.greedy = 1;
    char *text;
    STATUS(wattlm_ask(llm, PROMPT, &o, -1, &text, NULL), WATTLM_OK);
    CHECK(text && strstr(text, "alarm.set"));
    wattlm_string_free(text);
}

/* Opens, begins something or nothing, and leaves in the middle of it. */
static void *comes_and_goes(void *number) {
    long n = (long)number;
    wattlm_handle *llm = open_it();
    wattlm_stream *stream = NULL;
    wattlm_piece piece;
    if (n % 4 != 0)
        STATUS(wattlm_generate(llm, PROMPT, NULL, &stream), WATTLM_OK);
    if (n % 4 == 2)
        STATUS(wattlm_stream_next(stream, 5, &piece), WATTLM_OK);
    if (n % 4 == 3)
        answered(llm);
    if (n % 2) { /* in either order */
        wattlm_close(llm);
        wattlm_stream_free(stream);
    } else {
        wattlm_stream_free(stream);
        wattlm_close(llm);
    }
    return NULL;
}

/* Where nothing is open, a child may run models itself. */
static void forks(void) {
    pid_t child = fork();
    if (child == 0) {
        failures = 0;
        alarm(60); /* a call that hangs is a failure */
        wattlm_handle *own = open_it();
        answered(own);
        wattlm_close(own);
        _exit(failures != 0);
    }
    int status;
    CHECK(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static unsigned long environment(void) {
    unsigned long sum = 0;
    for (char **e = environ; *e; e++)
        for (char *c = *e; *c; c++)
            sum = sum * 31 + (unsigned char)*c;
    return sum;
}

int main(int argc, char **argv) {
    if (argc < 3)
        return 2;
    target = argv[1];
    pthread_t threads[8];
    char cwd[4096], after[4096], *text;
    CHECK(getcwd(cwd, sizeof cwd));
    unsigned long env = environment();
    const char *locale = setlocale(LC_ALL, NULL);
    int tasks = entries("/proc/self/task");

    /* What is loaded once stays loaded: llama.cpp's kernels. */
    wattlm_handle *first = open_it();
    answered(first);
    wattlm_handle *second = open_it();
    STATUS(wattlm_status_json(first, &text), WATTLM_OK);
    CHECK(text && strstr(text, "\"loads\":1"));
    wattlm_string_free(text);
    answered(second);
    STATUS(wattlm_status_json(second, &text), WATTLM_OK); /* the same service and model */
    CHECK(text && strstr(text, "\"loads\":1"));
    wattlm_string_free(text);
    wattlm_close(first);
    answered(second);
    wattlm_close(second);
    CHECK(settled("/proc/self/task", tasks) == tasks);
    int fds = entries("/proc/self/fd");

    for (long round = 0; round < atol(argv[2]); round++) {
        comes_and_goes((void *)round);
        CHECK(settled("/proc/self/task", tasks) == tasks);
    }
    for (long round = 0; round < atol(argv[2]); round++) {
        for (long i = 0; i < 8; i++)
            CHECK(pthread_create(&threads[i], NULL, comes_and_goes, (void *)(round + i)) == 0);
        for (long i = 0; i < 8; i++)
            pthread_join(threads[i], NULL);
    }
    CHECK(settled("/proc/self/task", tasks) == tasks);
    CHECK(settled("/proc/self/fd", fds) == fds);
    forks();

    STATUS(wattlm_open("direct:/nonexistent/model.gguf", NULL, &first), WATTLM_OK); /* it may come yet */
    STATUS(wattlm_ask(first, PROMPT, NULL, -1, &text, NULL), WATTLM_E_MODEL_NOT_FOUND);
    wattlm_close(first);
    wattlm_open_options o = {0};
    o.struct_size = sizeof o;
    o.config = "/nonexistent/wattlm.toml";
    STATUS(wattlm_open("direct:", &o, &first), WATTLM_E_INVALID_REQUEST);
    CHECK(first == NULL && strstr(wattlm_last_error(NULL), "/nonexistent/wattlm.toml"));

    CHECK(settled("/proc/self/task", tasks) == tasks);
    CHECK(getcwd(after, sizeof after) && strcmp(cwd, after) == 0);
    CHECK(environment() == env && strcmp(setlocale(LC_ALL, NULL), locale) == 0);
    return done("direct");
}
