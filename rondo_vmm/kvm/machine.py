"""The machine on /dev/kvm: a VM, its CPUs, and for Linux the interrupt controllers of the host's kernel."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

from rondo_vmm.boot.kernel import Start
from rondo_vmm.devices.board import Board
from rondo_vmm.kvm import cpuid
from rondo_vmm.kvm.vcpu import KvmVcpu
from rondo_vmm.kvm.vm import KvmVm

EMULATED_MEND = "if /dev/kvm is itself emulated here, give --emulated-host"


class KvmMachine:
    """Virtual CPUs on /dev/kvm. `stop` needs `install_kick` to have been called from the main thread."""

    name = "kvm"

    def __init__(self, board: Board, vcpus: int = 1, linux: bool = False, emulated_host: bool = False) -> None:
        """Create VM and CPUs.

        Args: `linux`: with interrupt controllers and CPUID, so that HLT waits for interrupts in the host's kernel;
            without, HLT is an exit; `emulated_host`: let CPUID deny what hosts that emulate /dev/kvm lack.
        Raises: KvmError, VmmError, ConfigError.
        """
        self._board = board
        self._vm = KvmVm(board.memory, irqchip=linux)
        self._linux = linux
        self.vcpus: list[KvmVcpu] = []
        lock = threading.Lock() if vcpus > 1 else None
        mend = ("use another host" if emulated_host else EMULATED_MEND) if linux else "use --machine soft"
        try:
            self._vm.check_vcpus(vcpus)
            supported = self._vm.supported_cpuid() if linux else []
            for number in range(vcpus):
                vcpu = KvmVcpu(board, self._vm.create_vcpu(number), self._vm.vcpu_map_bytes, lock, mend)
                self.vcpus.append(vcpu)
                if linux:
                    vcpu.set_features(cpuid.pack(cpuid.for_vcpu(supported, number, vcpus, emulated_host)))
        except BaseException:
            self.close()
            raise

    @property
    def completed(self) -> dict[str, int]:
        """Instructions by name that the monitor ran because the host's KVM cannot."""
        total: Counter[str] = Counter()
        for vcpu in self.vcpus:
            total.update(vcpu.completed)
        return dict(total)

    def set_up(self, start: Start) -> None:
        """Make the first CPU ready; the others wait for it to start them. Raises: KvmError."""
        self.vcpus[0].set_up(start)

    def interrupt_line(self, irq: int) -> Callable[[int], None]:
        """Give what sets the level of an interrupt line; without interrupt controllers it does nothing."""
        return self._vm.interrupt_line(irq) if self._linux else _ignore

    def stop(self) -> None:
        """Take every CPU out of the guest, or out of its sleep."""
        self._board.stop()
        for vcpu in self.vcpus:
            vcpu.stop()

    def close(self) -> None:
        """Unmap and close."""
        for vcpu in self.vcpus:
            vcpu.close()
        self._vm.close()


def _ignore(_level: int) -> None:
    """Take a level where there is no interrupt controller."""
