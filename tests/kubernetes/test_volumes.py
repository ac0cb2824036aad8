"""A pod gets configuration and secrets of its namespace, and its containers share volumes."""

from __future__ import annotations

from devtools.kubectl import Kubectl
from devtools.waiting import until
from tests.kubernetes.images import DEMO
from tests.kubernetes.manifests import config, native, pod, wasm


def test_a_module_writes_to_the_folder_that_its_native_sidecar_reads(kubectl: Kubectl) -> None:
    mounts = [{"name": "shared", "mountPath": "/shared"}]
    sidecar = native(
        "until cat /shared/note 2>/dev/null; do sleep 0.1; done; sleep 1000",
        name="sidecar",
        volumeMounts=mounts,
        restartPolicy="Always",  # which makes it a sidecar
    )
    writer = wasm("write", "/shared/note", "from", "wasm", volumeMounts=mounts)
    kubectl.apply(
        pod(
            "both",
            writer,
            initContainers=[sidecar],
            volumes=[{"name": "shared", "emptyDir": {}}],
            restartPolicy="Never",
        )
    )
    until(
        lambda: kubectl("logs", "both", "-c", "sidecar", check=False).stdout, lambda text: text == "from wasm"
    )
    kubectl.wait("pod/both", "jsonpath={.status.phase}=Succeeded")


def test_configmaps_and_secrets_reach_a_module(kubectl: Kubectl) -> None:
    kubectl.apply(config("ConfigMap", "settings", greeting="hello"), config("Secret", "secrets", word="hush"))
    volumes = [
        {"name": "settings", "configMap": {"name": "settings"}},
        {"name": "secrets", "secret": {"secretName": "secrets"}},
    ]
    mounts = [{"name": name, "mountPath": f"/{name}", "readOnly": True} for name in ("settings", "secrets")]
    variable = {"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "secrets", "key": "word"}}}
    reader = wasm("echo", "$(WORD)", env=[variable], volumeMounts=mounts)
    # The same mounts as a native container of the image sees them: the module's own name is in the way of none.
    beside = native("cat /settings/greeting /secrets/word", volumeMounts=mounts) | {"image": DEMO}
    kubectl.apply(pod("reader", reader, beside, volumes=volumes, restartPolicy="Never"))
    kubectl.wait("pod/reader", "jsonpath={.status.phase}=Succeeded")

    assert kubectl("logs", "reader", "--container=wasm").stdout == "hush\nexiting\n"
    assert kubectl("logs", "reader", "--container=native").stdout == "hellohush"
