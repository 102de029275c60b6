/* What the C tests share. */
#ifndef CHECK_H
#define CHECK_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <wattlm.h>

static int checks, failures;

#define CHECK(condition)                                                                         \
    do {                                                                                         \
        __atomic_fetch_add(&checks, 1, __ATOMIC_RELAXED);                                        \
        if (!(condition)) {                                                                      \
            __atomic_fetch_add(&failures, 1, __ATOMIC_RELAXED);                                  \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);              \
        }                                                                                        \
    } while (0)

/* Says what the status was where it is not the expected one. */
#define STATUS(call, expected)                                                                              \
    do {                                                                                                    \
        wattlm_status got_ = (call);                                                                        \
        __atomic_fetch_add(&checks, 1, __ATOMIC_RELAXED);                                                   \
        if (got_ != (expected)) {                                                                           \
            __atomic_fetch_add(&failures, 1, __ATOMIC_RELAXED);                                             \
            fprintf(stderr, "%s:%d: %s gave %d (%s) and not %s\n", __FILE__, __LINE__, #call, (int)got_,    \
                    wattlm_status_name(got_), #expected);                                                   \
        }                                                                                                   \
    } while (0)

/* Seconds of the monotonic clock. */
static inline double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* What a folder holds, such as /proc/self/fd or /proc/self/task. */
static inline int entries(const char *path) {
    DIR *dir = opendir(path);
    int n = 0;
    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n;
}

/* The same once it is `expected`, or after two seconds. The kernel lists a thread for a moment after it was joined: it
 * wakes who waits for it before it is gone. */
static inline int settled(const char *path, int expected) {
    int n = entries(path);
    for (int i = 0; n != expected && i < 200; i++) {
        usleep(10000);
        n = entries(path);
    }
    return n;
}

/* Descriptors that stay open. In direct mode the service writes what it has learnt now and then, from threads of its
 * own: a file that is open for a moment is no leak, and there is no event to wait for. */
static inline int descriptors_at_rest(void) {
    int least = entries("/proc/self/fd");
    for (int i = 0; i < 25; i++) {
        usleep(20000);
        int n = entries("/proc/self/fd");
        least = n < least ? n : least;
    }
    return least;
}

static inline int done(const char *name) {
    printf("%s: %d checks, %d failed\n", name, checks, failures);
    return failures != 0;
}

#endif
