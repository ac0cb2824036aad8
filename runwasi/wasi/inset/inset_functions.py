"""The inset's code in WebAssembly text: the functions that it takes over from the host (see setting.py)."""

from __future__ import annotations

FUNCTIONS: dict[str, tuple[str, str, str]] = {
    # WIT name: core parameters, core results, text, in which $SELF is the function and $REAL the real one
    # --- fields
    "[constructor]fields": (
        "",
        "i32",
        """
  (func $SELF (result i32)
    (if (i32.or (i32.or (global.get $fields) (global.get $response)) (i32.ne (global.get $end) (i32.const 64)))
      (then (return (call $REAL))))
    (global.set $fields (i32.const 1))
    (i32.const 0x10000001))
""",
    ),
    "[static]fields.from-list": (
        "i32 i32 i32",
        "",
        """
  (func $SELF (param $list i32) (param $size i32) (param $out i32)
    (local $left i32) (local $at i32)
    (block $elsewhere
      (br_if $elsewhere (global.get $fields))
      (br_if $elsewhere (global.get $response))
      (br_if $elsewhere (i32.ne (global.get $end) (i32.const 64)))
      (local.set $at (local.get $list))
      (local.set $left (local.get $size))
      (block $done
        (loop $next
          (br_if $done (i32.eqz (local.get $left)))
          (if
            (i32.eqz
              (call $add
                (i32.load $g (local.get $at)) (i32.load $g offset=4 (local.get $at))
                (i32.load $g offset=8 (local.get $at)) (i32.load $g offset=12 (local.get $at))))
            (then
              (call $empty)
              (br $elsewhere)))
          (local.set $at (i32.add (local.get $at) (i32.const 16)))
          (local.set $left (i32.sub (local.get $left) (i32.const 1)))
          (br $next)))
      (global.set $fields (i32.const 1))
      (i32.store8 $g (local.get $out) (i32.const 0))
      (i32.store $g offset=4 (local.get $out) (i32.const 0x10000001))
      (return))
    (call $REAL (local.get $list) (local.get $size) (local.get $out)))
""",
    ),
    "[method]fields.append": (
        "i32 i32 i32 i32 i32 i32",
        "",
        """
  (func $SELF
    (param $self i32) (param $name i32) (param $name:size i32) (param $value i32) (param $value:size i32)
    (param $out i32)
    (if (i32.and (i32.eq (local.get $self) (i32.const 0x10000001)) (i32.eq (global.get $fields) (i32.const 1)))
      (then
        (if (call $add (local.get $name) (local.get $name:size) (local.get $value) (local.get $value:size))
          (then
            (i32.store8 $g (local.get $out) (i32.const 0))
            (return)))))
    (call $REAL (call $fields:real (local.get $self))
      (local.get $name) (local.get $name:size) (local.get $value) (local.get $value:size) (local.get $out)))
""",
    ),
    "[method]fields.set": (
        "i32 i32 i32 i32 i32 i32",
        "",
        """
  ;; The first field of all, with one value, is as if appended.
  (func $SELF
    (param $self i32) (param $name i32) (param $name:size i32) (param $values i32) (param $count i32)
    (param $out i32)
    (if
      (i32.and
        (i32.and (i32.eq (local.get $self) (i32.const 0x10000001)) (i32.eq (global.get $fields) (i32.const 1)))
        (i32.and (i32.eq (local.get $count) (i32.const 1)) (i32.eq (global.get $end) (i32.const 64))))
      (then
        (if
          (call $add (local.get $name) (local.get $name:size)
            (i32.load $g (local.get $values)) (i32.load $g offset=4 (local.get $values)))
          (then
            (i32.store8 $g (local.get $out) (i32.const 0))
            (return)))))
    (call $REAL (call $fields:real (local.get $self))
      (local.get $name) (local.get $name:size) (local.get $values) (local.get $count) (local.get $out)))
""",
    ),
    "[resource-drop]fields": (
        "i32",
        "",
        """
  (func $SELF (param $handle i32)
    (if (i32.and (i32.eq (local.get $handle) (i32.const 0x10000001)) (i32.eq (global.get $fields) (i32.const 1)))
      (then
        (global.set $fields (i32.const 0))
        (call $empty)
        (return)))
    (call $drop:fields (call $fields:taken (local.get $handle))))
""",
    ),
    # --- requests
    "[resource-drop]incoming-request": (
        "i32",
        "",
        """
  (func $SELF (param $handle i32)
    (local $real i32)
    (local.set $real (local.get $handle))
    (if (i32.eq (local.get $handle) (i32.const 0x10000005))
      (then
        (if (i32.eqz (global.get $request))
          (then
            (global.set $request (i32.const 3))
            (return)))
        (local.set $real (global.get $request:behind))
        (global.set $request:behind (i32.const 0))))
    (call $drop:incoming-request (local.get $real)))
""",
    ),
    "[constructor]outgoing-request": (
        "i32",
        "i32",
        """
  (func $SELF (param $fields i32) (result i32)
    (call $REAL (call $fields:taken (local.get $fields))))
""",
    ),
    # --- responses
    "[constructor]outgoing-response": (
        "i32",
        "i32",
        """
  (func $SELF (param $fields i32) (result i32)
    (if (i32.and (i32.eq (local.get $fields) (i32.const 0x10000001)) (i32.eq (global.get $fields) (i32.const 1)))
      (then
        (global.set $fields (i32.const 0))
        (global.set $response (i32.const 1))
        (global.set $lines:end (global.get $end))
        (return (i32.const 0x10000002))))
    (call $REAL (call $fields:taken (local.get $fields))))
""",
    ),
    "[method]outgoing-response.set-status-code": (
        "i32 i32",
        "i32",
        """
  (func $SELF (param $self i32) (param $status i32) (result i32)
    (if (i32.and (i32.eq (local.get $self) (i32.const 0x10000002)) (i32.eq (global.get $response) (i32.const 1)))
      (then
        (if (i32.lt_u (i32.sub (local.get $status) (i32.const 200)) (i32.const 800))
          (then
            (global.set $status (local.get $status))
            (return (i32.const 0))))))
    (call $REAL
      (call $outgoing-response:real (local.get $self)) (local.get $status)))
""",
    ),
    "[method]outgoing-response.body": (
        "i32 i32",
        "",
        """
  (func $SELF (param $self i32) (param $out i32)
    (if
      (i32.and
        (i32.and (i32.eq (local.get $self) (i32.const 0x10000002)) (i32.eq (global.get $response) (i32.const 1)))
        (i32.eqz (global.get $body)))
      (then
        (global.set $body (i32.const 1))
        (i32.store8 $g (local.get $out) (i32.const 0))
        (i32.store $g offset=4 (local.get $out) (i32.const 0x10000003))
        (return)))
    (call $REAL (call $outgoing-response:real (local.get $self)) (local.get $out)))
""",
    ),
    "[resource-drop]outgoing-response": (
        "i32",
        "",
        """
  (func $SELF (param $handle i32)
    (call $drop:outgoing-response (call $outgoing-response:taken (local.get $handle))))
""",
    ),
    "[static]response-outparam.set": (
        "i32 i32 i32 i32 i64 i32 i32 i32 i32",
        "",
        """
  (func $SELF
    (param $self i32) (param $is_error i32) (param $what i32) (param i32 i64 i32 i32 i32 i32)
    (if (i32.eqz (local.get $is_error))
      (then
        (if
          (i32.and
            (i32.and (i32.eq (local.get $self) (i32.const 0x10000006)) (i32.eqz (global.get $outparam)))
            (i32.and (i32.eq (local.get $what) (i32.const 0x10000002)) (i32.eq (global.get $response) (i32.const 1))))
          (then
            (global.set $outparam (i32.const 4))
            (global.set $response (i32.const 3))
            (return)))
        (local.set $what (call $outgoing-response:taken (local.get $what)))))
    (call $REAL (call $response-outparam:taken (local.get $self))
      (local.get $is_error) (local.get $what)
      (local.get 3) (local.get 4) (local.get 5) (local.get 6) (local.get 7) (local.get 8)))
""",
    ),
    "[resource-drop]response-outparam": (
        "i32",
        "",
        """
  (func $SELF (param $handle i32)
    (if (i32.and (i32.eq (local.get $handle) (i32.const 0x10000006)) (i32.eqz (global.get $outparam)))
      (then
        (global.set $outparam (i32.const 3))
        (return)))
    (call $drop:response-outparam (call $response-outparam:taken (local.get $handle))))
""",
    ),
    # --- bodies
    "[method]outgoing-body.write": (
        "i32 i32",
        "",
        """
  (func $SELF (param $self i32) (param $out i32)
    (if
      (i32.and
        (i32.and (i32.eq (local.get $self) (i32.const 0x10000003)) (i32.eq (global.get $body) (i32.const 1)))
        (i32.eqz (global.get $stream)))
      (then
        (global.set $stream (i32.const 1))
        (i32.store8 $g (local.get $out) (i32.const 0))
        (i32.store $g offset=4 (local.get $out) (i32.const 0x10000004))
        (return)))
    (call $REAL (call $outgoing-body:real (local.get $self)) (local.get $out)))
""",
    ),
    "[static]outgoing-body.finish": (
        "i32 i32 i32 i32",
        "",
        """
  (func $SELF (param $self i32) (param $has_trailers i32) (param $trailers i32) (param $out i32)
    (if
      (i32.and
        (i32.and (i32.eq (local.get $self) (i32.const 0x10000003)) (i32.eq (global.get $body) (i32.const 1)))
        (i32.and (i32.eqz (local.get $has_trailers)) (i32.ne (global.get $stream) (i32.const 1))))
      (then
        (global.set $body (i32.const 4))
        (i32.store8 $g (local.get $out) (i32.const 0))
        (return)))
    (if (local.get $has_trailers) (then (local.set $trailers (call $fields:taken (local.get $trailers)))))
    (call $REAL (call $outgoing-body:taken (local.get $self))
      (local.get $has_trailers) (local.get $trailers) (local.get $out)))
""",
    ),
    "[resource-drop]outgoing-body": (
        "i32",
        "",
        """
  (func $SELF (param $handle i32)
    (call $drop:outgoing-body (call $outgoing-body:taken (local.get $handle))))
""",
    ),
    # --- streams
    "[method]output-stream.check-write": (
        "i32 i32",
        "",
        """
  (func $SELF (param $self i32) (param $out i32)
    (local $room i32)
    (local.set $room (i32.sub (i32.const 0x30000) (global.get $end)))
    (if
      (i32.and
        (i32.and (i32.eq (local.get $self) (i32.const 0x10000004)) (i32.eq (global.get $stream) (i32.const 1)))
        (i32.ne (local.get $room) (i32.const 0)))
      (then
        (i32.store8 $g (local.get $out) (i32.const 0))
        (i64.store $g offset=8 (local.get $out)
          (i64.extend_i32_u
            (select (local.get $room) (i32.const 0x10000) (i32.lt_u (local.get $room) (i32.const 0x10000)))))
        (return)))
    (call $REAL (call $output-stream:real (local.get $self)) (local.get $out)))
""",
    ),
    "[method]output-stream.write": (
        "i32 i32 i32 i32",
        "",
        """
  (func $SELF (param $self i32) (param $from i32) (param $size i32) (param $out i32)
    (if (i32.and (i32.eq (local.get $self) (i32.const 0x10000004)) (i32.eq (global.get $stream) (i32.const 1)))
      (then
        (if (call $room (local.get $size))
          (then
            (call $take (local.get $from) (local.get $size))
            (i32.store8 $g (local.get $out) (i32.const 0))
            (return)))))
    (call $REAL (call $output-stream:real (local.get $self))
      (local.get $from) (local.get $size) (local.get $out)))
""",
    ),
    "[method]output-stream.blocking-write-and-flush": (
        "i32 i32 i32 i32",
        "",
        """
  ;; 4096 bytes are all that fit into one call, so the guest may be in the middle of more: that is no flush.
  (func $SELF
    (param $self i32) (param $from i32) (param $size i32) (param $out i32)
    (if
      (i32.and
        (i32.and (i32.eq (local.get $self) (i32.const 0x10000004)) (i32.eq (global.get $stream) (i32.const 1)))
        (i32.or (i32.eqz (global.get $flushed)) (i32.eq (local.get $size) (i32.const 4096))))
      (then
        (if (call $room (local.get $size))
          (then
            (call $take (local.get $from) (local.get $size))
            (if (i32.ne (local.get $size) (i32.const 4096)) (then (global.set $flushed (global.get $end))))
            (i32.store8 $g (local.get $out) (i32.const 0))
            (return)))))
    (call $before_waiting)
    (call $REAL (call $output-stream:real (local.get $self))
      (local.get $from) (local.get $size) (local.get $out)))
""",
    ),
    "[method]output-stream.flush": (
        "i32 i32",
        "",
        """
  (func $SELF (param $self i32) (param $out i32)
    (if (call $stays (local.get $self) (local.get $out)) (then (return)))
    (call $REAL (call $output-stream:real (local.get $self)) (local.get $out)))
""",
    ),
    "[method]output-stream.blocking-flush": (
        "i32 i32",
        "",
        """
  (func $SELF (param $self i32) (param $out i32)
    (if (call $stays (local.get $self) (local.get $out)) (then (return)))
    (call $before_waiting)
    (call $REAL (call $output-stream:real (local.get $self)) (local.get $out)))
""",
    ),
    "[resource-drop]output-stream": (
        "i32",
        "",
        """
  (func $SELF (param $handle i32)
    (local $real i32)
    (local.set $real (local.get $handle))
    (if (i32.eq (local.get $handle) (i32.const 0x10000004))
      (then
        (if (i32.eq (global.get $stream) (i32.const 1))
          (then
            (global.set $stream (i32.const 3))
            (return)))
        (global.set $stream (i32.const 3))
        (local.set $real (global.get $stream:behind))
        (global.set $stream:behind (i32.const 0))))
    (call $drop:output-stream (local.get $real)))
""",
    ),
}

PASSED_ON: dict[str, tuple[str, str, str, bool]] = {
    # WIT name: core parameters, core results, the resource of the first parameter ("": not one of the
    # inset's), whether the guest may wait in it. The inset inserts the real handle, and passes the call on.
    "[method]fields.get": ("i32 i32 i32 i32", "", "fields", False),
    "[method]fields.has": ("i32 i32 i32", "i32", "fields", False),
    "[method]fields.delete": ("i32 i32 i32 i32", "", "fields", False),
    "[method]fields.entries": ("i32 i32", "", "fields", False),
    "[method]fields.clone": ("i32", "i32", "fields", False),
    "[method]incoming-request.method": ("i32 i32", "", "incoming-request", False),
    "[method]incoming-request.path-with-query": ("i32 i32", "", "incoming-request", False),
    "[method]incoming-request.scheme": ("i32 i32", "", "incoming-request", False),
    "[method]incoming-request.authority": ("i32 i32", "", "incoming-request", False),
    "[method]incoming-request.headers": ("i32", "i32", "incoming-request", False),
    "[method]incoming-request.consume": ("i32 i32", "", "incoming-request", False),
    "[method]outgoing-response.status-code": ("i32", "i32", "outgoing-response", False),
    "[method]outgoing-response.headers": ("i32", "i32", "outgoing-response", False),
    "[method]output-stream.subscribe": ("i32", "i32", "output-stream", False),
    "[method]output-stream.write-zeroes": ("i32 i64 i32", "", "output-stream", False),
    "[method]output-stream.blocking-write-zeroes-and-flush": ("i32 i64 i32", "", "output-stream", True),
    "[method]output-stream.splice": ("i32 i32 i64 i32", "", "output-stream", False),
    "[method]output-stream.blocking-splice": ("i32 i32 i64 i32", "", "output-stream", True),
    "[method]input-stream.blocking-read": ("i32 i64 i32", "", "", True),
    "[method]input-stream.blocking-skip": ("i32 i64 i32", "", "", True),
    "[method]pollable.block": ("i32", "", "", True),
    "poll": ("i32 i32 i32", "", "", True),
}
