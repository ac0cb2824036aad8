"""The inset's code in WebAssembly text: the part that every inset has (see setting.py).

The guest gets numbers that cannot be handles of the component model (those stay below 2^28) for one each of:
fields, a response, its body, the body's stream, the request and the response-outparam. Calls with them only
change the globals here, and the buffer with the lines and the body. As soon as the guest does anything else with
one of them, or the client has to see something, the host makes real resources of all ($spill), and from then on
these functions pass every call on.
"""

from __future__ import annotations

COMMON = """
  ;; --- the numbers in place of handles, and the state each is in

  ;; 0 there is none · 1 known only here · 2 a real one stands behind it
  (global $fields (mut i32) (i32.const 0))
  (global $fields:behind (mut i32) (i32.const 0))
  ;; the same; 3 gone
  (global $response (mut i32) (i32.const 0))
  (global $response:behind (mut i32) (i32.const 0))
  ;; the same; 4 finished, and known only here
  (global $body (mut i32) (i32.const 0))
  (global $body:behind (mut i32) (i32.const 0))
  ;; the same; 3 dropped
  (global $stream (mut i32) (i32.const 0))
  (global $stream:behind (mut i32) (i32.const 0))
  ;; 0 known only here · 2 a real one stands behind it · 3 dropped
  (global $request (mut i32) (i32.const 0))
  (global $request:behind (mut i32) (i32.const 0))
  ;; 0 known only here · 3 dropped or given away · 4 it has the response that is known only here
  (global $outparam (mut i32) (i32.const 0))

  ;; --- the buffer in the inset's own memory: lines, then the body

  (global $end (mut i32) (i32.const 64))
  (global $lines:end (mut i32) (i32.const 64))
  (global $status (mut i32) (i32.const 200))
  (global $dated (mut i32) (i32.const 0))
  (global $flushed (mut i32) (i32.const 0)) ;; where the buffer ended at the last flush

  ;; Makes room for $size more bytes, and returns whether there is: the memory may grow to three pages.
  (func $room (param $size i32) (result i32)
    (local $end i32)
    (if (i32.gt_u (local.get $size) (i32.const 0x30000)) (then (return (i32.const 0))))
    (local.set $end (i32.add (global.get $end) (local.get $size)))
    (if (i32.gt_u (local.get $end) (i32.const 0x30000)) (then (return (i32.const 0))))
    (if (i32.le_u (local.get $end) (i32.shl (memory.size $s) (i32.const 16))) (then (return (i32.const 1))))
    (i32.ne (memory.grow $s (i32.const 2)) (i32.const -1)))

  ;; Copies bytes from the guest; there must be room.
  (func $take (param $from i32) (param $size i32)
    (memory.copy $s $g (global.get $end) (local.get $from) (local.get $size))
    (global.set $end (i32.add (global.get $end) (local.get $size))))

  (func $empty
    (global.set $end (i32.const 64))
    (global.set $lines:end (i32.const 64))
    (global.set $dated (i32.const 0))
    (global.set $flushed (i32.const 0)))

  ;; Adds a field, and returns whether it could: the host judges one that is not plain.
  (func $add (param $name i32) (param $name:size i32) (param $value i32) (param $value:size i32) (result i32)
    (local $start i32)
    (local.set $start (global.get $end))
    (if (call $add:name (local.get $name) (local.get $name:size))
      (then (if (call $add:value (local.get $value) (local.get $value:size)) (then (return (i32.const 1))))))
    (global.set $end (local.get $start))
    (i32.const 0))

  ;; Names are tokens (RFC 9110, 5.6.2), in lower case; the two constants have a bit for each valid byte.
  (func $add:name (param $name i32) (param $size i32) (result i32)
    (local $at i32) (local $byte i32) (local $start i32)
    (if (i32.gt_u (i32.sub (local.get $size) (i32.const 1)) (i32.const 255)) (then (return (i32.const 0))))
    (if (i32.eqz (call $room (i32.add (local.get $size) (i32.const 4)))) (then (return (i32.const 0))))
    (local.set $at (global.get $end))
    (local.set $start (local.get $at))
    (call $take (local.get $name) (local.get $size))
    (loop $next
      (local.set $byte (i32.load8_u $s (local.get $at)))
      (if (i32.lt_u (i32.sub (local.get $byte) (i32.const 0x41)) (i32.const 26))
        (then
          (local.set $byte (i32.or (local.get $byte) (i32.const 0x20)))
          (i32.store8 $s (local.get $at) (local.get $byte))))
      (if (i32.ge_u (local.get $byte) (i32.const 128)) (then (return (i32.const 0))))
      (if
        (i64.eqz (i64.and (i64.const 1)
          (i64.shr_u
            (select
              (i64.const 0x3ff6cfa00000000)
              (i64.const 0x57ffffffc7fffffe)
              (i32.lt_u (local.get $byte) (i32.const 64)))
            (i64.extend_i32_u (local.get $byte)))))
        (then (return (i32.const 0))))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $at) (global.get $end))))
    (if (call $is_special (local.get $start) (local.get $size)) (then (return (i32.const 0))))
    (i32.store16 $s (global.get $end) (i32.const 0x203a)) ;; ": "
    (global.set $end (i32.add (global.get $end) (i32.const 2)))
    (i32.const 1))

  ;; Returns whether a name may be a field of the connection, or content-length; notes date.
  (func $is_special (param $at i32) (param $size i32) (result i32)
    (local $head i32)
    (local.set $head (i32.load $s (local.get $at)))
    (if (i32.and (i32.eq (local.get $size) (i32.const 4)) (i32.eq (local.get $head) (i32.const 0x65746164)))
      (then (global.set $dated (i32.const 1))))
    (if (i32.eq (local.get $size) (i32.const 2)) (then (return (i32.const 1)))) ;; te
    (if (i32.eq (local.get $size) (i32.const 14)) ;; cont
      (then (if (i32.eq (local.get $head) (i32.const 0x746e6f63)) (then (return (i32.const 1))))))
    (i32.or
      (i32.or
        (i32.or (i32.eq (local.get $head) (i32.const 0x74736f68)) ;; host
          (i32.eq (local.get $head) (i32.const 0x6e6e6f63))) ;; conn
        (i32.or (i32.eq (local.get $head) (i32.const 0x7065656b)) ;; keep
          (i32.eq (local.get $head) (i32.const 0x72677075)))) ;; upgr
      (i32.or
        (i32.or (i32.eq (local.get $head) (i32.const 0x69617274)) ;; trai
          (i32.eq (local.get $head) (i32.const 0x6e617274))) ;; tran
        (i32.or (i32.eq (local.get $head) (i32.const 0x70747468)) ;; http
          (i32.eq (local.get $head) (i32.const 0x786f7270)))))) ;; prox

  ;; Values contain no control characters but tabs (RFC 9110, 5.5).
  (func $add:value (param $value i32) (param $size i32) (result i32)
    (local $at i32) (local $byte i32)
    (if (i32.gt_u (local.get $size) (i32.const 8192)) (then (return (i32.const 0))))
    (if (i32.eqz (call $room (i32.add (local.get $size) (i32.const 2)))) (then (return (i32.const 0))))
    (local.set $at (global.get $end))
    (call $take (local.get $value) (local.get $size))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $at) (global.get $end)))
        (local.set $byte (i32.load8_u $s (local.get $at)))
        (if (i32.or (i32.eq (local.get $byte) (i32.const 127))
              (i32.and (i32.lt_u (local.get $byte) (i32.const 32)) (i32.ne (local.get $byte) (i32.const 9))))
          (then (return (i32.const 0))))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br $next)))
    (i32.store16 $s (global.get $end) (i32.const 0x0a0d))
    (global.set $end (i32.add (global.get $end) (i32.const 2)))
    (i32.const 1))

  ;; --- from the inset to the host

  ;; Makes the host create real resources for everything that is known only here.
  (func $spill
    (if (i32.eq (global.get $fields) (i32.const 1))
      (then
        (global.set $fields (i32.const 2))
        (global.set $fields:behind
          (call $host:fields (i32.const 64) (i32.sub (global.get $end) (i32.const 64))))
        (call $empty)
        (return)))
    (if (i32.eq (global.get $response) (i32.const 1))
      (then
        (global.set $response (i32.const 2))
        (global.set $response:behind
          (call $host:response (global.get $status)
            (i32.const 64) (i32.sub (global.get $lines:end) (i32.const 64))))
        (if (global.get $body) (then (global.set $body:behind (call $host:body (global.get $response:behind)))))
        (call $spill:body)))
    (if (i32.eq (global.get $outparam) (i32.const 4))
      (then
        (global.set $outparam (i32.const 3))
        (if (global.get $body)
          (then
            (global.set $body:behind
              (call $host:respond (global.get $status)
                (i32.const 64) (i32.sub (global.get $lines:end) (i32.const 64)))))
          (else
            (call $host:respond-without-body (global.get $status)
              (i32.const 64) (i32.sub (global.get $lines:end) (i32.const 64)))))
        (call $spill:body))))

  (func $spill:body
    (if (i32.or (i32.eq (global.get $stream) (i32.const 1)) (i32.gt_u (global.get $end) (global.get $lines:end)))
      (then
        ;; The host has the lines. Strings that may be Latin-1 have even addresses (CanonicalABI.md, store_string).
        (memory.copy $s $s
          (i32.const 64) (global.get $lines:end) (i32.sub (global.get $end) (global.get $lines:end)))
        (global.set $stream:behind
          (call $host:stream (global.get $body:behind)
            (i32.const 64) (i32.sub (global.get $end) (global.get $lines:end))
            (i32.ne (global.get $flushed) (i32.const 0))))
        (if (i32.eq (global.get $stream) (i32.const 1))
          (then (global.set $stream (i32.const 2)))
          (else
            (call $drop:output-stream (global.get $stream:behind))
            (global.set $stream:behind (i32.const 0))))))
    (if (i32.eq (global.get $body) (i32.const 1)) (then (global.set $body (i32.const 2))))
    (if (i32.eq (global.get $body) (i32.const 4))
      (then
        (call $host:finish (global.get $body:behind))
        (global.set $body:behind (i32.const 0))
        (global.set $body (i32.const 3))))
    (call $empty))

  ;; The guest may be about to wait: its answer must not wait with it.
  (func $before_waiting
    (if (i32.eq (global.get $outparam) (i32.const 4)) (then (call $spill))))

  ;; Notes a flush, and returns whether its bytes may stay here: they may the first time, to end a short response.
  (func $stays (param $stream i32) (param $out i32) (result i32)
    (if (i32.ne (local.get $stream) (i32.const 0x10000004)) (then (return (i32.const 0))))
    (if (i32.ne (global.get $stream) (i32.const 1)) (then (return (i32.const 0))))
    (if (i32.and (i32.ne (global.get $flushed) (i32.const 0)) (i32.ne (global.get $flushed) (global.get $end)))
      (then (return (i32.const 0))))
    (if (i32.gt_u (global.get $end) (global.get $lines:end)) (then (global.set $flushed (global.get $end))))
    (i32.store8 $g (local.get $out) (i32.const 0))
    (i32.const 1))

  ;; --- the real handle behind a number; 0, which is no handle, once it is gone

  (func $fields:real (param $handle i32) (result i32)
    (if (i32.ne (local.get $handle) (i32.const 0x10000001)) (then (return (local.get $handle))))
    (if (i32.eq (global.get $fields) (i32.const 1)) (then (call $spill)))
    (global.get $fields:behind))

  ;; The same for a handle that leaves the guest, which may get this number again.
  (func $fields:taken (param $handle i32) (result i32)
    (local $real i32)
    (local.set $real (call $fields:real (local.get $handle)))
    (if (i32.eq (local.get $handle) (i32.const 0x10000001))
      (then
        (global.set $fields (i32.const 0))
        (global.set $fields:behind (i32.const 0))))
    (local.get $real))

  (func $outgoing-response:real (param $handle i32) (result i32)
    (if (i32.ne (local.get $handle) (i32.const 0x10000002)) (then (return (local.get $handle))))
    (if (i32.eq (global.get $response) (i32.const 1)) (then (call $spill)))
    (global.get $response:behind))

  (func $outgoing-response:taken (param $handle i32) (result i32)
    (local $real i32)
    (local.set $real (call $outgoing-response:real (local.get $handle)))
    (if (i32.eq (local.get $handle) (i32.const 0x10000002))
      (then
        (global.set $response (i32.const 3))
        (global.set $response:behind (i32.const 0))))
    (local.get $real))

  (func $outgoing-body:real (param $handle i32) (result i32)
    (if (i32.ne (local.get $handle) (i32.const 0x10000003)) (then (return (local.get $handle))))
    (if (i32.eq (global.get $body) (i32.const 1)) (then (call $spill)))
    (global.get $body:behind))

  (func $outgoing-body:taken (param $handle i32) (result i32)
    (local $real i32)
    (local.set $real (call $outgoing-body:real (local.get $handle)))
    (if (i32.eq (local.get $handle) (i32.const 0x10000003))
      (then
        (global.set $body (i32.const 3))
        (global.set $body:behind (i32.const 0))))
    (local.get $real))

  (func $output-stream:real (param $handle i32) (result i32)
    (if (i32.ne (local.get $handle) (i32.const 0x10000004)) (then (return (local.get $handle))))
    (if (i32.eq (global.get $stream) (i32.const 1)) (then (call $spill)))
    (global.get $stream:behind))

  (func $incoming-request:real (param $handle i32) (result i32)
    (if (i32.ne (local.get $handle) (i32.const 0x10000005)) (then (return (local.get $handle))))
    (if (i32.eqz (global.get $request))
      (then
        (global.set $request (i32.const 2))
        (global.set $request:behind (call $host:request))))
    (global.get $request:behind))

  (func $response-outparam:taken (param $handle i32) (result i32)
    (if (i32.ne (local.get $handle) (i32.const 0x10000006)) (then (return (local.get $handle))))
    (if (global.get $outparam) (then (return (i32.const 0))))
    (global.set $outparam (i32.const 3))
    (call $host:outparam))

  ;; --- the whole call: the status (0: none here; bit 16: with a date), the size of the lines, lines and body

  (func $run (export "run") (result i32)
    (call $guest:handle (i32.const 0x10000005) (i32.const 0x10000006))
    (call $guest:post-return)
    (i32.store $s (i32.const 8) (i32.const 64))
    (if (i32.eq (global.get $outparam) (i32.const 4))
      (then
        (if (i32.or (i32.eqz (global.get $body)) (i32.eq (global.get $body) (i32.const 4)))
          (then
            (i32.store $s (i32.const 0)
              (i32.or (global.get $status) (i32.shl (global.get $dated) (i32.const 16))))
            (i32.store $s (i32.const 4) (i32.sub (global.get $lines:end) (i32.const 64)))
            (i32.store $s (i32.const 12) (i32.sub (global.get $end) (i32.const 64))))
          (else (i32.store $s (i32.const 0) (i32.const 500)))))) ;; it left its body unfinished
    (i32.const 0))
"""
