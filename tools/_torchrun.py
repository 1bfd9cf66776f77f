"""Start several processes of a tool on this node by torchrun; for dist_train.py and dist_test.py.

torchrun passes a signal on and waits for its processes to save. A second signal, which is often a
mere echo (``timeout`` signals its child and the group, Slurm every process), would break that wait
off, and a third one would leave the processes without it. So echoes are passed over here.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

TOOLS = Path(__file__).resolve().parent
NODE_0_SECONDS = 1800  # that other nodes wait for it; torchrun's default is one minute
SIOCGIFADDR = 0x8915  # of Linux: the address of an interface
ECHO_SECONDS = 5.0  # of mmdet_maskr.engine.signals, whose import would take seconds


def run_tool(tool: str, usage: str, before: int, max_restarts: int) -> None:
    """Run ``tool`` as the command line says, which has ``before`` words and then PROCESSES.

    Exits with code 2 where words are missing or PROCESSES is no number.
    """
    words = sys.argv[1:]
    if len(words) <= before or words[0] in ("-h", "--help"):
        print(usage.strip(), file=sys.stderr)
        sys.exit(0 if words[:1] in (["-h"], ["--help"]) else 2)
    processes = words[before]
    if not (processes.isdecimal() and int(processes) >= 1):
        text = f"the number of processes must be a whole number from 1, not {processes!r}."
        print(f"error: {text}", file=sys.stderr)
        sys.exit(2)
    os.environ.update(environment(int(processes), os.environ))
    rest = words[:before] + words[before + 1 :]
    start(arguments(tool, int(processes), rest, os.environ, max_restarts))


def environment(processes: int, given: Mapping[str, str]) -> dict[str, str]:
    """Variables that the processes need and that the caller has not set."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    wanted = {
        # one thread a process would be torchrun's default; processes on CPUs share the cores
        "OMP_NUM_THREADS": str(max(1, cores // processes)),
        # saving may take longer than torchrun's 30 s from a signal to SIGKILL
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "120",
    }
    address = local_address(given)
    if given.get("NNODES", "1") != "1" and address is not None:
        # gloo looks for its own name too, and NCCL jobs have a group of it
        name = interface_of(address)
        if name is not None:
            wanted["GLOO_SOCKET_IFNAME"] = name
    found = {name: given.get(name) or value for name, value in wanted.items()}
    # A restart needs a rendezvous and a store of its own: in torchrun's usual ones, the new
    # processes read the addresses of those that are gone.
    return found | {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}


def local_address(given: Mapping[str, str]) -> str | None:
    """Where other processes find this node; None where its own name says it, or the caller does.

    A node alone is at 127.0.0.1, as its name may lead nowhere. Names of several often lead each to
    itself (Debian's 127.0.1.1), or nowhere; then it is the address that leads to MASTER_ADDR.
    """
    if given.get("NNODES", "1") == "1":
        return "127.0.0.1"
    if given.get("PET_LOCAL_ADDR") or _name_leads_here():
        return None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((given.get("MASTER_ADDR", "127.0.0.1"), int(given.get("PORT", "29500"))))
        except OSError:  # torchrun says that there is no way to it
            return None
        return probe.getsockname()[0]  # nothing is sent


def _name_leads_here() -> bool:
    try:
        return not socket.gethostbyname(socket.gethostname()).startswith("127.")
    except OSError:
        return False


def interface_of(address: str) -> str | None:
    """Name of the network interface with an IPv4 address, such as ``eth0``; None if unknown."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            try:
                found = fcntl.ioctl(probe.fileno(), SIOCGIFADDR, request)
            except OSError:  # it has none
                continue
            if socket.inet_ntoa(found[20:24]) == address:
                return name
    return None


def arguments(
    tool: str, processes: int, rest: Sequence[str], given: Mapping[str, str], max_restarts: int
) -> list[str]:
    """Arguments of torchrun. ``given`` has NNODES, NODE_RANK, MASTER_ADDR, PORT, MAX_RESTARTS."""
    nodes, port = given.get("NNODES", "1"), given.get("PORT", "29500")
    is_host = int(given.get("NODE_RANK", "0") == "0")
    address = local_address(given)
    local = [] if address is None else [f"--local_addr={address}"]
    # a node may be started long before node 0, which has the store
    waits = "" if is_host else f",read_timeout={NODE_0_SECONDS}"
    return [
        f"--nnodes={nodes}",
        "--rdzv_backend=c10d",
        f"--rdzv_endpoint={given.get('MASTER_ADDR', '127.0.0.1')}:{port}",
        f"--rdzv_id={port}",
        f"--rdzv_conf=is_host={is_host}{waits}",
        *local,
        f"--nproc_per_node={processes}",
        f"--max_restarts={given.get('MAX_RESTARTS', max_restarts)}",
        str(TOOLS / tool),
        *rest,
        "--launcher",
        "pytorch",
    ]


def start(words: list[str]) -> None:
    """torchrun in this process, deaf to echoes of signals."""
    from torch.distributed.elastic.multiprocessing import api
    from torch.distributed.run import main

    pass_on = api._terminate_process_handler
    last = -float("inf")

    def pass_on_unless_echo(number: int, frame: FrameType | None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= ECHO_SECONDS:
            last = now
            pass_on(number, frame)

    api._terminate_process_handler = pass_on_unless_echo
    os.environ["MMDET_MASKR_LAUNCHER"] = str(os.getpid())  # whom wrong input tells to end
    try:
        main(words)
    except api.SignalException as error:  # its processes have saved and said so
        sys.exit(128 + int(error.sigval))
