"""How far a long row of images is, on stderr."""

import sys
import time


class Progress:
    """Says every second on a terminal, every ten elsewhere, how much is done and how long the rest takes."""

    def __init__(self, total: int | None, unit: str = "images"):
        self.total, self.done, self.unit = total, 0, unit
        self.begin = self.said = time.monotonic()
        self.live = sys.stderr.isatty()

    @property
    def rate(self) -> float:
        """Units a second, all work on them counted."""
        return self.done / max(time.monotonic() - self.begin, 1e-9)

    def add(self, number: int) -> None:
        self.done += number
        now = time.monotonic()
        if now - self.said >= (1 if self.live else 10):
            self.said = now
            print(f"\r{self}" if self.live else self, end="" if self.live else "\n", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self.live and self.said > self.begin:
            print(f"\r{self}", file=sys.stderr)

    def __str__(self) -> str:
        if not self.total:
            return f"{self.done} {self.unit}, {self.rate:.1f} {self.unit}/s"
        left = (self.total - self.done) / max(self.rate, 1e-9)
        time_left = f"{left // 60:.0f} min {left % 60:02.0f} s left"
        return f"{self.done}/{self.total} {self.unit}, {self.rate:.1f} {self.unit}/s, {time_left} "
