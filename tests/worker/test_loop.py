"""The supervisor's loop."""

from __future__ import annotations

import os
import threading
import time

from tether.worker.loop import Loop


def _turned(loop: Loop) -> None:
    loop.after(1.0, loop.end)
    loop.turn_until_ended()
    loop.close()


def test_other_threads_may_post() -> None:
    """What another thread posts happens in the loop's thread, soon."""
    loop, seen = Loop(), list[int]()
    main = threading.get_ident()

    def say() -> None:
        seen.append(threading.get_ident())
        loop.end()

    threading.Thread(target=lambda: loop.post(say)).start()
    _turned(loop)
    assert seen == [main]


def test_a_fault_in_a_callback_costs_that_callback_only() -> None:
    """One attempt's fault is not another's."""
    loop, seen = Loop(), list[str]()

    def fail() -> None:
        raise RuntimeError("this callback is at fault")

    loop.post(fail)
    loop.post(lambda: seen.append("next"))
    loop.after(0.01, loop.end)
    _turned(loop)
    assert seen == ["next"]


def test_a_flood_of_messages_does_not_delay_a_deadline() -> None:
    """Deadlines are looked at before and between what is readable."""
    loop, fired = Loop(), list[float]()
    reader, writer = os.pipe()
    os.write(writer, b"x")
    loop.watch(reader, lambda: time.sleep(0.002))
    due_s = time.monotonic() + 0.05
    loop.at(due_s, lambda: fired.append(time.monotonic() - due_s))
    loop.after(0.1, loop.end)
    _turned(loop)
    assert len(fired) == 1
    os.close(reader)
    os.close(writer)


def test_a_number_that_is_used_again_belongs_to_its_new_owner() -> None:
    """A descriptor closed without unwatching does not keep the next one with its number from being watched."""
    loop, seen = Loop(), list[bytes]()
    reader, writer = os.pipe()
    loop.watch(reader, lambda: None)
    os.close(reader)
    again, writer2 = os.pipe()
    assert again == reader

    def read() -> None:
        seen.append(os.read(again, 10))
        loop.end()

    loop.watch(again, read)
    os.write(writer2, b"new")
    _turned(loop)
    assert seen == [b"new"]
    for fd in (writer, again, writer2):
        os.close(fd)


def test_a_cancelled_timer_does_not_fire() -> None:
    """Cancel means never."""
    loop, seen = Loop(), list[int]()
    timer = loop.after(0.01, lambda: seen.append(1))
    timer.cancel()
    loop.after(0.05, loop.end)
    _turned(loop)
    assert not seen
