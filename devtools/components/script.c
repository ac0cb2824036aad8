/* An HTTP server that does what its first argument says, a letter for each call of wasi:http, whether that makes
 * sense or not. What each call gave is a line of stdout. The letters are in `step`. */

#include <stddef.h>
#include <stdint.h>

#define IMPORT(interface, name) __attribute__((import_module(interface), import_name(name)))
#define TYPES "wasi:http/types@0.2.12"
#define STREAMS "wasi:io/streams@0.2.12"

typedef int32_t handle; /* of a resource */

struct list {
  const char *data;
  size_t size;
};

IMPORT(TYPES, "[constructor]fields") handle fields_new(void);
IMPORT(TYPES, "[static]fields.from-list") void fields_from_list(const void *, size_t, void *out);
IMPORT(TYPES, "[method]fields.append")
void fields_append(handle, const char *name, size_t, const char *value, size_t, void *out);
IMPORT(TYPES, "[method]fields.set")
void fields_set(handle, const char *name, size_t, const struct list *values, size_t, void *out);
IMPORT(TYPES, "[method]fields.delete") void fields_delete(handle, const char *name, size_t, void *out);
IMPORT(TYPES, "[method]fields.has") int32_t fields_has(handle, const char *name, size_t);
IMPORT(TYPES, "[method]fields.entries") void fields_entries(handle, void *out);
IMPORT(TYPES, "[method]fields.clone") handle fields_clone(handle);
IMPORT(TYPES, "[resource-drop]fields") void fields_drop(handle);
IMPORT(TYPES, "[constructor]outgoing-request") handle outgoing_request_new(handle fields);
IMPORT(TYPES, "[resource-drop]outgoing-request") void outgoing_request_drop(handle);
IMPORT(TYPES, "[constructor]outgoing-response") handle response_new(handle fields);
IMPORT(TYPES, "[method]outgoing-response.status-code") int32_t response_status(handle);
IMPORT(TYPES, "[method]outgoing-response.set-status-code") int32_t response_set_status(handle, int32_t);
IMPORT(TYPES, "[method]outgoing-response.headers") handle response_headers(handle);
IMPORT(TYPES, "[method]outgoing-response.body") void response_body(handle, void *out);
IMPORT(TYPES, "[resource-drop]outgoing-response") void response_drop(handle);
IMPORT(TYPES, "[static]response-outparam.set")
void outparam_set(handle, int32_t is_error, int32_t, int32_t, int64_t, int32_t, int32_t, int32_t, int32_t);
IMPORT(TYPES, "[resource-drop]response-outparam") void outparam_drop(handle);
IMPORT(TYPES, "[method]outgoing-body.write") void body_write(handle, void *out);
IMPORT(TYPES, "[static]outgoing-body.finish") void body_finish(handle, int32_t has_trailers, handle, void *out);
IMPORT(TYPES, "[resource-drop]outgoing-body") void body_drop(handle);
IMPORT(TYPES, "[method]incoming-request.path-with-query") void request_path(handle, void *out);
IMPORT(TYPES, "[method]incoming-request.headers") handle request_headers(handle);
IMPORT(TYPES, "[method]incoming-request.consume") void request_consume(handle, void *out);
IMPORT(TYPES, "[resource-drop]incoming-request") void request_drop(handle);
IMPORT(STREAMS, "[method]output-stream.check-write") void stream_check_write(handle, void *out);
IMPORT(STREAMS, "[method]output-stream.write") void stream_write(handle, const char *, size_t, void *out);
IMPORT(STREAMS, "[method]output-stream.blocking-write-and-flush")
void stream_blocking_write_and_flush(handle, const char *, size_t, void *out);
IMPORT(STREAMS, "[method]output-stream.flush") void stream_flush(handle, void *out);
IMPORT(STREAMS, "[method]output-stream.blocking-flush") void stream_blocking_flush(handle, void *out);
IMPORT(STREAMS, "[method]output-stream.write-zeroes") void stream_write_zeroes(handle, int64_t, void *out);
IMPORT(STREAMS, "[method]output-stream.subscribe") handle stream_subscribe(handle);
IMPORT(STREAMS, "[resource-drop]output-stream") void stream_drop(handle);
IMPORT("wasi:io/poll@0.2.12", "[method]pollable.block") void pollable_block(handle);
IMPORT("wasi:io/poll@0.2.12", "[resource-drop]pollable") void pollable_drop(handle);
IMPORT("wasi:clocks/monotonic-clock@0.2.12", "subscribe-duration") handle subscribe_duration(int64_t);
IMPORT("wasi:cli/environment@0.2.12", "get-arguments") void get_arguments(void *out);
IMPORT("wasi:cli/stdout@0.2.12", "get-stdout") handle get_stdout(void);

struct result {
  uint8_t is_error;
  handle value;
  int64_t rest[6]; /* the first is the value where that has eight bytes */
};

static char heap[1 << 18] __attribute__((aligned(16)));
static size_t used;

__attribute__((export_name("cabi_realloc"))) void *cabi_realloc(void *old, size_t, size_t align, size_t size) {
  used = (used + align - 1) & ~(align - 1);
  used += size;
  if (used > sizeof heap)
    __builtin_trap();
  return old ? old : heap + used - size;
}

/* What the compiler may call of its own accord. */
void *memcpy(void *to, const void *from, size_t size) {
  for (size_t i = 0; i < size; i++)
    ((volatile char *)to)[i] = ((const char *)from)[i];
  return to;
}

static char seen[4096];
static size_t seen_size;

static void see(char step, unsigned result) {
  char line[] = {step, ' ', '0' + result / 100 % 10, '0' + result / 10 % 10, '0' + result % 10, '\n'};
  for (size_t i = 0; i < sizeof line && seen_size < sizeof seen; i++)
    seen[seen_size++] = line[i];
}

static void tell(void) {
  struct result result;
  stream_write(get_stdout(), seen, seen_size, &result);
}

static handle request, out, fields, response, body, stream;
static char block[65536];

static const struct {
  struct list name, value;
} PAIRS[] = {{{"X-One", 5}, {"1", 1}}, {{"x-two", 5}, {"2\x80\xff", 3}}};

static unsigned append(const char *name, size_t size, const char *value, size_t value_size) {
  struct result result;
  fields_append(fields, name, size, value, value_size, &result);
  return result.is_error ? 100 + (uint8_t)result.value : 0;
}
#define APPEND(name, value) append(name, sizeof name - 1, value, sizeof value - 1)

static unsigned write_and_flush(const char *from, size_t size) {
  struct result result;
  stream_blocking_write_and_flush(stream, from, size, &result);
  return result.is_error;
}

/* As much as a stream takes at once, with waiting until it does. */
static unsigned write_whole(void) {
  struct result result = {0};
  for (size_t left = sizeof block; left;) {
    stream_check_write(stream, &result);
    size_t room = (size_t)result.rest[0];
    if (result.is_error)
      return 1;
    if (!room) {
      handle pollable = stream_subscribe(stream);
      pollable_block(pollable);
      pollable_drop(pollable);
      continue;
    }
    size_t size = room < left ? room : left;
    stream_write(stream, block + (sizeof block - left), size, &result);
    if (result.is_error)
      return 2;
    left -= size;
  }
  return 0;
}

static unsigned kept(struct result *result, handle *where) {
  if (!result->is_error)
    *where = result->value;
  return result->is_error;
}

static unsigned step(char letter) {
  struct result result = {0};
  static const struct list values[] = {{"v", 1}, {"w", 1}};
  switch (letter) {
  /* fields */
  case 'f': fields = fields_new(); return 0;
  case 'F': fields_from_list(PAIRS, 2, &result); return kept(&result, &fields);
  case 'a': return APPEND("X-Name", "va\tlue\x80");
  case 'b': return APPEND("bad name", "value");
  case 'B': return APPEND("x-bad", "va\nlue");
  case 'c': return APPEND("Content-Length", "5");
  case 'd': return APPEND("Date", "some day");
  case 'e': return APPEND("", "x");
  case 'E': return APPEND("x-empty", "");
  case 'h': return APPEND("Connection", "close");
  case 'H': return APPEND("te", "x");
  case 'j': return append("x-large", 7, block, 9000);
  case 's': fields_set(fields, "x-set", 5, values, 1, &result); return result.is_error;
  case 'S': fields_set(fields, "X-Name", 6, values, 2, &result); return result.is_error;
  case 'D': fields_delete(fields, "x-name", 6, &result); return result.is_error;
  case 'k': return fields_has(fields, "x-name", 6);
  case 'K': fields_entries(fields, &result); return result.value;
  case 'C': fields_drop(fields_clone(fields)); return 0;
  case 'i': fields_drop(fields); return 0;
  case 'A': outgoing_request_drop(outgoing_request_new(fields)); return 0;
  /* the response */
  case 'r': response = response_new(fields); return 0;
  case 't': return response_set_status(response, 404);
  case 'T': return response_set_status(response, 42);
  case '2': return response_set_status(response, 204);
  case 'g': return response_status(response) & 0xffff;
  case 'G': fields_drop(response_headers(response)); return 0;
  case 'o': response_body(response, &result); return kept(&result, &body);
  case 'v': response_drop(response); return 0;
  case 'p': outparam_set(out, 0, response, 0, 0, 0, 0, 0, 0); return 0;
  case 'P': outparam_set(out, 1, 15, 0, 0, 0, 0, 0, 0); return 0; /* HTTP-request-denied */
  case 'q': outparam_drop(out); return 0;
  /* its body */
  case 'w': body_write(body, &result); return kept(&result, &stream);
  case 'y': body_finish(body, 0, 0, &result); return result.is_error;
  case 'Y': body_finish(body, 1, fields, &result); return result.is_error;
  case 'z': body_drop(body); return 0;
  case 'W': return write_and_flush("hello\x80", 6);
  case 'L': return write_and_flush(block, 4096);
  case '0': return write_and_flush(block, 0);
  case 'm': stream_check_write(stream, &result); return result.is_error;
  case 'M': stream_write(stream, "written", 7, &result); return result.is_error;
  case 'N': stream_write(stream, block, 4000, &result); return result.is_error;
  case '9': return write_whole();
  case 'O': stream_write_zeroes(stream, 3, &result); return result.is_error;
  case 'u': stream_flush(stream, &result); return result.is_error;
  case 'U': stream_blocking_flush(stream, &result); return result.is_error;
  case 'V': pollable_drop(stream_subscribe(stream)); return 0;
  case 'x': stream_drop(stream); return 0;
  /* the request, and others */
  case 'Q': request_drop(request); return 0;
  case 'R': request_path(request, &result); return result.rest[0] != 0;
  case 'I': fields_drop(request_headers(request)); return 0;
  case 'J': request_consume(request, &result); return result.is_error;
  case 'Z': {
    handle pollable = subscribe_duration(1000);
    pollable_block(pollable);
    pollable_drop(pollable);
    return 0;
  }
  case '!': __builtin_trap();
  case '.': return 999; /* the end: nothing after it is done */
  default: return 998;
  }
}

__attribute__((export_name("wasi:http/incoming-handler@0.2.12#handle"))) void serve(handle a, handle b) {
  struct {
    const struct list *items;
    size_t size;
  } arguments;
  request = a;
  out = b;
  for (size_t i = 0; i < sizeof block; i++)
    block[i] = 'a' + i % 26;
  get_arguments(&arguments);
  for (size_t i = 0; i < arguments.items[0].size; i++) {
    unsigned result = step(arguments.items[0].data[i]);
    see(arguments.items[0].data[i], result);
    if (result == 999)
      break;
  }
  tell();
}
