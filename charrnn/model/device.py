"""The device and the arithmetic of torch's computations, and how the process is set up for them."""

from __future__ import annotations

import contextlib
import dataclasses
import platform
import warnings
from collections.abc import Callable, Iterator
from typing import Literal

import torch

from charrnn.config import Device, Precision
from charrnn.errors import ConfigError
from charrnn.system import SharedCores, available_cores, keep_freed_memory


@dataclasses.dataclass(frozen=True)
class Machine:
    """A device and the arithmetic of its matrix products.

    Attributes:
        device: where the tensors are.
        bf16: whether matrix products run in bfloat16; weights, losses and sums stay in float32.
        workers: how many processes on machines like it share each step of a training.
    """

    device: torch.device
    bf16: bool
    workers: int = 1

    @property
    def precision(self) -> Literal["fp32", "bf16"]:
        """The name that ``--precision`` uses."""
        return "bf16" if self.bf16 else "fp32"

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """The context manager in which forward passes run."""
        if not self.bf16:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def synchronize(self) -> None:
        """Waits until the device has finished its work, for measuring time."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()


def prepare_torch(threads: int | None = None) -> None:
    """Sets up this process for computing: torch's number of threads, and keeping freed memory.

    Args:
        threads: the number of threads; all available cores if None.
    """
    torch.set_num_threads(threads or available_cores())
    keep_freed_memory()


@contextlib.contextmanager
def sharing_cores() -> Iterator[Callable[[], None]]:
    """Yields a function to be called now and then, which keeps torch's threads to the cores that are free.

    Threads that wait at every product for one whose core is taken are slower than a single one. At the end
    there are as many threads as before. Their number changes no more than the rounding of a sum.
    """
    cores = SharedCores(torch.get_num_threads(), torch.set_num_threads)
    try:
        yield cores.look
    finally:
        cores.restore()


def choose_machine(device: Device, precision: Precision) -> Machine:
    """The machine that these settings select on this computer; changes nothing.

    Raises:
        ConfigError: the device, or fast bfloat16 on it, is not available.
    """
    chosen = torch.device(_choose_device(device))
    fast = _bf16_pays(chosen)
    if precision == "bf16" and not fast:
        raise ConfigError(f"--precision bf16: this {chosen.type} has no fast bfloat16; use --precision fp32")
    return Machine(chosen, bf16=fast and precision != "fp32")


def _choose_device(device: Device) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about drivers that are too old, which count as none
        there = {
            "cpu": True,
            "cuda": torch.cuda.is_available(),
            "mps": torch.backends.mps.is_available(),
        }
    if device == "auto":
        return "cuda" if there["cuda"] else "cpu"
    if not there[device]:
        raise ConfigError(f"--device {device}: torch finds none on this machine; use --device cpu")
    return device


def _bf16_pays(device: torch.device) -> bool:
    """Whether matrix products are faster in bfloat16 than in float32 on this device.

    On a processor they are if it has bfloat16 instructions and oneDNN uses them; otherwise they are emulated,
    20 to 700 times slower.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    if not getattr(torch.backends.mkldnn, "enabled", True):
        return False
    if platform.machine().lower() not in {"x86_64", "amd64"}:
        return False
    native = (getattr(torch.cpu, name, None) for name in _NATIVE_BF16)
    return any(check is not None and check() for check in native)


_NATIVE_BF16 = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
