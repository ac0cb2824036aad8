"""Clients of a service, who choose among its ready pods as a node's proxy does."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import subprocess
import threading
import urllib.request
from collections.abc import Iterator

from devtools.kubectl import Kubectl
from devtools.waiting import until

_SLICES = "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices?watch=1&labelSelector=kubernetes.io/service-name={}"
_CLIENTS = 3


class Load:
    """The clients' results."""

    def __init__(self, port: int) -> None:
        self.addresses: list[str] = []
        self.answered = 0
        self.failed: list[str] = []
        self.over = threading.Event()
        self._port = port

    def follow(self, lines: Iterator[str]) -> None:
        """Take over the ready addresses as the API server tells them, a line of JSON for each change."""
        for line in lines:
            endpoints = json.loads(line)["object"]["endpoints"] or ()
            self.addresses = [at["addresses"][0] for at in endpoints if at["conditions"]["ready"]]

    def ask(self) -> None:
        """Send one request after the other until it is over."""
        while not self.over.is_set():
            address = random.choice(self.addresses)
            try:
                with urllib.request.urlopen(f"http://{address}:{self._port}/", timeout=20) as answer:
                    answer.read()
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(f"{address}: {error!r}")
            else:
                self.answered += 1


@contextlib.contextmanager
def under_load(kubectl: Kubectl, service: str, port: int) -> Iterator[Load]:
    """Clients that ask a service's pods for as long as the block runs."""
    load = Load(port)
    command = kubectl.command("get", "--raw", _SLICES.format(kubectl.namespace, service))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watch:
        assert watch.stdout
        threads = [threading.Thread(target=load.follow, args=[watch.stdout])]
        threads[0].start()
        try:
            until(lambda: load.addresses, bool)
            threads += [threading.Thread(target=load.ask) for _ in range(_CLIENTS)]
            for thread in threads[1:]:
                thread.start()
            yield load
        finally:
            load.over.set()
            watch.kill()
            for thread in threads:
                thread.join()
