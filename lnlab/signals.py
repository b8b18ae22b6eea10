"""How a process is asked to end: by signals, in good order, or by the death of its parent, at once."""

import os
import signal
import threading
import time


def ending_signals() -> list[signal.Signals]:
    """SIGTERM, of batch systems and `timeout`, and SIGHUP, of a closed terminal, unless `nohup` had it ignored."""
    found = [signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # Windows has none
        found.append(signal.SIGHUP)
    return found


def end_with(parent: int) -> None:
    """End this process when the one of id `parent` is no longer its parent, however that died."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
