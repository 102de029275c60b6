// wattlm.hpp: wattlm.h for C++17. Header only; everything here is a thin, move-only owner of what wattlm.h hands out.
// Failures are thrown as wattlm::error. What a function does, blocks on and allows of threads is said in wattlm.h.
#ifndef WATTLM_HPP
#define WATTLM_HPP

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "wattlm.h"

namespace wattlm {

/// A call that failed.
class error : public std::runtime_error {
public:
    /// Reads what wattlm_last_error and its neighbours say of this handle to the calling thread.
    error(wattlm_status status, const ::wattlm_handle *handle)
        : std::runtime_error(wattlm_last_error(handle)), status_(status), retry_ms_(wattlm_retry_after_ms(handle)) {
        if (const char *param = wattlm_last_error_param(handle))
            param_ = param;
    }

    /// One of WATTLM_E_….
    wattlm_status status() const noexcept { return status_; }
    /// Whether the same request may succeed later.
    bool retryable() const noexcept { return wattlm_status_retryable(status_) != 0; }
    /// When to try again, where the daemon said so.
    std::optional<std::chrono::milliseconds> retry_after() const noexcept {
        if (retry_ms_ < 0)
            return std::nullopt;
        return std::chrono::milliseconds(retry_ms_);
    }
    /// The field at fault; empty where it was none.
    const std::string &param() const noexcept { return param_; }

private:
    wattlm_status status_;
    std::int64_t retry_ms_;
    std::string param_;
};

/// The request's options, zeroed and with their size.
struct options : wattlm_request_options {
    options() noexcept : wattlm_request_options() { struct_size = sizeof(wattlm_request_options); }
};

namespace detail {

template <auto Free>
struct freer {
    template <typename T>
    void operator()(T *p) const noexcept { Free(p); }
};
using string = std::unique_ptr<char, freer<wattlm_string_free>>;

inline void check(wattlm_status status, const ::wattlm_handle *handle) {
    if (status != WATTLM_OK)
        throw error(status, handle);
}

/// -1 for none. A time that is over already does not wait; one of more than 24 days is that long.
inline std::int32_t ms(std::optional<std::chrono::milliseconds> timeout) {
    if (!timeout)
        return -1;
    constexpr std::int64_t most = 0x7fffffff;
    std::int64_t count = timeout->count();
    return static_cast<std::int32_t>(count < 0 ? 0 : count > most ? most : count);
}

} // namespace detail

/// What an answer cost and how it ran.
class receipt {
public:
    explicit receipt(::wattlm_receipt *owned) noexcept : r_(owned) {}

    std::string_view json() const { return wattlm_receipt_json(r_.get()); }
    std::string_view finish_reason() const { return wattlm_receipt_finish_reason(r_.get()); }
    std::string_view request_id() const { return wattlm_receipt_request_id(r_.get()); }
    std::string_view model() const { return wattlm_receipt_model(r_.get()); }
    std::string_view device() const { return wattlm_receipt_device(r_.get()); }
    std::string_view kernels() const { return wattlm_receipt_kernels(r_.get()); }
    std::string_view reason() const { return wattlm_receipt_reason(r_.get()); }
    std::uint32_t prompt_tokens() const { return wattlm_receipt_prompt_tokens(r_.get()); }
    std::uint32_t cached_tokens() const { return wattlm_receipt_cached_tokens(r_.get()); }
    std::uint32_t completion_tokens() const { return wattlm_receipt_completion_tokens(r_.get()); }
    double queue_seconds() const { return wattlm_receipt_queue_seconds(r_.get()); }
    double prefill_seconds() const { return wattlm_receipt_prefill_seconds(r_.get()); }
    double decode_seconds() const { return wattlm_receipt_decode_seconds(r_.get()); }
    double joules() const { return wattlm_receipt_joules(r_.get()); }
    double joules_error() const { return wattlm_receipt_joules_error(r_.get()); }
    double wake_joules() const { return wattlm_receipt_wake_joules(r_.get()); }
    double prefill_joules() const { return wattlm_receipt_prefill_joules(r_.get()); }
    double decode_joules() const { return wattlm_receipt_decode_joules(r_.get()); }
    double idle_joules() const { return wattlm_receipt_idle_joules(r_.get()); }
    std::string_view energy_quality() const { return wattlm_receipt_energy_quality(r_.get()); }
    std::string_view energy_source() const { return wattlm_receipt_energy_source(r_.get()); }
    std::string_view energy_limit() const { return wattlm_receipt_energy_limit(r_.get()); }

private:
    std::unique_ptr<::wattlm_receipt, detail::freer<wattlm_receipt_free>> r_;
};

/// A running request and its answer. `for (std::string_view piece : stream)` reads its text; the view lives until the
/// next step of the loop. Destroying the stream cancels the request. The client must outlive it.
class stream {
public:
    stream(::wattlm_stream *owned, const ::wattlm_handle *handle) noexcept : s_(owned), handle_(handle) {}

    /// The next piece of whatever kind; without a timeout, waits for it.
    wattlm_piece next(std::optional<std::chrono::milliseconds> timeout = std::nullopt) {
        wattlm_piece piece;
        detail::check(wattlm_stream_next(s_.get(), detail::ms(timeout), &piece), handle_);
        return piece;
    }
    /// The rest of the answer.
    std::string text(std::optional<std::chrono::milliseconds> timeout = std::nullopt) {
        char *text = nullptr;
        detail::check(wattlm_stream_text(s_.get(), detail::ms(timeout), &text), handle_);
        return detail::string(text).get();
    }
    /// Ends the request; from any thread.
    void cancel() const noexcept { wattlm_stream_cancel(s_.get()); }
    /// For poll and its like.
    int fd() const noexcept { return wattlm_stream_fd(s_.get()); }
    /// Empty as long as the daemon has not answered.
    std::string_view request_id() const {
        const char *id = wattlm_stream_request_id(s_.get());
        return id ? std::string_view(id) : std::string_view();
    }
    /// What the complete answer cost.
    class receipt receipt() const {
        ::wattlm_receipt *r = nullptr;
        detail::check(wattlm_stream_receipt(s_.get(), &r), handle_);
        return wattlm::receipt(r);
    }

    /// Where the text ends.
    struct sentinel {};
    class iterator {
    public:
        using iterator_category = std::input_iterator_tag;
        using value_type = std::string_view;
        using difference_type = std::ptrdiff_t;
        using pointer = const std::string_view *;
        using reference = std::string_view;

        explicit iterator(stream *s) : s_(s) { ++*this; }
        std::string_view operator*() const noexcept { return text_; }
        iterator &operator++() {
            for (;;) {
                wattlm_piece piece = s_->next();
                end_ = piece.kind == WATTLM_PIECE_END;
                if (end_ || piece.kind == WATTLM_PIECE_TEXT || piece.kind == WATTLM_PIECE_EVENT) {
                    text_ = std::string_view(piece.text, piece.length);
                    return *this;
                }
            }
        }
        void operator++(int) { ++*this; }
        friend bool operator==(const iterator &it, sentinel) noexcept { return it.end_; }
        friend bool operator!=(const iterator &it, sentinel) noexcept { return !it.end_; }

    private:
        stream *s_;
        std::string_view text_;
        bool end_ = false;
    };
    iterator begin() { return iterator(this); }
    sentinel end() const noexcept { return {}; }

private:
    std::unique_ptr<::wattlm_stream, detail::freer<wattlm_stream_free>> s_;
    const ::wattlm_handle *handle_;
};

/// A message of a conversation.
struct message {
    std::string role, content;
};

/// A way to the model service.
class client {
public:
    /// As wattlm_open: nullptr for the device's daemon.
    explicit client(const char *target = nullptr, const wattlm_open_options *options = nullptr) {
        ::wattlm_handle *handle = nullptr;
        detail::check(wattlm_open(target, options, &handle), nullptr);
        h_.reset(handle);
    }

    /// For calls that this layer does not have.
    ::wattlm_handle *get() const noexcept { return h_.get(); }

    /// One question, its whole answer.
    std::string ask(const std::string &prompt, const options &o = {},
                    std::optional<std::chrono::milliseconds> timeout = std::nullopt) const {
        char *text = nullptr;
        detail::check(wattlm_ask(get(), prompt.c_str(), &o, detail::ms(timeout), &text, nullptr), get());
        return detail::string(text).get();
    }
    /// One question, its answer as it comes.
    stream generate(const std::string &prompt, const options &o = {}) const {
        ::wattlm_stream *s = nullptr;
        detail::check(wattlm_generate(get(), prompt.c_str(), &o, &s), get());
        return stream(s, get());
    }
    /// The next message of a conversation, as it comes.
    stream chat(const std::vector<message> &messages, const options &o = {}) const {
        std::vector<wattlm_message> raw;
        raw.reserve(messages.size());
        for (const message &m : messages)
            raw.push_back({m.role.c_str(), m.content.c_str()});
        ::wattlm_stream *s = nullptr;
        detail::check(wattlm_chat(get(), raw.data(), raw.size(), &o, &s), get());
        return stream(s, get());
    }
    /// The continuation of a text.
    stream complete(const std::string &prompt, const options &o = {}) const {
        ::wattlm_stream *s = nullptr;
        detail::check(wattlm_complete(get(), prompt.c_str(), &o, &s), get());
        return stream(s, get());
    }
    /// Any request of the protocol; its answer's body.
    std::string request_json(const std::string &method, const std::string &path,
                             const std::optional<std::string> &body = std::nullopt,
                             std::optional<std::chrono::milliseconds> timeout = std::nullopt) const {
        char *text = nullptr;
        const char *raw = body ? body->c_str() : nullptr;
        detail::check(wattlm_request_json(get(), method.c_str(), path.c_str(), raw, detail::ms(timeout), &text), get());
        return detail::string(text).get();
    }
    std::string models_json() const { return json(wattlm_models_json); }
    std::string status_json() const { return json(wattlm_status_json); }
    std::string budget_json() const { return json(wattlm_budget_json); }
    void cancel(const std::string &request_id) const {
        detail::check(wattlm_cancel(get(), request_id.c_str()), get());
    }

private:
    std::string json(wattlm_status (*call)(const ::wattlm_handle *, char **)) const {
        char *text = nullptr;
        detail::check(call(get(), &text), get());
        return detail::string(text).get();
    }
    std::unique_ptr<::wattlm_handle, detail::freer<wattlm_close>> h_;
};

} // namespace wattlm

#endif // WATTLM_HPP
