"""What the simulator writes of a phantom is a plan that the service can treat: read, placed, opened and matched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from igrt_hw.guidance.imaging_protocol import protocol_for
from igrt_hw.guidance.phantom import load_phantom
from igrt_hw.guidance.plan import load_plan
from igrt_hw.server.building import described_phantoms
from igrt_hw.server.errors import JobError
from igrt_hw.server.placement import Placement
from igrt_hw.server.registering import PreparedPlan, register_phantom

phantoms = pytest.importorskip("igrt_firmware_sim.phantom", reason="this simulator has no phantoms")


@pytest.mark.parametrize("name", ["cube", "balls"])
def test_a_phantom_is_read_as_a_plan_with_two_identifiers_tolerances_and_fields(
    name: str, tmp_path: Path
) -> None:
    made = phantoms.named(name)
    phantoms.write_dicom(made, tmp_path / name, spacing_mm=4.0)
    plan = load_plan(tmp_path / name).plan
    assert plan.patient.patient_id == made.patient_id
    assert plan.patient.birth_date
    assert plan.fractions == 1
    assert len(plan.isocentres[0].setup_fields) == 2
    assert plan.tolerance.lateral_mm == 10.0
    assert protocol_for(plan.site).site == "phantom"


def test_a_described_phantom_is_known_by_its_patient_id_and_lies_where_the_plan_wants_it(
    tmp_path: Path,
) -> None:
    made = phantoms.named("cube")
    phantoms.write_dicom(made, tmp_path / "cube", spacing_mm=4.0)
    loaded = load_plan(tmp_path / "cube")
    known = described_phantoms(("PHANTOM-CUBE=cube", "PHANTOM-OTHER"))
    assert known == {"PHANTOM-CUBE": load_phantom("cube")}
    plan = PreparedPlan.of(loaded, known[loaded.plan.patient.patient_id])
    assert plan.phantom is not None
    assert np.allclose(Placement.of(loaded, "ISO1").planned.matrix(), np.eye(4))
    with pytest.raises(JobError, match="is not believed"):
        register_phantom(plan, "ISO1", plan.phantom, _empty_pair())


def _empty_pair() -> list[Any]:
    from types import SimpleNamespace

    from igrt_hw.guidance.imager_geometry import ImagerPose, PanelFormat

    panel = PanelFormat(rows=384, cols=512, pixel_pitch_mm=0.776)
    noise = np.random.default_rng(1).normal(1.0, 0.02, (384, 512)).astype(np.float32)
    return [
        SimpleNamespace(
            line_integrals=noise,
            region=np.ones((384, 512), bool),
            geometry=ImagerPose(source_angle_deg=angle, sad_mm=1000.0, sid_mm=1500.0).geometry(
                panel
            ),
        )
        for angle in (0.0, 90.0)
    ]
