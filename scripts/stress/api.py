"""Makes the calls of one task's life to a containerd, without ctr and without snapshots."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import grpc

_SPEC = "types.containerd.io/opencontainers/runtime-spec/1/Spec"
_TASKS = "/containerd.services.tasks.v1.Tasks"
_CONTAINERS = "/containerd.services.containers.v1.Containers"
_SIGKILL = 9
_SECONDS = 120

# Generated from the .proto file as the program starts, so their members are known only then.
messages: Any = grpc.protos("scripts/stress/containerd.proto")


class Api:
    """containerd's task service in one namespace. Every method raises grpc.RpcError."""

    def __init__(self, address: str, namespace: str) -> None:
        options = [("grpc.default_authority", "localhost"), ("grpc.enable_http_proxy", 0)]
        self._channel = grpc.insecure_channel(f"unix:{address}", options=options)
        self._metadata = (("containerd-namespace", namespace),)

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def run(self, container_id: str, runtime: str, spec: Mapping[str, Any], rootfs: str) -> int:
        """Create a container and its task, wait for the end, delete both; return the exit status."""
        task = messages.TaskRequest(container_id=container_id)
        with self.created(container_id, runtime, spec, rootfs):
            ended = self._begin(f"{_TASKS}/Wait", task, messages.WaitResponse)
            self._call(f"{_TASKS}/Start", task)
            return int(ended.result().exit_status)

    @contextlib.contextmanager
    def created(
        self, container_id: str, runtime: str, spec: Mapping[str, Any], rootfs: str
    ) -> Iterator[None]:
        """Create a container and its task; both are gone in the end, whatever the task does by then."""
        value = messages.Any(type_url=_SPEC, value=json.dumps(spec).encode())
        container = messages.Container(id=container_id, runtime=messages.Runtime(name=runtime), spec=value)
        task = messages.TaskRequest(container_id=container_id)
        mount = messages.Mount(type="bind", source=rootfs, options=["rbind", "ro"])
        self._call(f"{_CONTAINERS}/Create", messages.CreateContainerRequest(container=container))
        try:
            create = messages.CreateTaskRequest(container_id=container_id, rootfs=[mount])
            self._call(f"{_TASKS}/Create", create)
            try:
                yield
            finally:
                self._delete_task(container_id, task)
        finally:
            self._call(f"{_CONTAINERS}/Delete", messages.DeleteContainerRequest(id=container_id))

    def _delete_task(self, container_id: str, task: Any) -> None:
        try:
            self._call(f"{_TASKS}/Delete", task)
        except grpc.RpcError:  # it has not ended
            kill = messages.KillRequest(container_id=container_id, signal=_SIGKILL, all=True)
            ended = self._begin(f"{_TASKS}/Wait", task, messages.WaitResponse)
            self._call(f"{_TASKS}/Kill", kill)
            ended.result()
            self._call(f"{_TASKS}/Delete", task)

    def _call(self, method: str, request: Any) -> None:
        self._begin(method, request, messages.Empty).result()

    def _begin(self, method: str, request: Any, answer: Any) -> Any:
        call = self._channel.unary_unary(
            method,
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        return call.future(request, timeout=_SECONDS, metadata=self._metadata)
