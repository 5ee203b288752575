"""The treatment room from its collision model, the clearance map beside it, and the dry run of the planned path."""

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical

from igrt_hw.models.room import RoomQuestion
from igrt_hw.models.status import LoopState
from igrt_tui import room_picture
from igrt_tui.grid import Grid
from igrt_tui.room_store import RoomStore
from igrt_tui.screens.base import OperatorScreen
from igrt_tui.view_model import room
from igrt_tui.view_model.local import Scene
from igrt_tui.widgets.cells import Cells
from igrt_tui.widgets.panel import Panel

SPAN_MM, SPAN_MIN_MM, SPAN_MAX_MM = 3000.0, 400.0, 8000.0
TURN_DEG = 10.0
ZOOM = 1.25
MAP_PERIOD_US = 10_000_000  # a map costs the service half a second of its processor
STEP, LEAP = 0.02, 0.10
NOTES_LINES = 2
DETAIL = 2  # pixels of the service to one of the screen, each way: soft edges
LOOKS: dict[str, tuple[float, float]] = {
    "1": (0.0, 0.0),
    "2": (90.0, 0.0),
    "3": (270.0, 0.0),
    "4": (0.0, 90.0),
    "7": (35.0, 25.0),
}
TURNS = {
    "left": (-TURN_DEG, 0.0),
    "right": (TURN_DEG, 0.0),
    "up": (0.0, TURN_DEG),
    "down": (0.0, -TURN_DEG),
}
SCRUBS = {",": -STEP, ".": STEP, "<": -LEAP, ">": LEAP}


class RoomScreen(OperatorScreen):
    """One picture, one map, one path. Nothing here moves anything."""

    TITLE_WORDS = "Room"
    KEYS = (
        ("1-7", "views"),
        ("arrows", "orbit"),
        ("- =", "zoom"),
        ("d", "dry run"),
        (", .", "along it"),
        ("m", "map anew"),
    )
    HELP = (
        "The picture is drawn from the very parts whose clearance is measured, at the pose that couch and "
        "imager told last; its age is over it, and an old picture turns grey. A and B are the closest "
        "pair, joined by a line. 1 looks from the foot, 2 and 3 from the sides, 4 from above, 5 along the "
        "treatment beam, 6 along the kV beam, 7 and the arrow keys from an orbit; - and = zoom. d begins "
        "the dry run of the proposed path and ends it; comma and full stop go along the path, < and > in "
        "leaps: nothing moves but the picture. The map shows the clearance over gantry angle (upwards) "
        "and couch rotation (to the right) with the other axes as they stand: × contact, / too near is "
        "possible, ◆ where they are now; each character shows the worst of the cells that it stands for; "
        "m computes it anew."
    )

    def __init__(self) -> None:
        super().__init__()
        self._look = "orbit"
        self._azimuth, self._elevation = LOOKS["7"]
        self._span_mm = SPAN_MM
        self._at: float | None = None
        self._mapped_us = -MAP_PERIOD_US

    def body(self) -> ComposeResult:
        """Yield the picture at the left, words and map at the right, the path below."""
        with Horizontal(id="room-middle"):
            with Vertical(id="room-left"):
                yield Panel(id="room-caption")
                yield Cells(id="room-picture")
            with Vertical(id="room-right"):
                yield Panel(id="room-closest")
                yield Panel(id="room-notes")
                yield Panel(id="room-map-head")
                yield Cells(id="room-map")
                yield Cells(id="room-scale")
                yield Panel(id="room-map-foot")
        yield Panel(id="room-run")

    def help_words(self) -> str:
        """Name all that the picture leaves out too: beside it there is room for two lines."""
        seen = self.operator.room.seen
        notes = " ".join(f"{note}." for note in seen.picture.notes) if seen else ""
        return f"{self.HELP} What this picture leaves out: {notes}" if notes else self.HELP

    def draw_body(self, scene: Scene) -> None:
        """Ask for the next picture when it is due; draw what is here."""
        store = self.operator.room
        self._end_without_path(scene)
        self._ask(store, scene)
        left, right = self.panel("room-caption").size.width, self.panel("room-closest").size.width
        self.panel("room-caption").show(room.caption(store, scene, left))
        self.panel("room-closest").show(room.closest_panel(store, scene, right))
        notes = self.panel("room-notes")
        notes.show(room.notes_panel(store, notes.size.width, NOTES_LINES))
        self.panel("room-map-head").show(room.map_head(store, scene, right))
        self.panel("room-map-foot").show(room.map_foot(store, scene, right))
        run = self.panel("room-run")
        seen = store.seen.picture if store.seen else None
        run.show(room.run_panel(scene, self._at, seen, run.size.width))
        self.part("room-picture", Cells).show(self._picture(store, scene))
        self._draw_map(store, scene)

    def _end_without_path(self, scene: Scene) -> None:
        if self._at is not None and (scene.status is None or scene.status.proposal is None):
            self._at = None

    def _ask(self, store: RoomStore, scene: Scene) -> None:
        size = self.part("room-picture", Cells).size
        if scene.status is None or size.width < 8 or size.height < 4:
            return
        now_us = scene.local.now_us
        moving = scene.status.state is LoopState.MOVING
        question = self._question(size.width, size.height * 2)
        if store.due(question, now_us, moving):
            store.ask(question, now_us)
            work = store.fetch(self.operator.supervisor, question, now_us)
            self.operator.spawn(work, "picture of the room")
        since_us = now_us - self._mapped_us
        stale = store.map is None or bool(room.stale_because(store, scene.status))
        if stale and not moving and not store.map_waiting and not 0 <= since_us < MAP_PERIOD_US:
            self._renew_map()

    def _question(self, cols: int, rows: int) -> RoomQuestion:
        return RoomQuestion(
            width=min(640, cols * DETAIL),
            height=min(480, rows * DETAIL),
            look="beam" if self._look == "beam" else "kv" if self._look == "kv" else "orbit",
            azimuth_deg=self._azimuth,
            elevation_deg=self._elevation,
            span_mm=self._span_mm,
            path_fraction=self._at,
        )

    def _picture(self, store: RoomStore, scene: Scene) -> Grid | None:
        seen = store.seen
        if seen is None:
            return None
        old = seen.old(scene.local.now_us)
        if store.drawn is None or store.drawn[:2] != (seen, old):
            store.drawn = (seen, old, room_picture.drawn(seen.picture, old, DETAIL))
        return store.drawn[2]

    def _draw_map(self, store: RoomStore, scene: Scene) -> None:
        cells, ramp = self.part("room-map", Cells), self.part("room-scale", Cells)
        if store.map is None:
            cells.show(None)
            ramp.show(None)
            return
        place = room.position(scene.status)
        cells.show(
            room_picture.heat_map(store.map.made, cells.size.height, cells.size.width, *place)
        )
        ramp.show(room_picture.scale(ramp.size.width))

    def _renew_map(self) -> None:
        store = self.operator.room
        self._mapped_us = self.operator.now_us()
        if not store.map_waiting:
            work = store.fetch_map(self.operator.supervisor, self.operator.now_us())
            self.operator.spawn(work, "clearance map")

    def on_key(self, event: events.Key) -> None:
        """Look from elsewhere, or go along the path."""
        if self._takes(event.key, event.character):
            event.stop()
            self.operator.draw()

    def _takes(self, key: str, character: str | None) -> bool:
        if character in LOOKS:
            self._look, (self._azimuth, self._elevation) = "orbit", LOOKS[character]
        elif character in ("5", "6"):
            self._look = "beam" if character == "5" else "kv"
        elif key in TURNS:
            turn, rise = TURNS[key]
            self._look = "orbit"
            self._azimuth = (self._azimuth + turn) % 360.0
            self._elevation = max(-90.0, min(90.0, self._elevation + rise))
        elif character in ("-", "="):
            span = self._span_mm * (ZOOM if character == "-" else 1 / ZOOM)
            self._span_mm = max(SPAN_MIN_MM, min(SPAN_MAX_MM, span))
        elif character in SCRUBS:
            self._scrub(SCRUBS[character])
        elif character == "d":
            self._at = None if self._at is not None else 0.0 if self._has_path() else None
        elif character == "m":
            self._renew_map()
        else:
            return False
        return True

    def _has_path(self) -> bool:
        status = self.operator.scene().status
        return status is not None and status.proposal is not None

    def _scrub(self, step: float) -> None:
        if self._has_path():
            self._at = round(max(0.0, min(1.0, (self._at or 0.0) + step)), 4)
