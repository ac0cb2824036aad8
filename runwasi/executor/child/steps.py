"""Lists the child's steps in order, from the clone to the container's own program.

Where runtimes differ, the order here is the spec's (runtime.md#lifecycle) or the kernel's:
- the filter comes before the capabilities go only when no_new_privs is off, because loading it needs one;
- the workload is chosen as the container's user, so that permissions mean what they say, yet before any filter;
- the user is taken before the container is created: it never idles with the runtime's privileges, a bad user
  fails create, and startContainer hooks do not run as root.

Until the container is created, or an exec's program runs, the child ends with the process that creates it.
"""

from __future__ import annotations

from runwasi.executor.child.become_user import (
    become_user,
    limit_capabilities,
    limit_capabilities_again,
    lower_effective,
    make_cwd,
    own_stdio,
    raise_effective,
    stand_in_cwd,
)
from runwasi.executor.child.confine import (
    confine_wasm,
    enter_guest_view,
    enter_guest_view_late,
    filter_before_capabilities,
    filter_last,
    forbid_new_privileges,
    join_keyring,
    label_process,
    open_listener,
    prepare_guest_view,
)
from runwasi.executor.child.connect_console import bind_dev_console, connect_stdio
from runwasi.executor.child.enter_root import enter_root, mount_rootfs
from runwasi.executor.child.join_namespaces import (
    become_mapped_root,
    bring_up_loopback,
    close_setup_descriptors,
    die_with_creator,
    drop_parent_descriptors,
    enter_cgroup,
    enter_cgroup_namespace,
    enter_same_root,
    join_namespaces,
    make_time_namespace,
    outlive_creator,
    wait_for_limits,
    wait_for_parent,
)
from runwasi.executor.child.launch import (
    anticipate_engine,
    ask_for_create_runtime_hooks,
    ask_for_rlimits,
    check_room_for_starter,
    choose_workload,
    find_home,
    keep_descriptors_from_program,
    lower_rlimits,
    report_ready,
    run_create_container_hooks,
    run_start_container_hooks,
    run_workload,
    say_that_it_starts,
    stop_imports,
    wait_for_start,
)
from runwasi.executor.child.make_devices import make_devices
from runwasi.executor.child.mask_paths import mask_and_protect
from runwasi.executor.child.system_settings import set_hostname, set_scheduling, set_sysctls, show_own_command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from runwasi.executor.child.progress import InitProgress, Progress

INIT_STEPS: tuple[
    Callable[[InitProgress], None], ...
] = (  # the order is the kernel's and the spec's; do not sort
    drop_parent_descriptors,
    die_with_creator,
    show_own_command,
    enter_cgroup,
    make_time_namespace,
    wait_for_parent,
    join_namespaces,
    become_mapped_root,
    die_with_creator,
    enter_cgroup_namespace,
    bring_up_loopback,
    join_keyring,
    mount_rootfs,
    make_devices,
    wait_for_limits,
    ask_for_create_runtime_hooks,
    run_create_container_hooks,
    anticipate_engine,
    enter_root,
    stop_imports,
    make_cwd,
    connect_stdio,
    bind_dev_console,
    own_stdio,
    set_hostname,
    set_sysctls,
    mask_and_protect,
    prepare_guest_view,
    set_scheduling,
    label_process,
    become_user,
    die_with_creator,
    close_setup_descriptors,
    stand_in_cwd,
    lower_effective,
    choose_workload,
    find_home,
    confine_wasm,
    raise_effective,
    enter_guest_view,
    forbid_new_privileges,
    keep_descriptors_from_program,
    check_room_for_starter,
    outlive_creator,
    filter_before_capabilities,
    limit_capabilities,
    report_ready,
    wait_for_start,
    run_start_container_hooks,
    enter_guest_view_late,
    limit_capabilities_again,
    lower_rlimits,
    say_that_it_starts,
    open_listener,
    filter_last,
    run_workload,
)

EXEC_STEPS: tuple[Callable[[Progress], None], ...] = (  # the same, for a process that joins
    drop_parent_descriptors,
    die_with_creator,
    show_own_command,
    enter_cgroup,
    wait_for_parent,
    anticipate_engine,
    join_namespaces,
    enter_same_root,
    stop_imports,
    become_mapped_root,
    die_with_creator,
    join_keyring,
    connect_stdio,
    own_stdio,
    prepare_guest_view,
    set_scheduling,
    label_process,
    become_user,
    die_with_creator,
    close_setup_descriptors,
    stand_in_cwd,
    lower_effective,
    choose_workload,
    find_home,
    confine_wasm,
    raise_effective,
    enter_guest_view,
    forbid_new_privileges,
    keep_descriptors_from_program,
    outlive_creator,
    filter_before_capabilities,
    limit_capabilities,
    ask_for_rlimits,
    lower_rlimits,
    open_listener,
    filter_last,
    run_workload,
)
