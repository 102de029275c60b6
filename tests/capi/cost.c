/* What the library costs: CPU time of this program for each token of streamed answers.   cost TARGET ANSWERS */
#include <sys/resource.h>

#include "check.h"

static double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    if (argc < 3)
        return 2;
    wattlm_handle *llm;
    STATUS(wattlm_open(argv[1], NULL, &llm), WATTLM_OK);
    if (!llm)
        return 1;
    wattlm_request_options o = {0};
    o.struct_size = sizeof o;
    o.greedy = 1;
    o.max_tokens = 400;
    o.extra_json = "{\"ignore_eos\":true}";
    double cpu = 0, wall = 0, decode = 0;
    long tokens = 0, pieces = 0;
    for (int i = 0; i < atoi(argv[2]); i++) {
        wattlm_stream *stream;
        wattlm_receipt *receipt;
        wattlm_piece piece;
        double cpu0 = cpu_seconds(), wall0 = now();
        STATUS(wattlm_generate(llm, "wake me at seven", &o, &stream), WATTLM_OK);
        do {
            STATUS(wattlm_stream_next(stream, -1, &piece), WATTLM_OK);
            pieces += piece.kind == WATTLM_PIECE_TEXT;
        } while (piece.kind != WATTLM_PIECE_END);
        cpu += cpu_seconds() - cpu0;
        wall += now() - wall0;
        STATUS(wattlm_stream_receipt(stream, &receipt), WATTLM_OK);
        tokens += wattlm_receipt_completion_tokens(receipt);
        decode += wattlm_receipt_decode_seconds(receipt);
        wattlm_receipt_free(receipt);
        wattlm_stream_free(stream);
    }
    wattlm_close(llm);
    printf("%ld tokens in %ld pieces, %.0f tokens/s (the engine's own: %.0f); in this program %.1f us of CPU for each token\n",
           tokens, pieces, (double)tokens / wall, (double)tokens / decode, cpu * 1e6 / (double)tokens);
    return failures != 0;
}
