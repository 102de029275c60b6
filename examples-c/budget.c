/* Asks within so many joules, says what it cost, and waits where the budget is used up.   budget JOULES [TARGET] */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <wattlm.h>

int main(int argc, char **argv) {
    wattlm_handle *llm;
    if (wattlm_open(argc > 2 ? argv[2] : NULL, NULL, &llm) != WATTLM_OK) {
        fprintf(stderr, "budget: %s\n", wattlm_last_error(NULL));
        return 1;
    }
    wattlm_request_options options = {0};
    options.struct_size = sizeof options;
    options.greedy = 1;
    options.max_joules = argc > 1 ? atof(argv[1]) : 5.0;

    char *answer = NULL;
    wattlm_receipt *receipt = NULL;
    wattlm_status status;
    for (int tries = 0; tries < 3; tries++) {
        status = wattlm_ask(llm, "put oat milk on the list", &options, -1, &answer, &receipt);
        if (status != WATTLM_E_BUDGET_EXHAUSTED)
            break;
        long long wait = wattlm_retry_after_ms(llm);
        fprintf(stderr, "budget: %s\n", wattlm_last_error(llm));
        if (wait < 0 || wait > 60000)
            break; /* later, not now */
        usleep((useconds_t)wait * 1000);
    }
    if (status == WATTLM_OK) {
        puts(answer);
        printf("%.3f J +- %.3f (%s, by %s): prompt %.3f, answer %.3f, for %u tokens\n",
               wattlm_receipt_joules(receipt), wattlm_receipt_joules_error(receipt),
               wattlm_receipt_energy_quality(receipt), wattlm_receipt_energy_source(receipt),
               wattlm_receipt_prefill_joules(receipt), wattlm_receipt_decode_joules(receipt),
               wattlm_receipt_completion_tokens(receipt));
        if (wattlm_receipt_energy_limit(receipt)[0])
            printf("it ended early: %s\n", wattlm_receipt_energy_limit(receipt));
    } else {
        fprintf(stderr, "budget: %s: %s\n", wattlm_status_name(status), wattlm_last_error(llm));
    }
    wattlm_string_free(answer);
    wattlm_receipt_free(receipt);
    wattlm_close(llm);
    return status != WATTLM_OK;
}
