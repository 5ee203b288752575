"""The tables of `docs/validation.md` from `figures.json`: what is reached, and what runs still."""

from pathlib import Path
from typing import Any

AIM = 500
ROWS = {
    "start10": "+-10 mm +-5 deg, scatter 0.7",
    "start20": "+-20 mm +-10 deg, scatter 0.7",
    "start30": "+-30 mm +-15 deg, scatter 0.7",
    "glare10": "+-10 mm +-5 deg, open-field glare, held out",
    "train_glare": "+-10 mm +-5 deg, open-field glare, training seeds",
}
COVERED = {
    "train_scatter": "training, scatter 0.7",
    "train_glare": "training, glare (not fitted)",
    "pooled": "held out, scatter 0.7, +-10, 20 and 30 mm together",
    "start10": "held out, scatter 0.7, +-10 mm",
    "start20": "held out, scatter 0.7, +-20 mm",
    "start30": "held out, scatter 0.7, +-30 mm",
    "glare10": "held out, glare",
}


def fill(document: Path, figures: dict[str, Any]) -> None:
    """Put the tables between the marks of the document. Raises `ValueError` for a mark that is not there."""
    text = document.read_text(encoding="utf-8")
    for name, lines in (
        ("ensembles", _ensembles(figures)),
        ("covariance", _covariance(figures)),
        ("wrong cases", _wrong(figures)),
    ):
        begin, end = f"<!-- {name}: filled by the report -->\n", f"<!-- end of {name} -->"
        if text.count(begin) != 1 or text.count(end) != 1:
            raise ValueError(f"{document} has not one place for the table of {name}")
        before, rest = text.split(begin)
        _, after = rest.split(end)
        text = before + begin + "\n".join(lines) + "\n" + end + after
    document.write_text(text, encoding="utf-8")


def _ensembles(figures: dict[str, Any]) -> list[str]:
    lines = [
        "| ensemble | registrations (pairs) | ended within 1 mm | of all, believed | refused "
        "| believed beyond 1 mm | mTRE median / 95th / largest, mm |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, words in ROWS.items():
        found = figures.get(name)
        if found is None:
            lines.append(f"| {words} | 0 | not reached | | | | |")
            continue
        mtre = found["mtre_mm"]
        lines.append(
            f"| {words} | {found['registrations']} ({found['pairs']}) | {100 * found['success']:.1f} % "
            f"| {100 * found['believed_within_1_mm']:.1f} % "
            f"| {found['refused']} | {found['believed_beyond_1_mm']} "
            f"| {mtre['median']:.3f} / {mtre['p95']:.3f} / {mtre['max']:.2f} |"
        )
    short = [
        f"{name} {figures.get(name, {}).get('registrations', 0)} of {AIM}"
        for name in ("start10", "start20", "start30", "glare10")
        if figures.get(name, {}).get("registrations", 0) < AIM
    ]
    lines += ["", f"Not complete: {', '.join(short)}." if short else f"All at their {AIM}."]
    return lines


def _covariance(figures: dict[str, Any]) -> list[str]:
    lines = [
        "| pairs | squared error over 6 (1.0 is exact) | inside the 95 % region |",
        "| --- | --- | --- |",
    ]
    lines += [
        f"| {words} | {figures[name]['normalised_error']:.2f} "
        f"| {100 * figures[name]['covered']['0.95']:.1f} % of {figures[name]['pairs']} |"
        for name, words in COVERED.items()
        if name in figures
    ]
    return lines


def _wrong(figures: dict[str, Any]) -> list[str]:
    wrong = figures["wrong"]
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(wrong["of"].items())) or "none"
    believed = "; ".join(map(str, wrong["wrongly_believed"])) or "0"
    return [f"Tried: {wrong['cases']} (aim {AIM}: {kinds}). Wrongly believed: {believed}."]
