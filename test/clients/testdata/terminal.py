"""Runs a program on a terminal of its own, as nobody sits at it: what it shows
is printed. It is ended when it takes longer than the given seconds.

    terminal.py SECONDS PROGRAM ARGUMENT…
"""
import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time

limit, command = float(sys.argv[1]), sys.argv[2:]
pid, master = pty.fork()
if pid == 0:
    os.execvp(command[0], command)
fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 200, 0, 0))
deadline = time.monotonic() + limit
late = False
while True:
    left = deadline - time.monotonic()
    if left <= 0:
        os.kill(pid, signal.SIGKILL)
        late = True
        break
    ready, _, _ = select.select([master], [], [], left)
    if not ready:
        continue
    try:
        shown = os.read(master, 65536)
    except OSError:  # the program has ended
        break
    if not shown:
        break
    sys.stdout.buffer.write(shown)
    sys.stdout.buffer.flush()
_, status = os.waitpid(pid, 0)
sys.exit(124 if late else os.waitstatus_to_exitcode(status) & 0xFF)
