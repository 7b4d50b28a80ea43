"""Peak memory of this process, or of its CUDA device, in bytes."""

import ctypes
import ctypes.util
import resource

import torch


def _status(key: str) -> int:
    with open("/proc/self/status", encoding="ascii") as stream:
        for line in stream:
            if line.startswith(key + ":"):
                return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {key}")


class PeakMemory:
    """Memory of a step beyond what the process holds between steps.

    On Linux the kernel's high-water mark of resident memory, reset before each use; where it cannot be reset (some
    containers) the mark of the whole life of the process stands in, which is never lower. On CUDA PyTorch's allocator.
    """

    def __init__(self, device: str):
        self.cuda = device == "cuda"
        self.at_rest = 0

    def reset(self) -> None:
        if self.cuda:
            torch.cuda.reset_peak_memory_stats()
            self.at_rest = torch.cuda.memory_allocated()
            return
        # What malloc keeps for later would hide as much of the next step's own.
        libc = ctypes.CDLL(ctypes.util.find_library("c"))
        if hasattr(libc, "malloc_trim"):
            libc.malloc_trim(0)
        try:
            with open("/proc/self/clear_refs", "w", encoding="ascii") as stream:
                stream.write("5")
        except OSError:
            pass
        self.at_rest = _status("VmRSS")

    def read(self) -> int:
        """Bytes of the peak since ``reset`` above the level there."""
        if self.cuda:
            return torch.cuda.max_memory_allocated() - self.at_rest
        try:
            peak = _status("VmHWM")
        except OSError:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return max(peak - self.at_rest, 0)
