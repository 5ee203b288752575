"""The terminal this app draws on has gone: a closed window, a cut ssh connection.

Textual does not notice, and a signal does not always come: `make`, `nohup` and some shells keep SIGHUP from
their children. An app that nobody can see must not go on renewing the permission to move.
"""

import os
import select
import threading
from collections.abc import Callable

EXIT_CODE = 129  # 128 + SIGHUP, as a shell would report it


def watch(fd: int, gone: Callable[[], None]) -> threading.Thread:
    """Call `gone` from a thread of its own once the terminal behind `fd` has hung up."""
    poll = select.poll()
    poll.register(fd, 0)  # no wish but what is always told: hang-up, error, not open

    def wait() -> None:
        poll.poll()
        gone()

    thread = threading.Thread(target=wait, name="terminal hang-up", daemon=True)
    thread.start()
    return thread


def end_at_once() -> None:
    """Leave without tidying up: there is no screen to restore, and what is written to it may block for ever.

    The connection falls with the process, and with it this terminal's lease.
    """
    os._exit(EXIT_CODE)
