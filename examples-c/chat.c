/* A conversation, line by line; the answer is shown as it comes, and Ctrl-C ends the answer, not the program.
 *     chat [TARGET]
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <wattlm.h>

static wattlm_stream *volatile running;

static void on_interrupt(int signal) {
    (void)signal;
    wattlm_stream_cancel(running); /* may be called from a handler; NULL is fine */
}

static int show(void *user, const wattlm_piece *piece) {
    (void)user;
    fwrite(piece->text, 1, piece->length, stdout);
    fflush(stdout);
    return 0; /* go on */
}

int main(int argc, char **argv) {
    wattlm_handle *llm;
    if (wattlm_open(argc > 1 ? argv[1] : NULL, NULL, &llm) != WATTLM_OK) {
        fprintf(stderr, "chat: %s\n", wattlm_last_error(NULL));
        return 1;
    }
    signal(SIGINT, on_interrupt);

    wattlm_request_options options = {0};
    options.struct_size = sizeof options;
    options.request_class = WATTLM_CLASS_INTERACTIVE;
    options.greedy = 1;

    char line[1024];
    while (fputs("> ", stderr), fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = '\0';
        wattlm_message message = {"user", line};
        wattlm_stream *stream;
        wattlm_status status = wattlm_chat(llm, &message, 1, &options, &stream);
        if (status == WATTLM_OK) {
            running = stream;
            status = wattlm_stream_each(stream, show, NULL);
            running = NULL;
        }
        putchar('\n');
        if (status == WATTLM_E_CANCELLED)
            fputs("(cancelled)\n", stderr);
        else if (status != WATTLM_OK)
            fprintf(stderr, "chat: %s\n", wattlm_last_error(llm));
        wattlm_stream_free(stream);
    }
    wattlm_close(llm);
    return 0;
}
