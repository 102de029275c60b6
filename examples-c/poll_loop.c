/* Two answers and a timer in one epoll loop: nothing here ever waits anywhere else.   poll_loop [TARGET] */
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include <wattlm.h>

struct answer {
    wattlm_stream *stream;
    char text[512];
    size_t length;
};

/* Takes what is there. Returns 1 at the end of the answer, -1 if it failed, 0 if it goes on. */
static int take(struct answer *a) {
    for (;;) {
        wattlm_piece piece;
        if (wattlm_stream_next(a->stream, 0, &piece) != WATTLM_OK)
            return -1;
        if (piece.kind == WATTLM_PIECE_NOTHING)
            return 0;
        if (piece.kind == WATTLM_PIECE_END)
            return 1;
        size_t room = sizeof a->text - 1 - a->length;
        size_t n = piece.length < room ? piece.length : room;
        memcpy(a->text + a->length, piece.text, n);
        a->length += n;
    }
}

int main(int argc, char **argv) {
    static const char *prompts[2] = {"make it a bit warmer in the bedroom", "wake me at seven"};
    struct answer answers[2] = {{0}, {0}};
    wattlm_handle *llm;
    if (wattlm_open(argc > 1 ? argv[1] : NULL, NULL, &llm) != WATTLM_OK) {
        fprintf(stderr, "poll_loop: %s\n", wattlm_last_error(NULL));
        return 1;
    }
    wattlm_request_options options = {0};
    options.struct_size = sizeof options;
    options.greedy = 1;

    int poll = epoll_create1(EPOLL_CLOEXEC);
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    struct itimerspec every = {{0, 100000000}, {0, 100000000}}; /* 100 ms */
    timerfd_settime(timer, 0, &every, NULL);
    struct epoll_event event = {0};
    event.events = EPOLLIN;
    event.data.u32 = 2;
    epoll_ctl(poll, EPOLL_CTL_ADD, timer, &event);

    int left = 0, failed = 0;
    for (unsigned i = 0; i < 2; i++) {
        if (wattlm_generate(llm, prompts[i], &options, &answers[i].stream) != WATTLM_OK) {
            fprintf(stderr, "poll_loop: %s\n", wattlm_last_error(llm));
            failed = 1;
            continue;
        }
        event.data.u32 = i;
        epoll_ctl(poll, EPOLL_CTL_ADD, wattlm_stream_fd(answers[i].stream), &event);
        left++;
    }
    while (left > 0) {
        if (epoll_wait(poll, &event, 1, -1) != 1)
            continue;
        if (event.data.u32 == 2) { /* here the program does its other work */
            unsigned long long ticks;
            if (read(timer, &ticks, sizeof ticks) > 0)
                fputc('.', stderr);
            continue;
        }
        struct answer *a = &answers[event.data.u32];
        int end = take(a);
        if (end == 0)
            continue;
        if (end < 0) {
            fprintf(stderr, "poll_loop: %s\n", wattlm_last_error(llm));
            failed = 1;
        } else {
            printf("%s\n", a->text);
        }
        epoll_ctl(poll, EPOLL_CTL_DEL, wattlm_stream_fd(a->stream), NULL);
        left--;
    }
    for (unsigned i = 0; i < 2; i++)
        wattlm_stream_free(answers[i].stream);
    wattlm_close(llm);
    close(timer);
    close(poll);
    return failed;
}
