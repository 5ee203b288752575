"""The figures of `docs/validation.md`, again, by one command from the root of the repository:

    .venv/bin/python -m tests.validation --out validation

Steps may be named (`images ensembles wrong report`); each goes on where it was stopped, and `report` says how much of
each ensemble is there.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from detailed_patient import detailed, noisy_ct
from registration_ensembles import Ensemble, run
from registration_figures import report
from wrong_cases import run_wrong
from xray_cases import OPEN_FIELD_GLARE, SCATTER_07, CaseSet, Physics, make_images

import igrt_hw
from igrt_firmware_sim.patient import load
from igrt_hw.geometry import Frame, Pose
from igrt_hw.guidance.plan import load_plan
from igrt_hw.guidance.registration import Limits, prepare

DEMO = Path(igrt_hw.__file__).parent / "demo" / "thorax"
TRAIN = CaseSet("train", 1, 160, 10.0, 5.0)
TEN = CaseSet("test10", 1001, 250, 10.0, 5.0)
TWENTY = CaseSet("test20", 2001, 100, 20.0, 10.0)
THIRTY = CaseSet("test30", 3001, 100, 30.0, 15.0)
# How far the search reaches is asked here, not how far a site lets a patient lie from the plan.
FAR = Limits(displacement_max_mm=150.0, displacement_max_deg=45.0)
ENSEMBLES = (
    Ensemble("train_plain", TRAIN, Physics(), limits=FAR),
    Ensemble("train_scatter", TRAIN, SCATTER_07, limits=FAR),
    Ensemble("train_glare", TRAIN, OPEN_FIELD_GLARE, limits=FAR),
    Ensemble("start10", TEN, SCATTER_07, starts=2, limits=FAR),
    Ensemble("start20", TWENTY, SCATTER_07, starts=5, limits=FAR),
    Ensemble("start30", THIRTY, SCATTER_07, starts=5, limits=FAR),
    Ensemble("glare10", TEN, OPEN_FIELD_GLARE, starts=2, limits=FAR),
)


def main() -> int:
    """Run the steps; 1 when a target of the report is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("steps", nargs="*", default=["images", "ensembles", "wrong", "report"])
    parser.add_argument("--out", type=Path, default=Path("validation"))
    parser.add_argument("--only", help="only the ensembles or image sets with this in their name")
    parser.add_argument("--document", type=Path, help="a document whose tables are to be filled")
    options = parser.parse_args()
    images = options.out / "xray"
    wanted = [e for e in ENSEMBLES if not options.only or options.only in e.name]
    if "images" in options.steps:
        patient = detailed(load(DEMO))
        for cases in (TRAIN, TEN, TWENTY, THIRTY):
            make_images(patient, cases, images)
    loaded = load_plan(DEMO)
    placed = loaded.table_from_patient(loaded.plan.isocentres[0].isocentre_id, np.zeros(3))
    planned = Pose.from_matrix(placed, Frame.FIXED, Frame.PATIENT)
    ct = replace(loaded.ct, hu=noisy_ct(loaded.ct.hu))
    if "ensembles" in options.steps:
        model = prepare(ct, loaded.body_contours_dicom_mm)
        for ensemble in wanted:
            run(model, planned, ensemble, images, options.out)
    if "wrong" in options.steps:
        run_wrong(ct, loaded.body_contours_dicom_mm, planned, TEN, images, options.out)
    if "report" in options.steps:
        return report(ENSEMBLES, options.out, options.document)
    return 0


if __name__ == "__main__":
    sys.exit(main())
