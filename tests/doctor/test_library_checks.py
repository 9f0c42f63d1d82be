"""What answers of libraries mean, by use. Machines and answers are made by hand."""

import answers
import boards
import pytest
from answers import MISSING, NO_DRIVER, SEGFAULT, by_name

from edgesdk.doctor import library_checks as lc
from edgesdk.doctor.checks import CPU, NOTE, OK, PROBLEM, TENSORRT, Check
from edgesdk.doctor.libraries import Answer

SIGILL = Answer({}, "killed by SIGILL")
TLS = Answer({}, "ImportError: libgomp.so.1: cannot allocate memory in static TLS block")


def nano(tmp_path, libraries=None, **others):
    known = dict(answers.NANO, **(libraries or {}))
    return answers.facts(boards.nano(tmp_path), known, **others)


def levels(facts, use):
    return {check.name: check.level for check in lc.all_checks(facts, use)}


class TestMachines:
    def test_a_nano_that_is_ready(self, tmp_path):
        found = levels(nano(tmp_path), TENSORRT)
        assert PROBLEM not in found.values()
        assert {name for name in found if found[name] == NOTE} == {"desktop", "swap", "clocks"}

    def test_a_nano_whose_cuda_kernels_were_not_built(self, tmp_path):
        facts = nano(tmp_path, has_cuda_kernels=False)
        found = by_name(lc.all_checks(facts, TENSORRT))["CUDA kernels"]
        assert (found.level, found.found) == (NOTE, "not built")
        assert found.command == "EDGESDK_BUILD_CUDA=yes pip install ."
        assert by_name(lc.all_checks(facts, CPU))["CUDA kernels"].level == OK

    def test_a_pc_needs_no_gpu(self, tmp_path):
        facts = answers.facts(boards.pc(tmp_path), answers.PC)
        assert set(levels(facts, CPU).values()) == {OK}
        found = levels(facts, TENSORRT)
        stopped = {name for name in found if found[name] == PROBLEM}
        assert stopped == {"CUDA driver", "TensorRT", "pycuda"}

    def test_a_container_without_its_gpu(self, tmp_path):
        facts = answers.facts(boards.container(tmp_path), answers.PC)
        found = by_name(lc.all_checks(facts, TENSORRT))["CUDA driver"]
        assert found.level == PROBLEM and found.command == "docker run --runtime nvidia ..."

    def test_every_note_and_problem_says_what_to_do(self, tmp_path):
        broken = dict.fromkeys(answers.NANO, SEGFAULT)
        missing = dict.fromkeys(answers.NANO, MISSING)
        for number, (make, known) in enumerate(
            [(boards.orin, broken), (boards.nano, missing), (boards.container, broken)]
        ):
            facts = answers.facts(make(tmp_path / str(number)), known, kernels="reference")
            for use in (CPU, TENSORRT):
                for check in lc.all_checks(facts, use):
                    assert bool(check.advice) == (check.level != OK), check
                    assert check.found and not check.found.endswith("; ")


class TestNumpy:
    def test_a_variable_that_hides_the_fault_is_a_note(self, tmp_path):
        facts = nano(tmp_path, {"numpy": SIGILL}, environment={"OPENBLAS_CORETYPE": "ARMV8"})
        found = lc.numpy(facts, CPU)
        assert found.level == NOTE and found.command == "pip install numpy==1.19.4"

    def test_a_numpy_that_dies_is_a_problem_for_all(self, tmp_path):
        found = lc.numpy(nano(tmp_path, {"numpy": SIGILL}), CPU)
        assert found.level == PROBLEM and "OPENBLAS_CORETYPE=ARMV8" in found.command


class TestTensorRT:
    @pytest.mark.parametrize("version", ["8.2.0", "8.2.1.8", "8.5.2.2", "10.3.0"])
    def test_from_8_2_on(self, tmp_path, version):
        facts = nano(tmp_path, {"tensorrt": Answer({"version": version})})
        assert lc.tensorrt(facts, TENSORRT) == Check("TensorRT", OK, version)

    @pytest.mark.parametrize("version", ["8.0.1.6", "7.1.3", "", "8"])
    def test_older_ones_are_refused_with_the_reason(self, tmp_path, version):
        facts = nano(tmp_path, {"tensorrt": Answer({"version": version})})
        found = lc.tensorrt(facts, TENSORRT)
        assert found.level == PROBLEM and found.advice == lc.WHY_NOT_OLDER
        assert "r32.7" in found.command
        assert lc.tensorrt(facts, CPU).level == OK

    def test_hidden_by_an_environment(self, tmp_path):
        python = answers.PYTHON_36._replace(is_environment=True, sees_system_packages=False)
        found = lc.tensorrt(nano(tmp_path, {"tensorrt": MISSING}, python=python), TENSORRT)
        assert found.level == PROBLEM and "8.2.1-1+cuda10.2" in found.advice
        assert "--system-site-packages" in found.command

    def test_not_installed(self, tmp_path):
        tree = boards.nano(tmp_path).packages(nvidia_l4t_core="32.7.1-2022")
        facts = answers.facts(tree, dict(answers.NANO, tensorrt=MISSING))
        assert lc.tensorrt(facts, TENSORRT).command == "sudo apt-get install nvidia-jetpack"

    def test_a_container_needs_another_image(self, tmp_path):
        facts = answers.facts(boards.container(tmp_path), answers.PC)
        for found in (lc.tensorrt(facts, TENSORRT), lc.cuda_toolkit(facts, TENSORRT)):
            assert found.level != OK and "l4t-tensorrt" in found.advice and not found.command

    def test_a_crash_is_told(self, tmp_path):
        found = lc.tensorrt(nano(tmp_path, {"tensorrt": SEGFAULT}), TENSORRT)
        assert found.found == "killed by SIGSEGV" and "--reinstall" in found.command

    def test_openmp_that_comes_too_late(self, tmp_path):
        found = lc.tensorrt(nano(tmp_path, {"tensorrt": TLS}), TENSORRT)
        assert found.command.startswith("export LD_PRELOAD=") and "static TLS" in found.found


class TestCuda:
    def test_devices(self, tmp_path):
        found = lc.cuda(nano(tmp_path), TENSORRT)
        assert found == Check("CUDA driver", OK, "10.2, NVIDIA Tegra X1 (5.3)")

    def closed(self, facts):
        files = dict(facts.machine.gpu_files, **{"/dev/nvmap": False})
        return facts._replace(machine=facts.machine._replace(gpu_files=files))

    def test_device_files_that_this_user_may_not_open(self, tmp_path):
        found = lc.cuda(self.closed(nano(tmp_path, {"cuda": NO_DRIVER})), TENSORRT)
        assert found.level == PROBLEM and found.advice.startswith("/dev/nvmap cannot be opened")
        assert found.command == "sudo usermod -aG video $USER"

    def test_devices_that_are_hidden(self, tmp_path):
        facts = nano(tmp_path, {"cuda": NO_DRIVER}, environment={"CUDA_VISIBLE_DEVICES": ""})
        assert lc.cuda(facts, TENSORRT).command == "unset CUDA_VISIBLE_DEVICES"

    def test_a_driver_that_is_not_there(self, tmp_path):
        found = lc.cuda(nano(tmp_path, {"cuda": NO_DRIVER}), TENSORRT)
        assert "--reinstall nvidia-l4t-cuda" in found.command

    def test_a_driver_that_crashes_or_finds_nothing(self, tmp_path):
        found = lc.cuda(nano(tmp_path / "a", {"cuda": SEGFAULT}), TENSORRT)
        assert (found.level, found.found) == (PROBLEM, "killed by SIGSEGV")
        told = {"driver": "12.2", "devices": [], "driver_failure": "CUDA_ERROR_NO_DEVICE"}
        found = lc.cuda(nano(tmp_path / "b", {"cuda": Answer(told)}), TENSORRT)
        assert (found.level, found.found) == (PROBLEM, "12.2, CUDA_ERROR_NO_DEVICE")

    def test_the_toolkit_is_missed_where_pycuda_is(self, tmp_path):
        tree = boards.nano(tmp_path).remove("usr/local/cuda/bin/nvcc")
        facts = answers.facts(tree, answers.NANO)
        assert lc.cuda_toolkit(facts, TENSORRT).level == OK
        facts.libraries["pycuda"] = MISSING
        assert lc.cuda_toolkit(facts, TENSORRT).level == NOTE
        assert lc.cuda_toolkit(facts, CPU).level == OK

    def test_pycuda_is_compiled_with_nvcc(self, tmp_path):
        found = lc.pycuda(nano(tmp_path / "a", {"pycuda": MISSING}), TENSORRT)
        assert found.command == "PATH=/usr/local/cuda/bin:$PATH pip install pycuda==2022.1"
        python = answers.PYTHON_36._replace(version="3.10.12")
        facts = nano(tmp_path / "b", {"pycuda": MISSING}, python=python)
        assert lc.pycuda(facts, TENSORRT).command.endswith("install pycuda")


class TestCpu:
    @pytest.mark.parametrize(
        ("onnxruntime", "torch", "use", "level"),
        [
            (answers.NANO["onnxruntime"], MISSING, CPU, OK),
            (MISSING, answers.NANO["onnxruntime"], CPU, OK),
            (MISSING, MISSING, CPU, PROBLEM),
            (MISSING, MISSING, TENSORRT, OK),
            (SEGFAULT, MISSING, CPU, PROBLEM),
            (answers.NANO["onnxruntime"], SEGFAULT, CPU, NOTE),
        ],
    )
    def test_one_backend_is_enough(self, tmp_path, onnxruntime, torch, use, level):
        facts = nano(tmp_path, {"onnxruntime": onnxruntime, "torch": torch})
        assert lc.backends(facts, use).level == level

    def test_python_3_6_gets_the_last_one_it_can(self, tmp_path):
        facts = nano(tmp_path, {"onnxruntime": MISSING})
        assert lc.backends(facts, CPU).command == 'pip install "onnxruntime==1.10.0"'

    def test_kernels(self, tmp_path):
        facts = nano(tmp_path)
        assert lc.kernels(facts, CPU).level == OK
        slow = facts._replace(kernels="reference", kernels_failure="ImportError: not built")
        found = lc.kernels(slow, CPU)
        assert found.level == NOTE and found.command == "EDGESDK_BUILD_NATIVE=yes pip install ."
        asked = slow._replace(kernels_failure=None)
        assert lc.kernels(asked, CPU).command == "unset EDGESDK_KERNELS"

    @pytest.mark.parametrize(
        ("answer", "level"),
        [
            (answers.ZMQ, OK),
            (MISSING, NOTE),
            (Answer({"version": "22.3.0", "libzmq": "4.3.4", "has_curve": True}), NOTE),
            (Answer({"version": "25.1.2", "libzmq": "4.3.4", "has_curve": False}), NOTE),
        ],
    )
    def test_pyzmq(self, tmp_path, answer, level):
        assert lc.zmq(nano(tmp_path, {"zmq": answer}), CPU).level == level
