/*
 * wattlm.h: the language-model service of this device, for C and C++.
 *
 *     wattlm_handle *llm;
 *     char *answer;
 *     if (wattlm_open(NULL, NULL, &llm) != WATTLM_OK) ...        wattlm_last_error(NULL) says why
 *     if (wattlm_ask(llm, "wake me at seven", NULL, -1, &answer, NULL) == WATTLM_OK) {
 *         puts(answer);
 *         wattlm_string_free(answer);
 *     } else {
 *         fprintf(stderr, "%s\n", wattlm_last_error(llm));
 *     }
 *     wattlm_close(llm);
 *
 *     cc hello.c $(pkg-config --cflags --libs wattlm)
 *
 * What holds for all of it:
 *
 * Ownership. Handles, streams and receipts are opaque; each has one function that ends it, and NULL is a no-op there.
 * Strings that a function leaves to the caller are freed with wattlm_string_free; strings that it returns belong to
 * what they came from. Whatever a program passes in is read during the call only. Streams and receipts outlive their
 * handle.
 *
 * Errors. Whatever can fail returns a wattlm_status, 0 for success. The text for a person is wattlm_last_error, kept for
 * each handle and thread. After a failure nothing is left to free: results are NULL. NULL where it is not allowed is
 * WATTLM_E_INVALID_REQUEST and no crash. A defect inside the library is WATTLM_E_INTERNAL and no crash.
 *
 * Threads. Any number of threads may use one handle at the same time. A stream is read by one thread at a time and
 * cancelled by any. Nothing may be used while another thread ends it.
 *
 * Processes. After fork, a child opens its own handle: calls on its parent's return WATTLM_E_FORKED and leave the
 * parent's requests alone. Descriptors are closed on exec.
 *
 * What is left alone: signals and their handlers (no SIGPIPE is ever raised), the environment, locale, working
 * directory and standard streams. As a client, the library starts no thread; see wattlm_open for "direct:".
 *
 * Text is UTF-8. Options structs begin with their size and grow at their end only: a program compiled with an older or
 * a newer header than its library works as long as it asks for nothing that the library does not know.
 *
 * Generated from the sources by cbindgen: edit those.
 */

#ifndef WATTLM_H
#define WATTLM_H

#include <stddef.h>
#include <stdint.h>

/**
 * The header's version as text.
 */
#define WATTLM_VERSION_STRING "0.1.0"

/**
 * Version of the header: changes of the major number may break programs.
 */
#define WATTLM_VERSION_MAJOR 0

/**
 * Version of the header: functions are added with the minor number.
 */
#define WATTLM_VERSION_MINOR 1

/**
 * Version of the header: repairs.
 */
#define WATTLM_VERSION_PATCH 0

/**
 * The header's version as one number that grows: 1.2.3 is 1002003.
 */
#define WATTLM_VERSION_NUMBER (((WATTLM_VERSION_MAJOR * 1000000) + (WATTLM_VERSION_MINOR * 1000)) + WATTLM_VERSION_PATCH)

/**
 * Programs and libraries of the same ABI version fit together. It is the number in the library's file name.
 */
#define WATTLM_ABI_VERSION 0

/**
 * wattlm_open succeeds whether or not a daemon is there yet; the first request finds out.
 */
#define WATTLM_OPEN_LAZY 1

/**
 * The class that the daemon takes where none is named: standard.
 */
#define WATTLM_CLASS_DEFAULT 0

/**
 * Somebody waits for the answer: first where requests wait.
 */
#define WATTLM_CLASS_INTERACTIVE 1

/**
 * In between.
 */
#define WATTLM_CLASS_STANDARD 2

/**
 * Nobody waits: it may be held back for the charger or for the budget.
 */
#define WATTLM_CLASS_BACKGROUND 3

/**
 * The policy that the device is configured for.
 */
#define WATTLM_POLICY_DEFAULT 0

/**
 * Least energy.
 */
#define WATTLM_POLICY_MIN_ENERGY 1

/**
 * Least energy times time.
 */
#define WATTLM_POLICY_BALANCED 2

/**
 * Most tokens per second.
 */
#define WATTLM_POLICY_MAX_THROUGHPUT 3

/**
 * Any device that the model can run on.
 */
#define WATTLM_BACKEND_ANY 0

/**
 * The processor only.
 */
#define WATTLM_BACKEND_CPU 1

/**
 * A GPU only.
 */
#define WATTLM_BACKEND_GPU 2

/**
 * Text of the answer: whole UTF-8 characters, of one or more tokens.
 */
#define WATTLM_PIECE_TEXT 1

/**
 * The model is being loaded; progress says how far.
 */
#define WATTLM_PIECE_LOADING 2

/**
 * Nothing came within the time given. The answer goes on: call again.
 */
#define WATTLM_PIECE_NOTHING 3

/**
 * The answer is complete, and its receipt is there. Every further call says so again.
 */
#define WATTLM_PIECE_END 4

/**
 * An event's JSON, on streams of wattlm_request_stream.
 */
#define WATTLM_PIECE_EVENT 5

/**
 * Something does not work.
 */
#define WATTLM_LOG_ERROR 1

/**
 * Something is odd.
 */
#define WATTLM_LOG_WARN 2

/**
 * What is being done.
 */
#define WATTLM_LOG_INFO 3

/**
 * For whoever looks for a fault.
 */
#define WATTLM_LOG_DEBUG 4

/**
 * A way to ask for answers: a connection's address and its settings. Any number of threads may use one handle at the
 * same time, and any number of requests may run on it side by side.
 */
typedef struct wattlm_handle wattlm_handle;

/**
 * What an answer cost and how it ran. It never changes, so that any number of threads may read it.
 */
typedef struct wattlm_receipt wattlm_receipt;

/**
 * A running request and its answer. One thread reads it; any thread may cancel it.
 */
typedef struct wattlm_stream wattlm_stream;

/**
 * What a call came to: WATTLM_OK or one of WATTLM_E_…. The numbers are those of the daemon's error table and never
 * change their meaning; later versions add some, so that a program treats one it does not know by its hundred:
 * 1xx the request is wrong, 2xx the device cannot take it now, 3xx something broke, 4xx it was ended, 5xx between this
 * program and the daemon.
 */
typedef int32_t wattlm_status;

/**
 * How to open. Zero the struct, set struct_size, then what is wanted.
 */
typedef struct wattlm_open_options {
  /**
   * sizeof(struct wattlm_open_options).
   */
  size_t struct_size;
  /**
   * WATTLM_OPEN_… or 0. A bit that this library does not know is refused.
   */
  uint32_t flags;
  /**
   * Longest silence of the daemon in milliseconds before a call gives up with WATTLM_E_REQUEST_TIMEOUT. While a
   * request waits or runs, the daemon gives a sign of life every 15 seconds, or as server.keepalive is configured:
   * less than that gives up on requests that only wait for their turn. 0: 30 seconds.
   */
  uint32_t silence_ms;
  /**
   * For "direct:" only: the configuration file. NULL: that of the daemon ($WATTLM_CONFIG; else the user's own
   * ~/.config/wattlm/wattlm.toml; else /etc/wattlm/wattlm.toml) where it is there, and the defaults where it is not.
   */
  const char *config;
} wattlm_open_options;

/**
 * How to answer. Zero the struct, set struct_size, then what is wanted: zero always means "not asked for". Strings are
 * the caller's and read during the call only. What a daemon does not support is refused and never ignored.
 */
typedef struct wattlm_request_options {
  /**
   * sizeof(struct wattlm_request_options).
   */
  size_t struct_size;
  /**
   * "name" or "name:variant". NULL: the device's default model.
   */
  const char *model;
  /**
   * What the model is told first (wattlm_generate and wattlm_ask). NULL: nothing.
   */
  const char *system;
  /**
   * WATTLM_CLASS_….
   */
  int32_t request_class;
  /**
   * WATTLM_POLICY_….
   */
  int32_t policy;
  /**
   * Most energy it may use, in joules: the answer ends early where more would be needed. 0: no limit of its own.
   */
  double max_joules;
  /**
   * Complete within so many milliseconds, or WATTLM_E_DEADLINE_EXCEEDED. 0: no deadline.
   */
  uint32_t deadline_ms;
  /**
   * First token within so many milliseconds. 0: no limit.
   */
  uint32_t max_ttft_ms;
  /**
   * Most tokens of the answer. 0: as configured.
   */
  uint32_t max_tokens;
  /**
   * 1: always the most likely token, so that the answer is the same each time (temperature 0). 0: sample.
   */
  int32_t greedy;
  /**
   * Up to 2. 0: the usual 1; for a temperature of 0 set greedy.
   */
  double temperature;
  /**
   * Sample among the most likely tokens that make up this probability. 0: off.
   */
  double top_p;
  /**
   * Sample among tokens at least this much as likely as the most likely one. 0: off.
   */
  double min_p;
  /**
   * -2 to 2.
   */
  double frequency_penalty;
  /**
   * -2 to 2.
   */
  double presence_penalty;
  /**
   * Above 0, to 4. 0: off.
   */
  double repeat_penalty;
  /**
   * Sample among so many most likely tokens. 0: off.
   */
  uint32_t top_k;
  /**
   * The same seed gives the same answer on the same device. 0: another one each time.
   */
  uint32_t seed;
  /**
   * The answer ends before the first of these strings. NULL with stop_count 0: none.
   */
  const char *const *stop;
  /**
   * How many.
   */
  size_t stop_count;
  /**
   * A JSON schema that the answer must follow. NULL: none.
   */
  const char *json_schema;
  /**
   * A JSON object with further fields of the request, such as {"logit_bias":{"12":-100}}. NULL: none.
   */
  const char *extra_json;
  /**
   * WATTLM_BACKEND_….
   */
  int32_t backend;
  /**
   * 1: a lesser variant of the model, or a shorter answer, will do where else a limit would not be kept; the receipt
   * says so. 0: never.
   */
  int32_t degrade;
} wattlm_request_options;

/**
 * One message of a conversation. UTF-8 strings of the caller's, read during the call only.
 */
typedef struct wattlm_message {
  /**
   * "system", "user" or "assistant".
   */
  const char *role;
  /**
   * The text.
   */
  const char *content;
} wattlm_message;

/**
 * What wattlm_stream_next yields. Filled in by the library in whole; nothing has to be set before.
 */
typedef struct wattlm_piece {
  /**
   * WATTLM_PIECE_….
   */
  int32_t kind;
  /**
   * How far the model is loaded, from 0 to 1.
   */
  float progress;
  /**
   * The text, ended by a NUL; empty where the kind has none. Never NULL. It is the stream's, and lives until the next
   * call with this stream.
   */
  const char *text;
  /**
   * Bytes of text, the NUL not counted.
   */
  size_t length;
  /**
   * Zero. Room for later versions.
   */
  uint64_t reserved[4];
} wattlm_piece;

/**
 * Takes a piece: returns 0 to go on, anything else to cancel the answer. It must not throw, longjmp, or free the
 * stream.
 */
typedef int32_t (*wattlm_piece_fn)(void *user, const struct wattlm_piece *piece);

/**
 * Takes a line of log: level is WATTLM_LOG_…, text is UTF-8 without a line break and lives during the call. Called from
 * any thread that is in the library, and never from two at the same time as wattlm_set_log. It must not throw,
 * longjmp, or call into the library.
 */
typedef void (*wattlm_log_fn)(void *user, int32_t level, const char *text);

/**
 * It worked.
 */
#define WATTLM_OK 0

/**
 * The request is malformed, a value is out of range, a pointer is NULL that must not be, or a call comes at the wrong
 * time.
 */
#define WATTLM_E_INVALID_REQUEST 100

/**
 * The daemon or this library is too old for something that was asked for and would change the answer.
 */
#define WATTLM_E_UNSUPPORTED_FIELD 101

/**
 * There is no model of this name.
 */
#define WATTLM_E_MODEL_NOT_FOUND 102

/**
 * The prompt, or prompt plus max_tokens, does not fit the model's context.
 */
#define WATTLM_E_CONTEXT_LENGTH_EXCEEDED 103

/**
 * The model has no chat template, or it failed: use wattlm_complete.
 */
#define WATTLM_E_NO_CHAT_TEMPLATE 104

/**
 * The request is larger than the daemon takes.
 */
#define WATTLM_E_PAYLOAD_TOO_LARGE 105

/**
 * There is no such endpoint or request.
 */
#define WATTLM_E_NOT_FOUND 106

/**
 * The endpoint exists, the method does not.
 */
#define WATTLM_E_METHOD_NOT_ALLOWED 107

/**
 * This user may not do that, or may not open the socket.
 */
#define WATTLM_E_FORBIDDEN 108

/**
 * Nothing came for too long: from the daemon, or within the time that the call was given.
 */
#define WATTLM_E_REQUEST_TIMEOUT 109

/**
 * Too many requests wait. Try again later: wattlm_retry_after_ms.
 */
#define WATTLM_E_QUEUE_FULL 200

/**
 * Too many connections, or no descriptor left on either side.
 */
#define WATTLM_E_TOO_MANY_CONNECTIONS 201

/**
 * The model does not fit in memory; the message says what would.
 */
#define WATTLM_E_INSUFFICIENT_MEMORY 202

/**
 * The model keeps failing here and is left alone for a while.
 */
#define WATTLM_E_QUARANTINED 203

/**
 * The deadline passed before the answer was complete.
 */
#define WATTLM_E_DEADLINE_EXCEEDED 204

/**
 * The daemon is stopping.
 */
#define WATTLM_E_SHUTTING_DOWN 205

/**
 * An energy budget is used up; the message says which and when there is more.
 */
#define WATTLM_E_BUDGET_EXHAUSTED 206

/**
 * The model could not be loaded.
 */
#define WATTLM_E_MODEL_LOAD_FAILED 300

/**
 * The model's file does not match its recorded digest.
 */
#define WATTLM_E_MODEL_UNVERIFIED 301

/**
 * The worker process died while it ran the request; the daemon lives. May be sent again.
 */
#define WATTLM_E_WORKER_LOST 302

/**
 * The worker process stood still and was killed. May be sent again.
 */
#define WATTLM_E_WORKER_HUNG 303

/**
 * The engine reported an error.
 */
#define WATTLM_E_ENGINE_FAILED 304

/**
 * A defect of wattlm. Please report it with the message.
 */
#define WATTLM_E_INTERNAL 305

/**
 * The request was cancelled.
 */
#define WATTLM_E_CANCELLED 400

/**
 * The program did not read the answer in time: see wattlm_stream_next.
 */
#define WATTLM_E_SLOW_CLIENT 401

/**
 * No daemon listens on the socket.
 */
#define WATTLM_E_NO_DAEMON 500

/**
 * The connection ended before the answer was complete: the daemon died or was restarted.
 */
#define WATTLM_E_CONNECTION_LOST 501

/**
 * The other side does not speak wattlm's protocol.
 */
#define WATTLM_E_PROTOCOL 502

/**
 * The process has forked since the handle was opened: a child opens its own.
 */
#define WATTLM_E_FORKED 503

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The library's version as one number, to compare with WATTLM_VERSION_NUMBER of the header a program was compiled
 * with. A library may be newer than the header; what the header declares is there.
 *
 * Threads: any. Blocks: never. Since 0.1.
 */
uint32_t wattlm_version(void);

/**
 * The library's version as text, such as "0.1.0". Lives as long as the library.
 *
 * Threads: any. Blocks: never. Since 0.1.
 */
const char *wattlm_version_string(void);

/**
 * The library's ABI version, equal to WATTLM_ABI_VERSION of every header it can be used with.
 *
 * Threads: any. Blocks: never. Since 0.1.
 */
uint32_t wattlm_abi_version(void);

/**
 * Whether the library can run models in this process (target "direct:"): 1, or 0 where it was built as a client only.
 *
 * Threads: any. Blocks: never. Since 0.1.
 */
int32_t wattlm_has_direct(void);

/**
 * The name of a status as on the wire, such as "queue_full"; "ok" for WATTLM_OK and "unknown" for a number that this
 * version does not know. Lives as long as the library.
 *
 * Threads: any. Blocks: never. Since 0.1.
 */
const char *wattlm_status_name(wattlm_status status);

/**
 * Whether the same request may succeed later without being changed: 1 or 0. WATTLM_OK and unknown numbers give 0.
 *
 * Threads: any. Blocks: never. Since 0.1.
 */
int32_t wattlm_status_retryable(wattlm_status status);

/**
 * Opens a way to the model service.
 *
 * target: NULL for the device's daemon ($WATTLM_SOCKET; else the user's own $XDG_RUNTIME_DIR/wattlm.sock where it is
 * there; else /run/wattlm/wattlm.sock); "unix:/path/to/socket" for another one; "direct:/path/to/model.gguf" for that
 * model, or "direct:" for those of the configuration, in this process and without a daemon.
 * options: NULL for none.
 * handle: gets the handle; NULL after a failure.
 *
 * With a daemon: it costs one connection that is closed again, to find out whether one listens; with WATTLM_OPEN_LAZY
 * nothing. It keeps no connection open: each request has its own, so that a daemon may be restarted between two of
 * them.
 *
 * Directly: the daemon's service runs on threads of this process, with the same scheduling, and with the limits, budgets
 * and receipts of the configuration that it finds. Handles with the same target and configuration share it and the
 * model, which is loaded by the first request and unloaded when it has been idle; the call that ends the last handle or
 * stream waits until all of its threads have ended. They take no signals.
 *
 * Budgets in this process: as many joules as configured, counted apart from the daemon's. What is used here is taken
 * from none of the daemon's purses, and its meter sees it as other programs'. Purses and the account are kept in
 * "direct" in the configured state folder, from one run of the program to the next: by one service at a time, while a
 * second one begins with the same purses and keeps its own in memory. A program names its own configuration, so that
 * such a budget is its own restraint; where programs shall be bound, they get the daemon's socket and no model's file.
 *
 * Energy in this process: without a sensor, joules are told by CPU time, in which what the program itself computes
 * meanwhile is not told apart.
 *
 * Faults in this process: an engine fault is not contained. llama.cpp ends its process on a failed assertion, an
 * uncaught C++ exception or exhausted memory, and that process is the program; a model that crashes it does so with the
 * program's rights. A program that must survive, or runs models of others, asks the daemon. Where the library can do
 * this (wattlm_has_direct), ggml sets a std::terminate handler when the program loads it, which prints a trace and goes
 * on to the one before. A child that was forked while a model was open here, or was being opened or closed, cannot open
 * one itself: it gets WATTLM_E_FORKED at once.
 *
 * Owner: the caller, who ends it with wattlm_close.
 * Errors: WATTLM_E_NO_DAEMON, WATTLM_E_FORBIDDEN (the socket's group), WATTLM_E_TOO_MANY_CONNECTIONS,
 * WATTLM_E_INVALID_REQUEST (the target, the configuration), WATTLM_E_UNSUPPORTED_FIELD (a client-only library),
 * WATTLM_E_FORKED. The text is that of wattlm_last_error(NULL).
 * Threads: any. Blocks: up to 5 seconds where the daemon takes no connections; directly, while the configuration and
 * the headers of the models are read. Since 0.1.
 */
wattlm_status wattlm_open(const char *target,
                          const struct wattlm_open_options *options,
                          struct wattlm_handle **handle);

/**
 * Closes a handle. Its streams and receipts live on until they are freed. NULL is a no-op, and so is a call in a
 * process that has forked since: the child's copy is never used.
 *
 * Threads: any, once nobody uses the handle any more. Blocks: never, but for the last of a service in this process.
 * Since 0.1.
 */
void wattlm_close(struct wattlm_handle *handle);

/**
 * What went wrong: one sentence for a person, about the last call of the calling thread on this handle, its streams
 * and receipts that failed. NULL as the handle: about its last wattlm_open that failed. Never NULL; empty where nothing
 * has failed. A success does not clear it.
 *
 * Owner: the library; copy it before the thread's next call.
 * Threads: any; each thread sees its own failures. Blocks: never. Since 0.1.
 */
const char *wattlm_last_error(const struct wattlm_handle *handle);

/**
 * The field or argument that was at fault in what wattlm_last_error tells, such as "messages[0].content"; NULL where it
 * was none.
 *
 * Owner: the library; copy it before the thread's next call.
 * Threads: any; each thread sees its own failures. Blocks: never. Since 0.1.
 */
const char *wattlm_last_error_param(const struct wattlm_handle *handle);

/**
 * When to try again what wattlm_last_error tells of, in milliseconds from the failure; -1 where nobody said so. A
 * failure that wattlm_status_retryable calls so may be retried without it, after a wait of the program's own.
 *
 * Threads: any; each thread sees its own failures. Blocks: never. Since 0.1.
 */
int64_t wattlm_retry_after_ms(const struct wattlm_handle *handle);

/**
 * Asks for the answer to one prompt, as a user's message in the model's own chat format, and returns while the answer
 * is still being made.
 *
 * prompt: UTF-8.
 * options: NULL for none.
 * stream: gets the stream that the answer comes from (wattlm_stream_next); NULL after a failure.
 *
 * It does not wait for the daemon: a refusal (no such model, a full queue, a budget) comes from the first
 * wattlm_stream_next.
 *
 * Owner: the caller, who ends the stream with wattlm_stream_free.
 * Errors: WATTLM_E_INVALID_REQUEST, WATTLM_E_UNSUPPORTED_FIELD, WATTLM_E_NO_DAEMON, WATTLM_E_TOO_MANY_CONNECTIONS,
 * WATTLM_E_FORBIDDEN, WATTLM_E_FORKED.
 * Threads: any. Blocks: while the socket takes a prompt of more than about 100 KiB, and up to 5 seconds where the
 * daemon takes no connections. Since 0.1.
 */
wattlm_status wattlm_generate(const struct wattlm_handle *handle,
                              const char *prompt,
                              const struct wattlm_request_options *options,
                              struct wattlm_stream **stream);

/**
 * Asks for the next message of a conversation. As wattlm_generate, with all messages so far; options.system must be
 * NULL, since a system message is one of them.
 *
 * messages: the first of count messages, at least one.
 *
 * Owner, errors, threads, blocking: as wattlm_generate. Since 0.1.
 */
wattlm_status wattlm_chat(const struct wattlm_handle *handle,
                          const struct wattlm_message *messages,
                          size_t count,
                          const struct wattlm_request_options *options,
                          struct wattlm_stream **stream);

/**
 * Asks for the continuation of a text as it stands, without the model's chat format. As wattlm_generate;
 * options.system must be NULL.
 *
 * Owner, errors, threads, blocking: as wattlm_generate. Since 0.1.
 */
wattlm_status wattlm_complete(const struct wattlm_handle *handle,
                              const char *prompt,
                              const struct wattlm_request_options *options,
                              struct wattlm_stream **stream);

/**
 * Asks and waits for the whole answer: wattlm_generate and wattlm_stream_text in one.
 *
 * prompt: UTF-8.
 * options: NULL for none.
 * timeout_ms: longest wait, after which the request is cancelled; -1 for as long as the daemon gives signs of life.
 * answer: gets the text; NULL after a failure.
 * receipt: gets what the answer cost; NULL if it is not wanted.
 *
 * Owner: the caller, of both: wattlm_string_free, wattlm_receipt_free.
 * Errors: those of wattlm_generate and of wattlm_stream_next; WATTLM_E_REQUEST_TIMEOUT after timeout_ms.
 * Threads: any. Blocks: until the answer is complete. Since 0.1.
 */
wattlm_status wattlm_ask(const struct wattlm_handle *handle,
                         const char *prompt,
                         const struct wattlm_request_options *options,
                         int32_t timeout_ms,
                         char **answer,
                         struct wattlm_receipt **receipt);

/**
 * Waits for the next piece of an answer.
 *
 * timeout_ms: longest wait; 0 does not wait; -1 waits as long as the daemon gives signs of life.
 * piece: gets the piece; what it points to lives until the next call with this stream.
 *
 * WATTLM_OK with WATTLM_PIECE_NOTHING means that the time is over and the answer goes on. Any other status is the end
 * of the answer; further calls return it again. A daemon that dies or stands still ends the answer, too: at once, or
 * after the handle's silence_ms.
 *
 * Read what comes: where more than the daemon's write buffer (64 KiB) of text waits, it ends the answer with
 * WATTLM_E_SLOW_CLIENT.
 *
 * Errors: what the daemon refuses (1xx, 2xx, 3xx); WATTLM_E_CANCELLED, WATTLM_E_SLOW_CLIENT,
 * WATTLM_E_CONNECTION_LOST, WATTLM_E_REQUEST_TIMEOUT, WATTLM_E_PROTOCOL, WATTLM_E_FORKED.
 * Threads: one at a time for each stream; a second one gets WATTLM_E_INVALID_REQUEST. Blocks: as timeout_ms says.
 * Since 0.1.
 */
wattlm_status wattlm_stream_next(struct wattlm_stream *stream,
                                 int32_t timeout_ms,
                                 struct wattlm_piece *piece);

/**
 * A descriptor for poll, epoll and the loops of GLib, Qt and libuv, for waiting on several things at once. Whenever it
 * is readable (POLLIN, level-triggered), call wattlm_stream_next with a timeout of 0 until it yields
 * WATTLM_PIECE_NOTHING, WATTLM_PIECE_END or an error; do so once before the first wait, too. Do nothing else with it.
 *
 * Returns -1 where the stream is NULL. The descriptor is the stream's and is closed with it.
 *
 * Threads: any. Blocks: never. Since 0.1.
 */
int32_t wattlm_stream_fd(const struct wattlm_stream *stream);

/**
 * Reads the rest of an answer as one string.
 *
 * timeout_ms: longest wait, after which the request is cancelled; -1 for as long as the daemon gives signs of life.
 * text: gets the text; NULL after a failure.
 *
 * Owner: the caller, who frees it with wattlm_string_free.
 * Errors: those of wattlm_stream_next; WATTLM_E_REQUEST_TIMEOUT after timeout_ms.
 * Threads: as wattlm_stream_next. Blocks: until the answer is complete. Since 0.1.
 */
wattlm_status wattlm_stream_text(struct wattlm_stream *stream,
                                 int32_t timeout_ms,
                                 char **text);

/**
 * Reads the rest of an answer and gives each piece (WATTLM_PIECE_TEXT, WATTLM_PIECE_LOADING, WATTLM_PIECE_EVENT) to a
 * function, on the calling thread.
 *
 * each: is called for each piece; returning anything but 0 cancels the answer, which then ends with
 * WATTLM_E_CANCELLED.
 * user: is passed on to it.
 *
 * Errors: those of wattlm_stream_next.
 * Threads: as wattlm_stream_next. Blocks: until the answer is complete. Since 0.1.
 */
wattlm_status wattlm_stream_each(struct wattlm_stream *stream,
                                 wattlm_piece_fn each,
                                 void *user);

/**
 * Ends a request: the daemon stops working on it within one step of the engine. Whoever reads the stream gets
 * WATTLM_E_CANCELLED, at once where it waits. Nothing happens to an answer that is complete, or to NULL. Safe to call
 * from a signal's handler.
 *
 * Threads: any, as long as nobody frees the stream. Blocks: never. Since 0.1.
 */
void wattlm_stream_cancel(const struct wattlm_stream *stream);

/**
 * The daemon's name for the request, as in its log and in the receipt; NULL as long as the daemon has not answered.
 *
 * Owner: the stream. Threads: any. Blocks: never. Since 0.1.
 */
const char *wattlm_stream_request_id(const struct wattlm_stream *stream);

/**
 * What a complete answer cost, once wattlm_stream_next has yielded WATTLM_PIECE_END.
 *
 * receipt: gets the receipt; NULL after a failure.
 *
 * Owner: the caller, who frees it with wattlm_receipt_free.
 * Errors: WATTLM_E_INVALID_REQUEST before the end; the answer's own error where it ended with one.
 * Threads: as wattlm_stream_next. Blocks: never. Since 0.1.
 */
wattlm_status wattlm_stream_receipt(const struct wattlm_stream *stream, struct wattlm_receipt **receipt);

/**
 * Frees a stream and what it has yielded; cancels the request where it still runs. NULL is a no-op, and so is a call in
 * a process that has forked since.
 *
 * Threads: any, once nobody uses the stream any more. Blocks: as wattlm_close. Since 0.1.
 */
void wattlm_stream_free(struct wattlm_stream *stream);

/**
 * All of the receipt as JSON: {"finish_reason", "usage", "wattlm"}, the latter two as the daemon's protocol describes
 * them. Empty for NULL.
 *
 * Owner: the receipt, as of all strings below. Threads: any. Blocks: never. Since 0.1.
 */
const char *wattlm_receipt_json(const struct wattlm_receipt *receipt);

/**
 * Why the answer ended: "stop" (it was complete) or "length" (max_tokens, the context or the energy was used up).
 * Empty for NULL.
 *
 * Threads: any. Blocks: never. Since 0.1.
 */
const char *wattlm_receipt_finish_reason(const struct wattlm_receipt *receipt);

/**
 * The daemon's name for the request. Empty for NULL.
 *
 * Threads: any. Blocks: never. Since 0.1.
 */
const char *wattlm_receipt_request_id(const struct wattlm_receipt *receipt);

/**
 * "name:variant" of the model that ran. Empty for NULL.
 *
 * Threads: any. Blocks: never. Since 0.1.
 */
const char *wattlm_receipt_model(const struct wattlm_receipt *receipt);

/**
 * Where it ran, such as "cpu". Empty for NULL.
 *
 * Threads: any. Blocks: never. Since 0.1.
 */
const char *wattlm_receipt_device(const struct wattlm_receipt *receipt);

/**
 * The kernels that it ran with, such as "zen4". Empty for NULL.
 *
 * Threads: any. Blocks: never. Since 0.1.
 */
const char *wattlm_receipt_kernels(const struct wattlm_receipt *receipt);

/**
 * Why it ran there. Empty for NULL.
 *
 * Threads: any. Blocks: never. Since 0.1.
 */
const char *wattlm_receipt_reason(const struct wattlm_receipt *receipt);

/**
 * Tokens of the prompt, those found in the cache included. 0 for NULL.
 *
 * Threads: any. Blocks: never. Since 0.1.
 */
uint32_t wattlm_receipt_prompt_tokens(const struct wattlm_receipt *receipt);

/**
 * Tokens of the prompt that were found in the cache and cost nothing. 0 for NULL.
 *
 * Threads: any. Blocks: never. Since 0.1.
 */
uint32_t wattlm_receipt_cached_tokens(const struct wattlm_receipt *receipt);

/**
 * Tokens of the answer. 0 for NULL.
 *
 * Threads: any. Blocks: never. Since 0.1.
 */
uint32_t wattlm_receipt_completion_tokens(const struct wattlm_receipt *receipt);

/**
 * Seconds that it waited, the loading of the model included. Figures below are NaN where the daemon gave none, and for
 * NULL.
 *
 * Threads: any. Blocks: never. Since 0.1.
 */
double wattlm_receipt_queue_seconds(const struct wattlm_receipt *receipt);

/**
 * Seconds from its start to the first token.
 *
 * Threads: any. Blocks: never. Since 0.1.
 */
double wattlm_receipt_prefill_seconds(const struct wattlm_receipt *receipt);

/**
 * Seconds from the first token to the last.
 *
 * Threads: any. Blocks: never. Since 0.1.
 */
double wattlm_receipt_decode_seconds(const struct wattlm_receipt *receipt);

/**
 * Joules that it is charged: waking the model, the prompt and the answer. What the device draws when idle is not in it.
 *
 * Threads: any. Blocks: never. Since 0.1.
 */
double wattlm_receipt_joules(const struct wattlm_receipt *receipt);

/**
 * Half the width of the interval around the joules that holds the truth in 95 of 100 cases.
 *
 * Threads: any. Blocks: never. Since 0.1.
 */
double wattlm_receipt_joules_error(const struct wattlm_receipt *receipt);

/**
 * Of the joules: loading the model, where this request woke it.
 *
 * Threads: any. Blocks: never. Since 0.1.
 */
double wattlm_receipt_wake_joules(const struct wattlm_receipt *receipt);

/**
 * Of the joules: the prompt.
 *
 * Threads: any. Blocks: never. Since 0.1.
 */
double wattlm_receipt_prefill_joules(const struct wattlm_receipt *receipt);

/**
 * Of the joules: the answer.
 *
 * Threads: any. Blocks: never. Since 0.1.
 */
double wattlm_receipt_decode_joules(const struct wattlm_receipt *receipt);

/**
 * Beside the joules: the idle draw of the time in which it ran, its share of it.
 *
 * Threads: any. Blocks: never. Since 0.1.
 */
double wattlm_receipt_idle_joules(const struct wattlm_receipt *receipt);

/**
 * "measured" where a sensor saw all of the joules, "estimated" where they are computed. Empty where the daemon said
 * neither, and for NULL.
 *
 * Threads: any. Blocks: never. Since 0.1.
 */
const char *wattlm_receipt_energy_quality(const struct wattlm_receipt *receipt);

/**
 * What metered the joules, such as "rapl:package-0"; "model" where nothing did. Empty where the daemon did not say, and
 * for NULL.
 *
 * Threads: any. Blocks: never. Since 0.1.
 */
const char *wattlm_receipt_energy_source(const struct wattlm_receipt *receipt);

/**
 * Which limit on energy ended the answer early. Empty where none did, and for NULL.
 *
 * Threads: any. Blocks: never. Since 0.1.
 */
const char *wattlm_receipt_energy_limit(const struct wattlm_receipt *receipt);

/**
 * Frees a receipt and the strings that came from it. NULL is a no-op.
 *
 * Threads: any, once nobody uses the receipt any more. Blocks: never. Since 0.1.
 */
void wattlm_receipt_free(struct wattlm_receipt *receipt);

/**
 * Sends any request of the daemon's protocol and waits for the whole answer, so that a program reaches what this header
 * has no function for.
 *
 * method: such as "GET" or "POST".
 * path: such as "/wattlm/v1/status".
 * body: JSON; NULL for none.
 * timeout_ms: longest wait, after which the request is cancelled; -1 for ever.
 * answer: gets the answer's body, mostly JSON; NULL after a failure.
 *
 * An answer of the daemon's that is an error becomes its status, and its message that of wattlm_last_error.
 *
 * Owner: the caller, who frees the answer with wattlm_string_free.
 * Errors: all of them.
 * Threads: any. Blocks: until the answer is complete. Since 0.1.
 */
wattlm_status wattlm_request_json(const struct wattlm_handle *handle,
                                  const char *method,
                                  const char *path,
                                  const char *body,
                                  int32_t timeout_ms,
                                  char **answer);

/**
 * Sends any request of the daemon's protocol whose answer is a stream of events, and returns while it goes on. The
 * stream yields WATTLM_PIECE_EVENT with each event's JSON, and WATTLM_PIECE_END after "[DONE]".
 *
 * method, path, body: as for wattlm_request_json. Whether the answer is a stream is the request's business, such as
 * {"stream":true} in its body.
 * stream: gets the stream; NULL after a failure.
 *
 * Owner: the caller, who ends the stream with wattlm_stream_free.
 * Errors, threads, blocking: as wattlm_generate. Since 0.1.
 */
wattlm_status wattlm_request_stream(const struct wattlm_handle *handle,
                                    const char *method,
                                    const char *path,
                                    const char *body,
                                    struct wattlm_stream **stream);

/**
 * The registered models, as GET /v1/models answers: {"object":"list","data":[…]}.
 *
 * json: gets the text; NULL after a failure.
 *
 * Owner: the caller, who frees it with wattlm_string_free.
 * Errors: those of wattlm_open; WATTLM_E_REQUEST_TIMEOUT, WATTLM_E_CONNECTION_LOST.
 * Threads: any. Blocks: until the daemon answers, at most silence_ms. Since 0.1.
 */
wattlm_status wattlm_models_json(const struct wattlm_handle *handle, char **json);

/**
 * How the daemon is: lanes, queue, counters, the last fault, as GET /wattlm/v1/status answers.
 *
 * Owner, errors, threads, blocking: as wattlm_models_json. Since 0.1.
 */
wattlm_status wattlm_status_json(const struct wattlm_handle *handle, char **json);

/**
 * What is left of the caller's energy budgets and when there is more, as GET /wattlm/v1/budget answers.
 * WATTLM_E_NOT_FOUND from a daemon that knows no budgets.
 *
 * Owner, errors, threads, blocking: as wattlm_models_json. Since 0.1.
 */
wattlm_status wattlm_budget_json(const struct wattlm_handle *handle, char **json);

/**
 * Cancels a request of this user's by the name that wattlm_stream_request_id gives, also one of another program.
 *
 * Errors: WATTLM_E_NOT_FOUND where no such request runs or it is another user's; as wattlm_models_json.
 * Threads: any. Blocks: until the daemon answers, at most silence_ms. Since 0.1.
 */
wattlm_status wattlm_cancel(const struct wattlm_handle *handle,
                            const char *request_id);

/**
 * Frees a string that a function left to the caller. NULL is a no-op.
 *
 * Threads: any. Blocks: never. Since 0.1.
 */
void wattlm_string_free(char *text);

/**
 * Where the library's log goes, for the whole process: to a function, or nowhere, which is so at first. The library
 * never writes to the standard streams or to the system's log.
 *
 * log: the function; NULL for nowhere. user: is passed on to it.
 * level: the most detailed level that is wanted, WATTLM_LOG_ERROR to WATTLM_LOG_DEBUG.
 *
 * When it returns, the function that was set before is not called any more.
 *
 * Errors: WATTLM_E_INVALID_REQUEST.
 * Threads: any, but not from within the function. Blocks: until running calls of the function have ended. Since 0.1.
 */
wattlm_status wattlm_set_log(wattlm_log_fn log,
                             void *user,
                             int32_t level);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* WATTLM_H */
