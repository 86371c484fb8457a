"""What an agent or a tool process does to itself before the first line of code that is not ours; none of it can be undone."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Mapping

from tether.agent import landlock, limits, sandbox, seccomp, syscalls
from tether.agent.adapters.environment import attempt_environment
from tether.agent.plan import Plan
from tether.agent.visible import ETC, beneath

__all__ = ["confine", "expect_signals", "ignore_signals", "new_rules", "reset_signals", "use_stdio"]

_OPEN_PLACES = ("/tmp", "/run", "/dev")
_DEVICES = tuple(f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty"))
_ALSO_READ = ("/etc/passwd", "/etc/group", "/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/host.conf")
_PROC_FACTS = ("/proc/cpuinfo", "/proc/meminfo", "/proc/filesystems", "/proc/version", "/proc/loadavg", "/proc/stat")
_MOST_LISTED = 10_000
_USUAL = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGALRM,
    signal.SIGTERM,
    signal.SIGTSTP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGCHLD,
)


def new_rules(plan: Plan) -> int | None:
    """Landlock rules for the agent and its tools, made once per attempt; None where the kernel has none."""
    if not landlock.abi():
        return None
    rules = landlock.new_rules(network=not plan.namespaces, bind=plan.spec.get("kind") == "agent_protocol")
    landlock.permit(rules, plan.visible.write, write=True)
    if plan.namespaces:
        landlock.permit(rules, ("/",), write=False)
        landlock.permit(rules, _OPEN_PLACES, write=True)
        return rules
    for root in plan.visible.read:
        _permit_around(rules, root, plan.visible.hidden)
    landlock.permit(rules, (*ETC, *_ALSO_READ, *_PROC_FACTS), write=False)
    landlock.permit(rules, _DEVICES, write=True)
    landlock.permit_connect(rules, plan.ports)
    return rules


def confine(plan: Plan, rules: int | None, limit: Mapping[str, int]) -> None:
    """Take the attempt's user, environment, folder and limits, then give up capabilities, files and system calls."""
    if not plan.namespaces:
        sandbox.take(plan.ids)
    # A process that hides its memory may not read its own /proc files either.
    syscalls.set_dumpable(True)
    os.environ.update(environment(plan))
    if not plan.namespaces:
        os.makedirs(os.environ["TMPDIR"], mode=0o700, exist_ok=True)
    limits.limit_resources(limit)
    limits.limit_processes(limit, own_uid=plan.ids.own or plan.namespaces)
    syscalls.drop_capabilities()
    if rules is not None:
        if not plan.namespaces:
            landlock.permit(rules, (f"/proc/{os.getpid()}",), write=False)
        landlock.restrict(rules)
        os.close(rules)
    if seccomp.available() is None:
        seccomp.install(only_tcp=not plan.namespaces)


def environment(plan: Plan) -> dict[str, str]:
    """The variables of the attempt on top of its zygote's."""
    scratch = "/tmp" if plan.namespaces else os.path.join(plan.workspace, ".tmp")
    own = {"HOME": plan.workspace, "TMPDIR": scratch, "USER": "agent", "LOGNAME": "agent", "PYTHONUNBUFFERED": "1"}
    return {**own, **attempt_environment(plan.spec)}


def use_stdio(stdin: int | None, stdout: int | None, stderr: int | None) -> None:
    """Make these descriptors the standard ones; None is /dev/null."""
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for number, given in enumerate((stdin, stdout, stderr)):
        os.dup2(null if given is None else given, number, inheritable=True)
    os.close(null)


def reset_signals() -> None:
    """Every signal as a new Python process expects it, whatever was imported before."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
    expect_signals()


def ignore_signals() -> None:
    """For an init: none of the usual signals ends it."""
    for number in _USUAL:
        signal.signal(number, signal.SIG_IGN)


def expect_signals(*, for_program: bool = False) -> None:
    """Undo `ignore_signals`; `for_program`: also what Python itself does not leave as other programs expect it."""
    signal.set_wakeup_fd(-1)
    for number in _USUAL:
        signal.signal(number, signal.SIG_DFL)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL if for_program else signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_DFL if for_program else signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _permit_around(rules: int, root: str, hidden: tuple[str, ...]) -> None:
    """Allow reading `root` but for what is hidden in it: rules only add, so its other entries are allowed one by one."""
    inside = tuple(path for path in hidden if beneath(path, root))
    if not inside:
        landlock.permit(rules, (root,), write=False)
        return
    if root in inside:
        return
    landlock.permit_listing(rules, root)
    for entry in sorted(os.listdir(root))[:_MOST_LISTED]:
        _permit_around(rules, os.path.join(root, entry), inside)
