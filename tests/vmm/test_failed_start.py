"""Machines that never were: no store is made for one, and a store that is there already says why."""

import os
import subprocess
import sys

import pytest

from rondo_cli.main import run
from rondo_core import Store, StoreReader
from rondo_vmm import VMM_SCHEMAS

MACHINES = [
    pytest.param("soft", marks=pytest.mark.emulator),
    pytest.param("kvm", marks=pytest.mark.kvm),
    pytest.param("qemu", marks=pytest.mark.qemu),
]


def ends(path):
    with StoreReader(path) as reader:
        return [each.ended for each in reader.runs()]


@pytest.fixture
def kernels(tmp_path, guests, machine):
    """Give kernels that cannot be booted, with what is wrong with each."""
    text, cut, head = tmp_path / "text", tmp_path / "cut", tmp_path / "head"
    text.write_text("no kernel at all\n" * 100)
    cut.write_bytes(guests.bare(bytes(1000), tmp_path / "whole").read_bytes()[:200])
    head.write_bytes(bytes(0x202) + b"HdrS" + bytes(10))
    of_cut = "a kernel for 32-bit x86" if machine == "qemu" else "truncated"
    words = ("No such file", "not a kernel", of_cut, "truncated", "directory")
    return dict(zip((tmp_path / "none", text, cut, head, tmp_path), words, strict=True))


@pytest.mark.parametrize("machine", MACHINES)
def test_a_kernel_that_cannot_be_booted_leaves_no_store(machine, kernels, path, capfd):
    """Missing, no kernel, cut short, a directory: one line names it, and nothing is left behind."""
    for kernel, words in kernels.items():
        assert run(["vmm", "--machine", machine, "--kernel", str(kernel), "--store", str(path)]) == 1
        (line,) = capfd.readouterr().err.splitlines()
        assert str(kernel) in line
        assert words in line
        assert not path.exists()


@pytest.mark.parametrize("machine", MACHINES)
def test_a_store_that_is_there_says_why_a_start_failed(machine, kernels, path):
    """In the record of runs, as its own run, which has room for the reason however long the path is."""
    with Store(path, VMM_SCHEMAS):
        pass
    for kernel in kernels:
        run(["vmm", "--machine", machine, "--kernel", str(kernel), "--store", str(path)])
    first, *others = ends(path)
    assert first == "closed"
    for ended, (kernel, words) in zip(others, kernels.items(), strict=True):
        assert ended.startswith("start failed: ")
        assert kernel.name in ended
        assert words in ended


@pytest.mark.parametrize(
    "arguments", [["--disk", "none/disk.img"], ["--disk", "none.img", "--disk-read-only"]], ids=["no directory", "none"]
)
@pytest.mark.parametrize("machine", MACHINES)
def test_a_disk_that_cannot_be_had_leaves_no_store_and_no_image(
    machine, arguments, guests, tmp_path, capfd, monkeypatch
):
    """A read-only one that is missing is refused at once, and not made."""
    monkeypatch.chdir(tmp_path)
    booted = guests.kernel(b"\xeb\xfe", tmp_path / "kernel", pvh=True) if machine == "qemu" else None
    kernel = ["--kernel", str(booted)] if booted else []
    assert run(["vmm", "--machine", machine, *kernel, *arguments, "--store", "s"]) in {1, 2}
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"rondo: {arguments[1]}: ")
    assert {each.name for each in tmp_path.iterdir()} <= {"kernel"}


@pytest.mark.emulator
def test_each_of_several_machines_says_why_it_could_not_start(tmp_path):
    """The command fails, and no store is made."""
    command = [sys.executable, "-m", "rondo_cli", "vmm", "--machine", "soft", "--kernel", "none", "--count", "2"]
    for own in ([], ["--processes"]):
        done = subprocess.run([*command, *own], cwd=tmp_path, check=False, capture_output=True, text=True, timeout=60)
        assert done.returncode == 1
        assert done.stderr.count("none: No such file or directory") == 2
        assert list(tmp_path.iterdir()) == []


@pytest.mark.emulator
def test_an_exporter_that_cannot_be_had_leaves_no_store(tmp_path, path, capfd):
    """It is found before anything is made."""
    config = tmp_path / "rondo.toml"
    config.write_text(f'[exporters.lines]\nplugin = "jsonl"\npath = "{tmp_path}/none/out.jsonl"\n')
    assert run(["vmm", "--machine", "soft", "--duration", "1", "--store", str(path), "--config", str(config)]) == 2
    assert "none" in capfd.readouterr().err
    assert not path.exists()


@pytest.mark.qemu
def test_a_qemu_that_does_not_answer_is_given_up_when_the_end_is_asked_for(tmp_path, path, guests):
    """Its monitor never greets; a signal ends it at once, and the store that is there says by which."""
    with Store(path, VMM_SCHEMAS):
        pass
    false = tmp_path / "bin" / "qemu-system-x86_64"
    false.parent.mkdir()
    begun = tmp_path / "begun"
    os.mkfifo(begun)
    false.write_text(f"#!/bin/sh\necho > {begun}\nexec sleep 600\n")
    false.chmod(0o755)
    kernel = guests.kernel(b"\xeb\xfe", tmp_path / "kernel", pvh=True)
    command = [sys.executable, "-m", "rondo_cli", "vmm", "--machine", "qemu", "--kernel", kernel, "--store", path]
    environment = {**os.environ, "PATH": f"{false.parent}:{os.environ['PATH']}"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        begun.read_text()
        process.terminate()
        said = process.stderr.read()
        assert process.wait(60) == 143
    assert said == "rondo: signal 15 before the machine had started\n"
    assert ends(path)[-1] == "signal 15"
