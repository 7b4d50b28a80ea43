"""How far a long row of images is, on stderr."""

import sys
import time


class Progress:
    """Says every second on a terminal, every ten elsewhere, how many images are done and how long the rest takes."""

    def __init__(self, total: int | None):
        self.total, self.done = total, 0
        self.begin = self.said = time.monotonic()
        self.live = sys.stderr.isatty()

    @property
    def rate(self) -> float:
        """Images a second, all work on them counted."""
        return self.done / max(time.monotonic() - self.begin, 1e-9)

    def add(self, images: int) -> None:
        self.done += images
        now = time.monotonic()
        if now - self.said >= (1 if self.live else 10):
            self.said = now
            print(f"\r{self}" if self.live else self, end="" if self.live else "\n", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self.live and self.said > self.begin:
            print(f"\r{self}", file=sys.stderr)

    def __str__(self) -> str:
        if not self.total:
            return f"{self.done} images, {self.rate:.1f} images/s"
        left = (self.total - self.done) / max(self.rate, 1e-9)
        time_left = f"{left // 60:.0f} min {left % 60:02.0f} s left"
        return f"{self.done}/{self.total} images, {self.rate:.1f} images/s, {time_left} "
