"""The three wheels, built and installed in a fresh environment, work from any folder and bring all they need."""

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DISTRIBUTIONS = {"igrt_hw": ".", "igrt_firmware_sim": "firmware_sim", "igrt_tui": "tui"}

pytestmark = [pytest.mark.packaging, pytest.mark.timeout(1800)]


def run(
    *command: str | Path, cwd: Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    result = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheels of all three distributions."""
    folder = tmp_path_factory.mktemp("wheels")
    sources = [ROOT / path for path in DISTRIBUTIONS.values()]
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", folder, *sources, cwd=ROOT)
    return folder


@pytest.fixture(scope="module")
def environment(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a fresh environment with the wheels and what they depend on."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", *sorted(wheels.glob("*.whl")), cwd=folder)
    return folder / "bin"


@pytest.fixture
def elsewhere(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A folder that is not the project, and an environment that does not point to it."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return tmp_path, clean


@pytest.mark.parametrize("package", sorted(DISTRIBUTIONS))
def test_a_wheel_ships_its_package_types_and_licence_and_nothing_beside(
    wheels: Path, package: str
) -> None:
    (wheel,) = wheels.glob(f"{package}-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith((".dist-info", ".data"))} == {package}
    assert f"{package}/py.typed" in names
    assert any("LICENSE" in name for name in names)


def test_the_demo_patient_travels_in_the_wheel(wheels: Path) -> None:
    (wheel,) = wheels.glob("igrt_hw-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert sum(name.startswith("igrt_hw/demo/thorax/ct/") for name in names) == 133
    assert "igrt_hw/demo/thorax/README.md" in names


def test_the_core_is_one_stable_abi_wheel(wheels: Path) -> None:
    for package in ("igrt_hw", "igrt_firmware_sim"):
        (wheel,) = wheels.glob(f"{package}-*.whl")
        assert "-cp311-abi3-" in wheel.name


def test_a_third_partys_bench_runs_where_only_the_simulator_is_installed(
    wheels: Path, elsewhere: tuple[Path, dict[str, str]]
) -> None:
    cwd, env = elsewhere
    venv.create(cwd / "env", with_pip=True)
    python = cwd / "env" / "bin" / "python"
    (wheel,) = wheels.glob("igrt_firmware_sim-*.whl")
    others = ("pytest", "pyserial", "cobs")
    run(python, "-m", "pip", "install", "--quiet", wheel, *others, cwd=cwd, env=env)
    absent = (
        "import importlib.util as u; assert not (u.find_spec('igrt_hw') or u.find_spec('igrt_tui'))"
    )
    run(python, "-c", absent, cwd=cwd, env=env)
    bench = shutil.copytree(ROOT / "firmware_sim/examples/third_party_bench", cwd / "bench")
    said = run(python, "-m", "pytest", "-q", bench, cwd=bench, env=env).stdout
    assert "6 passed" in said


@pytest.mark.parametrize("command", ["igrt", "igrt-sim", "igrt-tui"])
def test_every_command_says_what_it_is(
    environment: Path, elsewhere: tuple[Path, dict[str, str]], command: str
) -> None:
    cwd, env = elsewhere
    output = run(environment / command, "--help", cwd=cwd, env=env).stdout
    assert "not a medical device" in " ".join(output.lower().split())


def test_the_loop_runs_from_the_wheels_in_another_folder(
    environment: Path, elsewhere: tuple[Path, dict[str, str]]
) -> None:
    cwd, env = elsewhere
    report = cwd / "report.json"
    run(environment / "igrt", "demo", "--script", "--seed", "3", "--json", report, cwd=cwd, env=env)
    assert json.loads(report.read_text())["verified"] is True
