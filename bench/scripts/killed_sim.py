"""The simulation of studies that are killed: it takes a while, and leaves a line when it starts and when it ends."""

import os
import time

SECONDS = 0.2


def simulate(a: float, b: float) -> float:
    _say("start", a, b)
    time.sleep(SECONDS)
    _say("end", a, b)
    return (a - 0.3) ** 2 + (b - 0.7) ** 2


def _say(what: str, a: float, b: float) -> None:
    fd = os.open(os.environ["CALLS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"{what} {a!r} {b!r}\n".encode())
    os.close(fd)
