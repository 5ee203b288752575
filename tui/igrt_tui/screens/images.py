"""The kV pair beside each other, alone or with the DRR; a match by hand; a region to be registered."""

from dataclasses import replace

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical

from igrt_hw.client import KvImage
from igrt_hw.geometry import Correction
from igrt_hw.models.commands import DrawnRegion, RegisterImages
from igrt_hw.models.status import ImageView, SupervisorStatus
from igrt_tui import image_marks, picture
from igrt_tui.graphics import Graphics
from igrt_tui.picture import OVERLAYS, Crop, Overlay
from igrt_tui.picture_store import drr_key, latest_pair
from igrt_tui.screens.base import OperatorScreen
from igrt_tui.screens.by_hand import ByHandScreen
from igrt_tui.view_model import images
from igrt_tui.view_model.images import Box, Nudge
from igrt_tui.view_model.local import Answer, AnswerTone, Scene
from igrt_tui.view_model.text import dim, line
from igrt_tui.widgets.cells import Cells
from igrt_tui.widgets.panel import Panel
from igrt_tui.widgets.sharp import Shown

LEVEL_STEP = 0.05
CONTRAST_STEP = 1.15
ZOOM_STEP, ZOOM_MAX = 1.5, 12.0
PAN = 0.15
BOX_STEP = 0.02
ARROWS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
SIDES = ("one", "two")


class ImagesScreen(OperatorScreen):
    """Two images and their DRRs, seen as the keys say. Nothing is changed but by `g` and F8, and then by the rules."""

    TITLE_WORDS = "Images"
    KEYS = (
        ("v", "image, DRR or both"),
        ("d", "pose"),
        ("[ ]", "level"),
        ("- =", "contrast"),
        ("z Z", "zoom"),
        ("n", "by hand"),
        ("o", "region"),
    )
    HELP = (
        "v goes through the ways to show the pair: the kV image, the DRR computed from the planning "
        "CT, both blended, a checkerboard, the difference (grey where equal). d puts the DRR at the "
        "planned or at the registered position: a good registration makes the difference grey. "
        "[ and ] move the level, - and = the contrast, z and Z zoom, the arrows pan, 0 resets, k shows or hides the "
        "points of the plan; beside a marker stands how far it lies from where the others put it. n matches by hand: "
        "1 to 6 choose a number, left and right change it, comma and full stop "
        "change the step, the DRR follows, h takes the match to the supervisor with a reason. Such a match is doubtful "
        "by rule: a second person has to approve. o draws a region of interest on the image that Tab chooses; g then "
        "registers within it."
    )

    def __init__(self) -> None:
        super().__init__()
        self._overlay = Overlay.IMAGE
        self._registered = True
        self._level = 0.0
        self._contrast = 1.0
        self._crop = Crop()
        self._nudge: Nudge | None = None
        self._marks = True
        self._regions: dict[str, Box] = {}
        self._drawing = False
        self._side = 0
        self._sharp: dict[str, Shown] = {}

    def body(self) -> ComposeResult:
        """Yield two pictures with captions and the lines of words."""
        with Horizontal():
            for side in SIDES:
                with Vertical():
                    yield Panel(id=f"caption-{side}", classes="caption")
                    yield Cells(id=f"pixels-{side}")
                    if self.operator.graphics is not Graphics.NONE:
                        shown = Shown(self.operator.graphics, f"sharp-{side}")
                        self._sharp[side] = shown
                        yield shown.widget
        yield Panel(id="image-words")

    def keys_now(self, scene: Scene) -> tuple[tuple[str, str], ...]:
        """Offer what the keys do in a match by hand while it is open."""
        if self._nudge is None:
            return self.KEYS
        return (
            ("1-6", "number"),
            ("← →", "change"),
            (", .", "step"),
            ("v", "way"),
            ("h", "take this match"),
            ("n", "leave it"),
        )

    def draw_body(self, scene: Scene) -> None:
        """Fetch what is missing, draw what is here."""
        pair = self._pair(scene)
        self._regions = {
            uid: box for uid, box in self._regions.items() if uid in {v.image_uid for v in pair}
        }
        for index, side in enumerate(SIDES):
            self._draw_side(side, pair[index] if index < len(pair) else None, scene)
        words = [
            images.display_line(
                self._overlay,
                self._pose_words(scene.status),
                self._level,
                self._contrast,
                self._crop,
            ),
            images.match_line(scene),
            images.shift_line(scene),
            images.markers_line(scene),
            images.region_line(self._regions, self._drawing),
        ]
        if self._nudge is not None:
            likes = tuple(self._likeness(v.image_uid) for v in pair)
            words[3:] = images.nudge_lines(self._nudge, likes)
        self.panel("image-words").show(tuple(words))

    def _pair(self, scene: Scene) -> tuple[ImageView, ...]:
        return latest_pair(scene.status) if scene.status else ()

    def _likeness(self, image_uid: str) -> float | None:
        known = self.operator.pictures.nudged.get(image_uid)
        same = (
            known is not None
            and self._nudge is not None
            and known.correction == self._nudge.correction
        )
        return known.likeness if known is not None and same else None

    def _pose_words(self, status: SupervisorStatus | None) -> str:
        if self._nudge is not None:
            return "match by hand"
        return "registered position" if self._registered_now(status) else "planned position"

    def _registered_now(self, status: SupervisorStatus | None) -> bool:
        return self._registered and status is not None and status.registration is not None

    def _draw_side(self, side: str, view: ImageView | None, scene: Scene) -> None:
        caption = self.panel(f"caption-{side}")
        cells = self.part(f"pixels-{side}", Cells)
        width = caption.size.width - 1
        if view is None or scene.status is None:
            caption.show((line(dim("no image yet")),))
            cells.show(None)
            return
        image = self._image(view)
        drr, waits = self._drr(view, scene.status)
        if image is None:
            failed = view.image_uid in self.operator.pictures.failed
            waits = "could not be fetched" if failed else "fetching the image ..."
        caption.show(images.caption(view, width, waits))
        sharp = self._sharp.get(side)
        cells.display = sharp is None
        rows, cols = (
            (cells.size.height * 2, cells.size.width - 1) if sharp is None else sharp.size_px()
        )
        if image is None or rows < 2 or cols < 2:
            cells.show(None)
            if sharp is not None:
                sharp.show(None, ())
            return
        size = picture.size_within((view.rows, view.cols), rows, cols)
        grey = self._grey(image, size)
        over = self._grey(drr, size) if drr is not None else None
        shown = image_marks.coloured(picture.overlaid(grey, over, self._overlay))
        box = self._regions.get(view.image_uid)
        if box is not None:
            active = self._drawing and SIDES[self._side] == side
            image_marks.draw_box(shown, box, self._crop, active)
        points = self._points(view, scene.status)
        if sharp is not None:
            sharp.show(shown, image_marks.labels(points, view, self._crop, size))
        else:
            cells.show(image_marks.with_points(shown, points, view, self._crop))

    def _image(self, view: ImageView) -> KvImage | None:
        store = self.operator.pictures
        if view.image_uid not in store.images and store.wants(view.image_uid):
            self.operator.spawn(
                store.fetch_image(self.operator.supervisor, view.image_uid), "image"
            )
        return store.images.get(view.image_uid)

    def _drr(self, view: ImageView, status: SupervisorStatus) -> tuple[KvImage | None, str]:
        """The DRR that is shown, or None and what it waits for."""
        store, supervisor = self.operator.pictures, self.operator.supervisor
        if self._nudge is not None:
            wanted = self._nudge.correction
            if store.wants_nudged(view.image_uid, wanted):
                work = store.fetch_nudged(supervisor, view.image_uid, wanted)
                self.operator.spawn(work, "DRR by hand")
            known = store.nudged.get(view.image_uid)
            late = known is None or known.correction != wanted
            return (known.image if known else None), "DRR follows ..." if late else ""
        if self._overlay is Overlay.IMAGE:
            return None, ""
        key = drr_key(view.image_uid, self._registered_now(status), status)
        if key not in store.drrs and store.wants(key):
            self.operator.spawn(store.fetch_drr(supervisor, key), "DRR")
        found = store.drrs.get(key)
        if found is not None:
            return found, ""
        return None, "no DRR" if key in store.failed else "computing the DRR ..."

    def _points(self, view: ImageView, status: SupervisorStatus) -> image_marks.Points:
        """Points of the plan, the patient where the DRR that is shown has it."""
        if not self._marks:
            return ()
        store = self.operator.pictures
        registration = status.registration if self._registered_now(status) else None
        found: Correction | None = registration.correction if registration is not None else None
        if self._nudge is not None:
            known = store.nudged.get(view.image_uid)
            found = known.correction if known is not None else None
        key = (view.image_uid, found)
        if key not in store.landmarks and store.wants(key):
            work = store.fetch_landmarks(self.operator.supervisor, key)
            self.operator.spawn(work, "points of the plan")
        known_points = store.landmarks.get(key)
        points = known_points.points if known_points is not None else ()
        if registration is not None and self._nudge is None:
            points = image_marks.with_residuals(points, registration.markers)
        return points

    def _grey(self, image: KvImage, size: tuple[int, int]) -> picture.Grey:
        small = self.operator.pictures.small(image, size, self._crop)
        return picture.windowed(image, small, self._level, self._contrast)

    def on_key(self, event: events.Key) -> None:
        """Change how the pair is shown, the match by hand, or the region."""
        character = event.character or ""
        taken = (
            (self._drawing and self._draw_key(event.key, character))
            or (self._nudge is not None and self._nudge_key(event.key, character))
            or self._look_key(event.key, character)
        )
        if taken:
            event.stop()
            self.operator.draw()

    def _look_key(self, key: str, character: str) -> bool:
        match character:
            case "v":
                self._overlay = OVERLAYS[(OVERLAYS.index(self._overlay) + 1) % len(OVERLAYS)]
            case "d":
                self._registered = not self._registered
            case "[" | "]":
                self._level += LEVEL_STEP * (1 if character == "]" else -1)
            case "-" | "=":
                self._contrast *= CONTRAST_STEP if character == "=" else 1 / CONTRAST_STEP
            case "z" | "Z":
                zoom = self._crop.zoom * (ZOOM_STEP if character == "z" else 1 / ZOOM_STEP)
                self._crop = replace(self._crop, zoom=min(ZOOM_MAX, max(1.0, zoom)))
            case "k":
                self._marks = not self._marks
            case "n":
                self._toggle_nudge()
            case "o":
                self._toggle_region()
            case "0":
                self._level, self._contrast, self._crop = 0.0, 1.0, Crop()
            case _:
                if key not in ARROWS:
                    return False
                across, down = ARROWS[key]
                self._crop = self._crop.moved(across * PAN, down * PAN)
        return True

    # The match by hand

    def _toggle_nudge(self) -> None:
        if self._nudge is not None:
            self._nudge = None
            return
        status = self.operator.scene().status
        if status is None or not latest_pair(status):
            self.operator.answer(Answer(AnswerTone.REFUSED, "there are no images to match"))
            return
        start = (
            status.registration.correction if status.registration else Correction(0, 0, 0, 0, 0, 0)
        )
        a, b, c, d, e, f = start.values()
        self._nudge = Nudge((a, b, c, d, e, f))
        self._drawing = False
        if self._overlay is Overlay.IMAGE:
            self._overlay = Overlay.CHECKERBOARD

    def _nudge_key(self, key: str, character: str) -> bool:
        nudge = self._nudge
        if nudge is None:
            return False
        if character in "123456" and character:
            self._nudge = replace(nudge, axis=int(character) - 1)
        elif key in ("left", "right"):
            self._nudge = nudge.moved(1 if key == "right" else -1)
        elif character in (",", "."):
            self._nudge = nudge.with_step(1 if character == "." else -1)
        elif character == "h":
            self.operator.switch_screen(ByHandScreen(nudge.correction))
        else:
            return False
        return True

    # The region

    def _toggle_region(self) -> None:
        pair = self._pair(self.operator.scene())
        if not pair:
            self.operator.answer(Answer(AnswerTone.REFUSED, "there are no images to draw on"))
            return
        self._drawing = not self._drawing
        self._nudge = None
        if self._drawing:
            self._side = min(self._side, len(pair) - 1)
            self._regions.setdefault(pair[self._side].image_uid, Box())

    def _draw_key(self, key: str, character: str) -> bool:
        pair = self._pair(self.operator.scene())
        if self._side >= len(pair):
            return False
        uid = pair[self._side].image_uid
        box = self._regions.get(uid, Box())
        if key in ARROWS:
            across, down = ARROWS[key]
            self._regions[uid] = box.moved(across * BOX_STEP, down * BOX_STEP)
        elif character in ("<", ">"):
            self._regions[uid] = box.grown(BOX_STEP if character == ">" else -BOX_STEP, 0.0)
        elif character in (",", "."):
            self._regions[uid] = box.grown(0.0, BOX_STEP if character == "." else -BOX_STEP)
        elif key == "tab":
            self._side = (self._side + 1) % len(pair)
            self._regions.setdefault(pair[self._side].image_uid, Box())
        elif character == "c":
            self._regions, self._drawing = {}, False
        elif character == "g":
            self._register_within(pair)
        else:
            return False
        return True

    def _register_within(self, pair: tuple[ImageView, ...]) -> None:
        drawn = [(view, self._regions.get(view.image_uid)) for view in pair]
        regions = tuple(
            DrawnRegion(image_uid=view.image_uid, corners_px=box.corners_px(view.rows, view.cols))
            for view, box in drawn
            if box is not None
        )
        self._drawing = False
        self.operator.ask(RegisterImages(regions=regions), "Register within the drawn region")
