"""Mesh files: what is read is the surface that was written, and what is no solid is refused with its reason."""

import io
from pathlib import Path

import numpy as np
import pytest
import trimesh

import igrt_hw
from igrt_hw.machine import couch_top_mesh, load_machine, parse_machine
from igrt_hw.machine.components import component_labels
from igrt_hw.machine.mesh_file import MeshFileError, read_mesh
from igrt_hw.machine.room import Room, RoomError

MACHINES = Path(igrt_hw.__file__).parent / "machine" / "machines"


def _write(folder: Path, mesh: trimesh.Trimesh, suffix: str, kind: str | None = None) -> Path:
    file = folder / f"part.{suffix}"
    mesh.export(file, file_type=kind or suffix)
    return file


def _volume(vertices: np.ndarray, triangles: np.ndarray) -> float:
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    return float(np.einsum("ij,ij->", a, np.cross(b, c))) / 6.0


@pytest.mark.parametrize(
    ("suffix", "kind"), [("stl", "stl"), ("stl", "stl_ascii"), ("obj", "obj"), ("ply", "ply")]
)
def test_every_format_gives_the_surface_that_was_written(
    tmp_path: Path, suffix: str, kind: str
) -> None:
    box = trimesh.creation.box((100.0, 200.0, 300.0))
    mesh = read_mesh(_write(tmp_path, box, suffix, kind), unit="mm")
    assert _volume(mesh.vertices, mesh.triangles) == pytest.approx(6e6)
    assert np.ptp(mesh.vertices, axis=0) == pytest.approx([100.0, 200.0, 300.0])


@pytest.mark.parametrize(("unit", "scale"), [("mm", 1.0), ("cm", 10.0), ("m", 1e3), ("inch", 25.4)])
def test_the_stated_unit_decides_and_nothing_is_guessed(
    tmp_path: Path, unit: str, scale: float
) -> None:
    box = trimesh.creation.box((100.0 / scale, 200.0 / scale, 300.0 / scale))
    mesh = read_mesh(_write(tmp_path, box, "ply"), unit=unit)  # type: ignore[arg-type]
    assert np.ptp(mesh.vertices, axis=0) == pytest.approx([100.0, 200.0, 300.0], rel=1e-6)


def test_metres_for_millimetres_and_the_reverse_are_refused_with_the_unit_that_would_fit(
    tmp_path: Path,
) -> None:
    metres = _write(tmp_path, trimesh.creation.box((0.5, 2.0, 0.08)), "stl")
    with pytest.raises(MeshFileError, match=r"2 mm long, read in mm.*if it were in .*m\b"):
        read_mesh(metres, unit="mm")
    millimetres = _write(tmp_path, trimesh.creation.box((500.0, 2000.0, 80.0)), "obj")
    with pytest.raises(MeshFileError, match=r"2e\+06 mm long, read in m; .*if it were in mm"):
        read_mesh(millimetres, unit="m")
    with pytest.raises(MeshFileError, match="no unit of length"):
        read_mesh(millimetres, unit="feet")  # type: ignore[arg-type]


def test_what_is_no_surface_of_a_solid_is_refused_with_its_reason(tmp_path: Path) -> None:
    box = trimesh.creation.box((100.0, 100.0, 100.0))

    def refused(mesh: trimesh.Trimesh, match: str) -> None:
        with pytest.raises(MeshFileError, match=match):
            read_mesh(_write(tmp_path, mesh, "ply"), unit="mm")

    refused(trimesh.Trimesh(box.vertices, box.faces[:-1], process=False), "is open")
    refused(trimesh.Trimesh(box.vertices, box.faces[:, ::-1], process=False), "inside out")
    other = trimesh.creation.box((100.0, 100.0, 100.0))
    other.apply_translation((50.0, 30.0, 20.0))
    refused(trimesh.util.concatenate([box, other]), "passes through itself")
    flipped = trimesh.creation.box((50.0, 50.0, 50.0))
    flipped.invert()
    refused(trimesh.util.concatenate([box, flipped]), "inside out.*cavity")
    broken = box.vertices.copy()
    broken[3, 1] = np.nan
    refused(trimesh.Trimesh(broken, box.faces, process=False), "vertex 3 is not finite")


@pytest.mark.parametrize("suffix", ["stl", "obj", "ply"])
@pytest.mark.parametrize("content", [b"", b"solid nothing\nendsolid nothing\n", b"\x00" * 90])
def test_a_file_without_a_surface_is_refused_whatever_it_is(
    tmp_path: Path, suffix: str, content: bytes
) -> None:
    file = tmp_path / f"part.{suffix}"
    file.write_bytes(content)
    with pytest.raises(MeshFileError, match=r"part\.\w+: (is empty|cannot be read as)"):
        read_mesh(file, unit="mm")


def test_a_cut_off_file_never_becomes_a_part(tmp_path: Path) -> None:
    sphere = trimesh.creation.icosphere(subdivisions=2, radius=100.0)
    whole = io.BytesIO()
    sphere.export(whole, file_type="stl")
    content = whole.getvalue()
    for share in (0.2, 0.5, 0.9):
        file = tmp_path / "part.stl"
        file.write_bytes(content[: int(share * len(content))])
        with pytest.raises(MeshFileError):
            read_mesh(file, unit="mm")


def test_other_suffixes_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MeshFileError, match=r"end in \.stl, \.obj, \.ply"):
        read_mesh(tmp_path / "part.step", unit="mm")
    with pytest.raises(MeshFileError, match=r"part\.stl: cannot be read"):
        read_mesh(tmp_path / "part.stl", unit="mm")


def test_the_shipped_couch_top_is_what_its_script_writes() -> None:
    written = couch_top_mesh.as_stl(*couch_top_mesh.couch_top())
    assert (MACHINES / "couch_top.stl").read_bytes() == written


def test_a_mesh_part_is_as_far_away_as_its_surface_says() -> None:
    room = Room(load_machine("linac_hexapod"))
    axes = (0.0, -350.0, -122.5, 0.0, 0.0, 0.0)
    pairs = {p.parts: p for p in room.clearance(axes, 180.0, room.retracted(), exact=True).pairs}
    # The head's face stands 415 mm below the isocentre, the underside of the top 122.5 + 80.
    assert pairs["couch top", "gantry head"].lower_mm == pytest.approx(415.0 - 202.5, abs=1e-4)
    # The drum begins at y = 950; the top's head end reaches 950 - 350.
    assert pairs["couch top", "gantry drum"].lower_mm == pytest.approx(350.0, abs=1e-4)


def test_a_mesh_that_changed_after_the_machine_was_read_is_refused(tmp_path: Path) -> None:
    text = (MACHINES / "linac_hexapod.toml").read_text(encoding="utf-8")
    stl = (MACHINES / "couch_top.stl").read_bytes()
    (tmp_path / "couch_top.stl").write_bytes(stl)
    machine = parse_machine(text, origin="own.toml", folder=tmp_path)
    (tmp_path / "couch_top.stl").write_bytes(stl.replace(b"couch top", b"couch TOP", 1))
    with pytest.raises(RoomError, match=r"'couch top'.*has changed since own\.toml was read"):
        Room(machine)


def test_a_mesh_part_without_its_unit_is_refused(tmp_path: Path) -> None:
    text = (MACHINES / "linac_hexapod.toml").read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="a mesh needs file_unit"):
        parse_machine(text.replace('file_unit = "mm"', ""), origin="own.toml", folder=MACHINES)


def test_components_are_what_a_search_finds() -> None:
    random = np.random.default_rng(8)
    for _ in range(50):
        count = int(random.integers(1, 40))
        pairs = random.integers(0, count, size=(int(random.integers(0, 40)), 2))
        expected = np.arange(count)
        for _ in range(count):
            for a, b in pairs:
                expected[[a, b]] = min(expected[a], expected[b])
        assert component_labels(count, pairs).tolist() == expected.tolist()
