"""Holds the help texts of a shim and of the node daemon: who calls them, and how."""

from __future__ import annotations

_SHIM = """\
{program}: containerd's shim for pods of WebAssembly and native containers

containerd starts it; name it by its runtime in a pod's RuntimeClass, or try it with
`ctr run --runtime io.containerd.{runtime}.v1 IMAGE ID`.

usage: {program} -namespace NAME -address SOCKET -id ID [-bundle FOLDER] [-debug] start|delete
       {program} -v | -info

  -namespace NAME        containerd's namespace of the pod
  -address SOCKET        containerd's own socket
  -publish-binary FILE   containerd's program; taken, and not used: events go over ttrpc
  -id ID                 the container
  -bundle FOLDER         its bundle, for delete; start takes the current folder
  -debug                 log more
  -v                     print the version
  -info                  print what the runtime can do, for the options on standard input
"""

_DAEMON = """\
{program}: the node daemon

It answers the shims that containerd starts, forks the servers of pods, which outlive it, and serves the pods of
shared mode itself. On SIGTERM or SIGINT it takes no more pods, and ends with the last that it serves. On SIGHUP it is
replaced in place by what is installed now.

usage: {program} [-address SOCKET] [-idle SECONDS] [-debug]
       {program} -v

  -address SOCKET        where shims find it (default: {default})
  -idle SECONDS          end after so long without a call and without a pod
  -debug                 log more
  -v                     print the version
"""


def shim_help(program: str) -> str:
    """Return the help of a shim by its name, such as containerd-shim-wasmtime-v1."""
    return _SHIM.format(program=program, runtime=program.removeprefix("containerd-shim-").removesuffix("-v1"))


def daemon_help(program: str, default: str) -> str:
    """Return the help of a daemon by its name, such as containerd-wasmtimed, with its default address."""
    return _DAEMON.format(program=program, default=default)
