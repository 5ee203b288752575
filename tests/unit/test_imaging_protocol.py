"""Imaging protocols are data with sources; their dose is of the published order; the record tells who has had
how much."""

from pathlib import Path
from typing import Any

import pytest

from igrt_hw.devices.frames import BeamFilter
from igrt_hw.guidance.imaging_protocol import (
    FOLDER,
    load_protocol,
    load_tube,
    protocol_for,
    protocols,
)
from igrt_hw.guidance.refusal import InputRefused
from igrt_hw.models.record import RecordEntry
from igrt_hw.records.dose import dose_view, exposures, ledger
from igrt_hw.safety.rules import SITE_RULES
from igrt_hw.server.imaging import Technique

SITES = {"head_neck", "thorax", "pelvis", "abdomen", "breast", "extremity", "phantom"}


def test_every_site_has_a_protocol_with_a_source_for_each_technique() -> None:
    assert {protocol.site for protocol in protocols()} == SITES
    for protocol in protocols():
        assert protocol.alara
        for view in protocol.views:
            assert "background" in view.source or "20" in view.source, view.source


def test_every_site_rule_finds_its_protocol() -> None:
    known = {word for protocol in protocols() for word in (*protocol.plan_sites, protocol.site)}
    for rule in SITE_RULES:
        assert rule.site in known or rule.site == "general"
    assert protocol_for("prostate").site == "pelvis"
    assert protocol_for("spine_sbrt").site == "abdomen"
    assert protocol_for("").site == "thorax"


def test_the_dose_of_a_pair_is_of_the_published_order() -> None:
    """Walter et al. 2006 measured 0.7 and 1.1 mGy at the skin of the pelvis; planar kV is 0.1 to 3 mGy."""
    pelvis = protocol_for("pelvis")
    for angle, measured in ((0.0, 0.7), (90.0, 1.1)):
        estimate = pelvis.dose(angle)
        assert measured / 2 < estimate.entrance_skin_dose_mGy < measured * 2
    for protocol in protocols():
        for angle in (0.0, 90.0):
            assert 0.03 < protocol.dose(angle).entrance_skin_dose_mGy < 3.0


def test_tube_output_is_that_of_the_source_and_falls_with_the_square_of_the_distance() -> None:
    tube = load_tube()
    assert tube.air_kerma_mGy(80.0, 1.0, "none", 1016.0) == pytest.approx(0.0497, rel=0.01)
    near, far = (tube.air_kerma_mGy(80.0, 1.0, "none", d) for d in (500.0, 1000.0))
    assert near == pytest.approx(4.0 * far)


def test_views_from_the_side_take_the_lateral_technique_and_obliques_too() -> None:
    pelvis = protocol_for("pelvis")
    for angle, name in (
        (0, "AP"), (180, "AP"), (-170, "AP"), (44, "AP"), (45, "lateral"), (90, "lateral"),
        (-90, "lateral"), (270, "lateral"), (135, "lateral"), (136, "AP"),
    ):  # fmt: skip
        assert pelvis.view_at(float(angle)).name == name, angle


def test_the_technique_of_a_view_is_that_of_the_protocol() -> None:
    technique = Technique.of(protocol_for("pelvis"), 90.0)
    assert (technique.kvp, technique.ma, technique.ms) == (105.0, 200.0, 50.0)
    assert technique.beam_filter is BeamFilter.NONE
    assert technique.field_mm == protocol_for("pelvis").field_mm


def test_the_two_views_of_the_demonstration_have_a_voltage_each() -> None:
    frontal, lateral = (Technique.of(protocol_for("lung_sbrt"), angle) for angle in (0.0, 90.0))
    assert frontal == Technique()
    assert (lateral.kvp, lateral.ma, lateral.ms) == (95.0, 200.0, 40.0)


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ("kvp = 80.0", "kvp = 800.0", "less than or equal to 150"),
        ("ma = 200.0", "ma = 520.0", "520 mA is 20 above the range of 1 to 500 mA"),
        ("ms = 25.0", "ms = 0.3", "0.3 ms is 0.2 below the range"),
        ("ma = 200.0", "mas = 5.0", "mas"),
        ('axis = "lateral"', 'axis = "anteroposterior"', "one technique a direction"),
        ("pairs_per_fraction = 2", "pairs_per_fraction = 9", "more pairs are usual"),
        ("field_mm = [-130.0, 130.0", "field_mm = [30.0, 130.0", "does not hold the isocentre"),
        ("source =", "sauce =", "source"),
    ],
)
def test_a_file_that_is_no_protocol_is_refused(
    tmp_path: Path, old: str, new: str, word: str
) -> None:
    text = (FOLDER / "thorax.toml").read_text()
    assert old in text
    path = tmp_path / "bad.toml"
    path.write_text(text.replace(old, new))
    with pytest.raises(InputRefused, match=word):
        load_protocol(path)


def entry(sequence: int, patient: str, fraction: int, pairs: int = 1) -> RecordEntry:
    shots = [
        {
            "image_uid": f"1.{sequence}.{n}.{angle:.0f}",
            "purpose": "setup",
            "source_angle_deg": angle,
            "acquired_utc": "2026-01-01T00:00:00Z",
            "rows": 384,
            "cols": 512,
            "pitch_mm": 0.776,
            "kvp": 80.0,
            "mas": 5.0,
            "dose_area_uGycm2": 1000.0,
        }
        for n in range(pairs)
        for angle in (0.0, 90.0)
    ]
    return RecordEntry(
        sequence=sequence,
        at_us=0,
        at_utc="2026-01-01T00:00:00Z",
        kind="images",
        actor="imager",
        text="",
        data={"patient_id": patient, "fraction": fraction, "exposures": shots},
        previous="0" * 64,
        digest="0" * 64,
    )


def test_the_ledger_tells_current_and_time_and_their_product_alone_for_older_records() -> None:
    new = entry(1, "A", 1)
    data: Any = dict(new.data)
    data["exposures"] = [one | {"ma": 200.0, "ms": 25.0} for one in data["exposures"]]
    told = exposures([new.model_copy(update={"data": data}), entry(2, "A", 2)], "A")
    assert [(one.ma, one.ms, one.mas) for one in told] == 2 * [(200.0, 25.0, 5.0)] + 2 * [
        (None, None, 5.0)
    ]


def test_the_ledger_adds_up_a_patient_by_fraction_and_no_one_else() -> None:
    thorax = protocol_for("thorax")
    record = [entry(1, "A", 1, 2), entry(2, "B", 1), entry(3, "A", 2)]
    assert len(exposures(record, "A")) == 6
    known = ledger(record, "A", thorax)
    assert [(f.fraction, f.exposures, f.mas) for f in known.fractions] == [
        (1, 4, 20.0),
        (2, 2, 10.0),
    ]
    assert known.dose_area_uGycm2 == 6000.0
    tube = load_tube()
    one = tube.air_kerma_mGy(80.0, 5.0, "none", 1000.0 - 320.0 / 2) * tube.backscatter
    assert known.fractions[0].skin_dose_mGy == pytest.approx(2 * one)
    assert known.warnings == ()


def test_repeated_imaging_is_warned_of_and_so_is_a_share_of_the_prescription() -> None:
    thorax = protocol_for("thorax")
    record = [entry(n, "A", 1) for n in range(1, 6)]
    (warning,) = ledger(record, "A", thorax).warnings
    assert "fraction 1 was imaged 10 times" in warning
    many = [entry(n, "A", n) for n in range(1, 60)]
    told = " ".join(ledger(many, "A", thorax, prescribed_mGy=500.0).warnings)
    assert "of a whole course" in told
    assert "TG-180" in told


def test_an_older_record_without_exposures_is_read_as_holding_none() -> None:
    old = entry(1, "A", 1).model_copy(update={"data": {"image_uids": ["1"]}})
    assert ledger([old], "A", protocol_for("thorax")).fractions == ()


def test_an_exposure_in_both_books_counts_once_and_one_without_an_image_counts_too() -> None:
    thorax = protocol_for("thorax")
    pair = entry(1, "A", 1)
    shots = pair.data["exposures"]
    assert isinstance(shots, list)
    singles = [
        pair.model_copy(
            update={"sequence": n, "kind": "exposure", "data": {**pair.data, "exposures": [shot]}}
        )
        for n, shot in enumerate(shots, 10)
    ]
    lost = pair.model_copy(
        update={
            "sequence": 20,
            "kind": "exposure",
            "data": {
                "patient_id": "A",
                "fraction": 1,
                "exposures": [{"lost": True, "dose_area_uGycm2": 100_000.0}],
            },
        }
    )
    whole = dose_view([*singles, pair], "A", 1, thorax)
    assert (whole.exposures_in_fraction, whole.lost_in_course) == (2, 0)
    more = dose_view([*singles, pair, lost], "A", 1, thorax)
    assert (more.exposures_in_fraction, more.lost_in_course) == (3, 1)
    assert more.skin_mGy_fraction > whole.skin_mGy_fraction + 0.01
    assert more.dose_area_uGycm2_fraction == whole.dose_area_uGycm2_fraction + 100_000.0


def test_another_pair_than_usual_has_to_be_said_before_it_is_taken() -> None:
    thorax = protocol_for("thorax")
    told = [dose_view([entry(1, "A", 1, pairs)], "A", 1, thorax).repeat for pairs in (1, 2, 3)]
    assert told[0] == ""
    assert "2 are usual" in told[1]
    assert "beyond the 3" in told[2]
    nobody = dose_view([], "A", 1, thorax)
    assert nobody.repeat == ""
    assert nobody.alara == thorax.alara


# safety: SR-62
def test_views_of_the_target_count_in_every_dose_and_not_as_repeated_pairs() -> None:
    thorax = protocol_for("thorax")
    pair, watch = entry(1, "A", 1), entry(2, "A", 1, pairs=10)
    shots = watch.data["exposures"]
    assert isinstance(shots, list)
    views = [{**shot, "purpose": "monitoring"} for shot in shots]
    watched = watch.model_copy(
        update={"kind": "exposure", "data": {**watch.data, "exposures": views}}
    )
    alone = dose_view([pair], "A", 1, thorax)
    both = dose_view([pair, watched], "A", 1, thorax)
    assert both.exposures_in_fraction == 22
    assert both.dose_area_uGycm2_fraction == 22_000.0
    assert both.skin_mGy_fraction == pytest.approx(11 * alone.skin_mGy_fraction)
    assert both.repeat == alone.repeat
    assert not any("was imaged" in warning for warning in both.warnings)
