"""The signals that ask a process to end in good order."""

import signal


def ending_signals() -> list[signal.Signals]:
    """SIGTERM, of batch systems and `timeout`, and SIGHUP, of a closed terminal, unless `nohup` had it ignored."""
    found = [signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # Windows has none
        found.append(signal.SIGHUP)
    return found
