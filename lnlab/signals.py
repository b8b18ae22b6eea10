"""How a process is asked to end: by signals, in good order, or by the death of its parent, at once."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

STOP_SECONDS = 30.0  # for a stopped run to reach the end of its episode and write a checkpoint


def ending_signals() -> list[signal.Signals]:
    """SIGTERM, of batch systems and `timeout`, and SIGHUP, of a closed terminal, unless `nohup` had it ignored."""
    found = [signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # Windows has none
        found.append(signal.SIGHUP)
    return found


def preemption_signals() -> list[signal.Signals]:
    """Ctrl-C, and what batch systems send ahead of SIGTERM; Windows has the first only."""
    return [signal.Signals[name] for name in ("SIGINT", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)]


@contextlib.contextmanager
def on_ending(handler: Callable[..., Any], *more: signal.Signals) -> Iterator[None]:
    """Inside the block `handler` takes the ending signals and `more`; only the main thread may set handlers."""
    main = threading.current_thread() is threading.main_thread()
    before = {each: signal.signal(each, handler) for each in [*ending_signals(), *more] if main}
    try:
        yield
    finally:
        for each, earlier in before.items():
            signal.signal(each, earlier)


def end_with_input(ask: Callable[[], object], code: int) -> None:
    """Call `ask` when whoever started this process is gone, and end it after `STOP_SECONDS`.

    The other holds the far end of the standard input and writes nothing into it: it closes, however that died.
    """

    def watch() -> None:
        os.read(0, 1)
        ask()
        time.sleep(STOP_SECONDS)
        os._exit(code)

    threading.Thread(target=watch, daemon=True).start()


def end_with(parent: int) -> None:
    """End this process when the one of id `parent` is no longer its parent, however that died."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
