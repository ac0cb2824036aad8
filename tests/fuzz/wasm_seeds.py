"""Modules and components for the targets to begin with: small, and with what the product looks at."""

from __future__ import annotations

from runwasi.engines.wasmtime_capi import wat_to_wasm

_MODULES = (
    '(module (func (export "_start")) (memory (export "memory") 1))',
    (
        '(module (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))'
        ' (func (export "_initialize")) (func (export "run") (result i32) i32.const 0))'
    ),
    (
        '(module (import "env" "t" (table 1 2 funcref)) (import "env" "m" (memory i64 1 2))'
        ' (import "env" "g" (global (mut i64))) (import "env" "e" (tag (param i32)))'
        ' (memory 1) (func (export "_start")))'
    ),
    (
        '(module (type (func (param i32 f64) (result i64))) (func (export "f") (type 0) i64.const 1)'
        ' (table (export "t") 3 funcref) (global (export "g") i32 (i32.const 7)) (data "abc"))'
    ),
)
_COMPONENTS = (
    "(component)",
    (
        '(component (import "wasi:cli/stdout@0.2.3" (instance (export "t" (type (sub resource)))))'
        ' (import "plain" (func)) (export "again" (func 0)) (type $s string) (export "text" (type $s)))'
    ),
    (
        '(component (import "host" (func $h (param "a" u32) (result string)))'
        ' (core module $m (memory (export "memory") 1)'
        ' (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 0))'
        " (core instance $i (instantiate $m))"
        " (core func $l"
        ' (canon lower (func $h) (memory (core memory $i "memory")) (realloc (core func $i "realloc"))))'
        ' (core module $n (import "x" "h" (func (param i32 i32))) (func (export "r") (result i32) i32.const 0))'
        ' (core instance $j (instantiate $n (with "x" (instance (export "h" (func $l))))))'
        ' (func $r (result u32) (canon lift (core func $j "r")))'
        ' (instance $e (export "run" (func $r))) (export "wasi:cli/run@0.2.0" (instance $e)))'
    ),
)

MODULES = tuple(wat_to_wasm(text.encode()) for text in _MODULES)
COMPONENTS = tuple(wat_to_wasm(text.encode()) for text in _COMPONENTS)
