/* The shortest program: one question, one answer.   hello [TARGET]
 *
 *     cc hello.c -o hello $(pkg-config --cflags --libs wattlm)
 */
#include <stdio.h>
#include <wattlm.h>

int main(int argc, char **argv) {
    wattlm_handle *llm;
    if (wattlm_open(argc > 1 ? argv[1] : NULL, NULL, &llm) != WATTLM_OK) {
        fprintf(stderr, "hello: %s\n", wattlm_last_error(NULL));
        return 1;
    }

    wattlm_request_options options = {0};
    options.struct_size = sizeof options;
    options.greedy = 1; /* the same answer each time */

    char *answer;
    int failed = wattlm_ask(llm, "wake me at seven", &options, -1, &answer, NULL) != WATTLM_OK;
    if (failed)
        fprintf(stderr, "hello: %s\n", wattlm_last_error(llm));
    else
        puts(answer);

    wattlm_string_free(answer); /* NULL after a failure, which is fine */
    wattlm_close(llm);
    return failed;
}
