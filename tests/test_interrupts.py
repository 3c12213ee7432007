"""Ctrl-C within a block that holds it back: raised after it, once, and never lost."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from fmnist_lib.interrupts import held_back


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_the_block_comes_to_its_end_before_the_interrupt_is_raised() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), held_back():
        interrupt()
        done.append("the rest of the block")
    assert done and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_interrupt_is_not_held_back() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), held_back():
        interrupt()
        interrupt()
        done.append("the rest of the block")
    assert not done and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_the_block_raises_goes_on_and_nested_blocks_hold_to_the_outermost_end() -> None:
    with pytest.raises(ZeroDivisionError), held_back():
        _ = 1 // 0
    done = []
    with pytest.raises(KeyboardInterrupt), held_back():
        with held_back():
            interrupt()
        done.append("the rest of the outer block")
    assert done


def test_another_thread_is_left_alone() -> None:
    done = []

    def act() -> None:
        with held_back():
            done.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=act)
    thread.start()
    thread.join()
    assert done == [signal.default_int_handler]


def test_torchs_compiler_is_there_before_the_first_optimiser_is_made() -> None:
    code = "import sys, fmnist_lib; fmnist_lib.train_or_load; assert 'torch._dynamo' in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
