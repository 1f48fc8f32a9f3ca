"""Run a command and print what it used, as JSON: wall seconds, peak MB, exit code, last words.

    python scripts/tables/watcher.py LIMIT COMMAND...

A command that takes more than LIMIT seconds is stopped. The peak of the memory is at least that of
this small process, about 10 MB.
"""

import json
import os
import signal
import sys
import tempfile
import time


def main() -> None:
    """Run the command."""
    if len(sys.argv) < 3:
        sys.exit("usage: watcher.py LIMIT COMMAND...")
    limit, call = float(sys.argv[1]), sys.argv[2:]
    with tempfile.TemporaryFile() as said, open(os.devnull, "wb") as nowhere:
        files = [(os.POSIX_SPAWN_DUP2, said.fileno(), 2)]
        files.append((os.POSIX_SPAWN_DUP2, nowhere.fileno(), 1))
        start = time.perf_counter()
        try:
            pid = os.posix_spawnp(call[0], call, os.environ, file_actions=files)
        except OSError as error:
            sys.exit(f"{call[0]}: {error.strerror}")
        signal.signal(signal.SIGALRM, lambda *_: os.kill(pid, signal.SIGKILL))
        signal.setitimer(signal.ITIMER_REAL, limit)
        _, status, usage = os.wait4(pid, 0)
        seconds = time.perf_counter() - start
        said.seek(0)
        words = said.read()[-2000:].decode(errors="replace")
    if seconds >= limit:
        words = f"it took more than {limit:.0f} s"
    peak = usage.ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
    print(json.dumps([seconds, peak, os.waitstatus_to_exitcode(status), words]))


if __name__ == "__main__":
    main()
