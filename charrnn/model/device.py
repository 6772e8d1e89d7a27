"""Where to compute and in which arithmetic: decided in one place, by checking and not by assuming."""

from __future__ import annotations

import contextlib
import dataclasses
import platform
import warnings
from typing import Literal

import torch

from charrnn.config import Device, Precision
from charrnn.errors import ConfigError
from charrnn.system import available_cores, keep_freed_memory


@dataclasses.dataclass(frozen=True)
class Machine:
    """A device and the arithmetic of its matrix products.

    Attributes:
        device: where tensors live.
        bf16: whether products run in bfloat16 while weights, losses and sums stay in float32.
    """

    device: torch.device
    bf16: bool

    @property
    def precision(self) -> Literal["fp32", "bf16"]:
        """The name that --precision knows."""
        return "bf16" if self.bf16 else "fp32"

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """The context in which forward passes run."""
        if not self.bf16:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def synchronize(self) -> None:
        """Waits until the device has done what it was told, so that a clock tells the truth."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()


def choose_machine(device: Device, precision: Precision, threads: int | None = None) -> Machine:
    """The machine that these settings mean here; also sets torch's threads and how memory is kept.

    Raises:
        ConfigError: the device, or bfloat16 on it, is not to be had.
    """
    torch.set_num_threads(threads or available_cores())
    keep_freed_memory()
    chosen = torch.device(_choose_device(device))
    fast = _bf16_pays(chosen)
    if precision == "bf16" and not fast:
        raise ConfigError(f"--precision bf16: this {chosen.type} has no fast bfloat16; use --precision fp32")
    return Machine(chosen, bf16=fast and precision != "fp32")


def _choose_device(device: Device) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # drivers too old are the same as none
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
    """Whether bfloat16 products are faster here than float32 ones.

    On a processor they are where it has instructions for them and oneDNN uses them; anywhere else they
    are emulated, 20 to 700 times slower.
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
