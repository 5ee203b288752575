"""The shift in full, for reading before it is approved."""

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical

from igrt_tui.screens.base import OperatorScreen
from igrt_tui.view_model import review
from igrt_tui.view_model.local import Scene
from igrt_tui.widgets.panel import Panel


class ReviewScreen(OperatorScreen):
    """Six axes of the shift, six axes of the couch, clearance, registration, checks, ages."""

    TITLE_WORDS = "Review"
    KEYS = (("F5", "read and approve"), ("F3", "images"), ("x", "reject"))
    HELP = (
        "The upper table is the shift of the patient at the isocentre in the room's frame. The lower one is what the "
        "couch's own axes will do; it is not the same, because pitch and roll turn about the table top. 'off plan' is "
        "how far the target stands from the planned couch position, against the plan's tolerance."
    )

    def body(self) -> ComposeResult:
        """Yield the two tables and the panels beside them."""
        yield Panel(id="shift")
        with Horizontal():
            with Vertical(id="review-left"):
                yield Panel(id="axes")
                yield Panel(id="age")
            with Vertical(id="review-right"):
                yield Panel(id="registration")
                yield Panel(id="clearance")
                yield Panel(id="checks")

    def draw_body(self, scene: Scene) -> None:
        """Draw the panels."""
        self.panel("shift").show(review.shift_panel(scene, self.panel("shift").size.width))
        left = self.panel("axes").size.width - 2
        right = self.panel("checks").size.width
        self.panel("axes").show(review.axes_panel(scene, left))
        self.panel("age").show(review.age_panel(scene, left))
        self.panel("registration").show(review.registration_panel(scene, right))
        self.panel("clearance").show(review.clearance_panel(scene, right))
        checks = self.panel("checks")
        checks.show(review.checks_panel(scene, right, checks.size.height))

    def key_x(self) -> None:
        """Reject the shift."""
        self.operator.start_act("x")
