// The C++ layer: one question, its answer as a range of pieces, and its receipt.   chat [TARGET]
#include <iostream>
#include <wattlm.hpp>

int main(int argc, char **argv) try {
    wattlm::client llm(argc > 1 ? argv[1] : nullptr);

    wattlm::options options;
    options.greedy = 1;
    options.request_class = WATTLM_CLASS_INTERACTIVE;

    wattlm::stream answer = llm.chat({{"user", "make it a bit warmer in the bedroom"}}, options);
    for (std::string_view piece : answer)
        std::cout << piece << std::flush;
    std::cout << '\n';

    wattlm::receipt receipt = answer.receipt();
    std::cerr << receipt.model() << ", " << receipt.completion_tokens() << " tokens, " << receipt.joules() << " J\n";
    return 0;
} catch (const wattlm::error &e) {
    std::cerr << "chat: " << e.what() << " (" << wattlm_status_name(e.status()) << ")\n";
    return 1;
}
