"""The move, live. The space bar is the simulated hand of the demo; on real hardware the enable is in a real hand."""

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical

from igrt_tui.keys import HAND_KEY
from igrt_tui.screens.base import OperatorScreen
from igrt_tui.view_model import motion, target
from igrt_tui.view_model.local import Scene
from igrt_tui.widgets.panel import Panel


class MotionScreen(OperatorScreen):
    """Commanded against actual, progress, what lets the couch move, how to stop."""

    TITLE_WORDS = "Motion"
    HELP = (
        "The couch moves only while the pendant's enable is held and everything on the list on the right is there. "
        "Release the enable to stop; hold it again to go on. Esc or F12 is HOLD: it voids plan and permission. Once "
        "the position is verified, the target stands in the place of the pendant: where it is against its limit, one "
        "character of the trace for each view (? not seen, × beyond the limit), and why the beam is held. It is no "
        "breathing signal: views come every few seconds."
    )

    def keys_now(self, scene: Scene) -> tuple[tuple[str, str], ...]:
        """Offer the simulated hand only where there is one."""
        if scene.local.pendant.available and scene.simulator is True:
            return (("space", "keep pressed: simulated enable"), ("F2", "console"))
        return (("F2", "console"),)

    def __init__(self) -> None:
        super().__init__()
        self._samples: tuple[motion.Sample, ...] = ()

    def body(self) -> ComposeResult:
        """Yield the panels."""
        yield Panel(id="motion-axes")
        with Horizontal():
            with Vertical(id="motion-left"):
                yield Panel(id="progress")
                yield Panel(id="hold")
                yield Panel(id="pendant")
            with Vertical(id="motion-right"):
                yield Panel(id="permission")
                yield Panel(id="verification")

    def draw_body(self, scene: Scene) -> None:
        """Draw the panels."""
        self.panel("motion-axes").show(
            motion.axes_panel(scene, self.panel("motion-axes").size.width)
        )
        left, right = self.panel("progress").size.width - 2, self.panel("permission").size.width
        self._samples = motion.with_sample(self._samples, scene)
        left_s = motion.time_left_s(self._samples)
        self.panel("progress").show(motion.progress_panel(scene, left, left_s))
        self.panel("hold").show(motion.hold_panel(scene, left))
        beam_time = target.shown(scene.status)
        self.panel("pendant").show(
            target.target_panel(scene, self.operator.trace, left)
            if beam_time
            else motion.pendant_panel(scene, left)
        )
        self.panel("permission").show(motion.permission_panel(scene, right))
        self.panel("verification").show(motion.verification_panel(scene, right))

    def on_key(self, event: events.Key) -> None:
        """Squeeze the simulated enable while the key repeats."""
        if event.key == HAND_KEY:
            event.stop()
            self.operator.squeeze()
