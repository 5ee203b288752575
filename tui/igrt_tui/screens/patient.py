"""Open a patient: the two identifiers are typed from the wristband and compared with the plan by the supervisor."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Input

from igrt_hw.models.commands import OpenPatient
from igrt_hw.models.plan import TreatmentPlan
from igrt_tui.screens.base import OperatorScreen
from igrt_tui.view_model.local import Answer, AnswerTone, Scene
from igrt_tui.view_model.text import Line, Lines, Tone, dim, line, paragraph, rule, strong
from igrt_tui.widgets.panel import Panel

FIELDS = (
    ("patient-id", "patient ID"),
    ("birth-date", "birth date"),
    ("isocentre", "isocentre"),
    ("fraction", "fraction"),
)


class PatientScreen(OperatorScreen):
    """Choose a plan, type what the wristband says, F8 opens."""

    TITLE_WORDS = "Open patient"
    KEYS = (("Tab Enter", "next field"), ("F8", "open"), ("^N", "next plan"), ("F2", "leave"))
    HELP = (
        "Read the wristband of the person on the couch and type ID and birth date from it, not from this screen. "
        "The supervisor compares them with the plan and refuses a mismatch."
    )
    AUTO_FOCUS = "#patient-id"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f8", "open", show=False),
        Binding("ctrl+n", "next_plan", show=False),
    ]
    FIELD_HELP: ClassVar[dict[str, str]] = {
        "patient-id": "The ID on the wristband of the person on the couch, not from a list or from this screen.",
        "birth-date": "The birth date on the wristband: year, month, day, eight digits, for example 19600131.",
        "isocentre": "Which isocentre of the plan is treated; the first one is filled in.",
        "fraction": "The number of today's fraction, a whole number from 1.",
    }

    def __init__(self) -> None:
        super().__init__()
        self._plans: list[TreatmentPlan] = []
        self._chosen = 0

    def body(self) -> ComposeResult:
        """Yield the plan and the fields."""
        with Horizontal():
            with Vertical(id="patient-form"):
                for name, words in FIELDS:
                    yield Panel(id=f"{name}-label", classes="label").with_lines((line(dim(words)),))
                    yield Input(id=name)
            yield Panel(id="plan")

    def on_mount(self) -> None:
        """Ask for the plans that the service has read."""
        self.operator.spawn(self._load(), "plans")

    async def _load(self) -> None:
        self._plans = await self.operator.supervisor.plans()
        self._prefill()

    def _prefill(self) -> None:
        if self._plans:
            plan = self._plans[self._chosen]
            self.part("isocentre", Input).value = plan.isocentres[0].isocentre_id
            self.part("fraction", Input).value = "1"

    def draw_body(self, scene: Scene) -> None:
        """Show the chosen plan, and in the simulator the wristband of the simulated patient."""
        panel = self.panel("plan")
        panel.show(plan_lines(self._plans, self._chosen, scene.simulator is True, panel.size.width))

    def action_next_plan(self) -> None:
        """Choose the next plan."""
        if self._plans:
            self._chosen = (self._chosen + 1) % len(self._plans)
            self._prefill()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Go to the next field; Enter never opens."""
        self.focus_next()

    def action_open(self) -> None:
        """Send what was typed."""
        values = {name: self.part(name, Input).value.strip() for name, _ in FIELDS}
        if not self._plans:
            self.operator.answer(Answer(AnswerTone.REFUSED, "the service has read no plan"))
            return
        if not values["fraction"].isdigit() or int(values["fraction"]) < 1:
            self.operator.answer(
                Answer(AnswerTone.REFUSED, "the fraction is a whole number from 1")
            )
            return
        command = OpenPatient(
            plan_uid=self._plans[self._chosen].plan_uid,
            patient_id=values["patient-id"],
            birth_date=values["birth-date"],
            isocentre_id=values["isocentre"],
            fraction=int(values["fraction"]),
        )
        self.operator.ask(command, "Open patient", then="console")


def plan_lines(plans: list[TreatmentPlan], chosen: int, simulator: bool, width: int) -> Lines:
    """Describe the chosen plan without its two identifiers."""
    if not plans:
        return (rule("Plan", width), line(dim("asking the supervisor for its plans ...")))
    plan = plans[chosen]
    lines: list[Line] = [
        rule("Plan", width, dim(f"{chosen + 1} of {len(plans)}")),
        line(dim("patient    "), strong(plan.patient.name)),
        line(dim("plan       "), f"{plan.plan_label}  {plan.plan_name}"),
        line(dim("site       "), plan.site),
        line(dim("machine    "), plan.machine_name),
        line(dim("position   "), plan.patient_position),
        line(dim("fractions  "), str(plan.fractions)),
        line(dim("isocentres "), ", ".join(iso.isocentre_id for iso in plan.isocentres)),
        line(""),
    ]
    if simulator:
        lines += [
            rule("Wristband of the simulated patient", width),
            line(dim("patient ID "), plan.patient.patient_id),
            line(dim("birth date "), plan.patient.birth_date),
        ]
    else:
        lines += paragraph("Type ID and birth date from the wristband.", width, Tone.DIM)
    return tuple(lines)
