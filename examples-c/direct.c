/* The model in this very process, without a daemon.   direct direct:/path/to/model.gguf
 *
 * A fault in the engine ends this program: see wattlm_open. A program that must not end asks the daemon.
 */
#include <stdio.h>
#include <wattlm.h>

static void on_log(void *user, int32_t level, const char *text) {
    (void)user;
    fprintf(stderr, "log %d: %s\n", (int)level, text);
}

int main(int argc, char **argv) {
    if (!wattlm_has_direct()) {
        fprintf(stderr, "direct: this libwattlm is a client only\n");
        return 1;
    }
    wattlm_set_log(on_log, NULL, WATTLM_LOG_WARN);

    wattlm_handle *llm;
    if (wattlm_open(argc > 1 ? argv[1] : "direct:", NULL, &llm) != WATTLM_OK) {
        fprintf(stderr, "direct: %s\n", wattlm_last_error(NULL));
        return 1;
    }
    wattlm_request_options options = {0};
    options.struct_size = sizeof options;
    options.greedy = 1;

    char *answer;
    wattlm_receipt *receipt;
    int failed = wattlm_ask(llm, "turn off the kitchen lights", &options, -1, &answer, &receipt) != WATTLM_OK;
    if (failed)
        fprintf(stderr, "direct: %s\n", wattlm_last_error(llm));
    else
        printf("%s\n(%s on %s, %.3f s after loading)\n", answer, wattlm_receipt_model(receipt),
               wattlm_receipt_kernels(receipt),
               wattlm_receipt_prefill_seconds(receipt) + wattlm_receipt_decode_seconds(receipt));

    wattlm_string_free(answer);
    wattlm_receipt_free(receipt);
    wattlm_close(llm); /* ends the service's threads */
    return failed;
}
