/* What the C tests share. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

static inline int done(const char *name) {
    printf("%s: %d checks, %d failed\n", name, checks, failures);
    return failures != 0;
}

#endif
