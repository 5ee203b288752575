"""The kV pair beside each other, alone or with the DRR, in half blocks."""

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical

from igrt_hw.client import KvImage
from igrt_hw.models.status import ImageView, SupervisorStatus
from igrt_tui import picture
from igrt_tui.picture import OVERLAYS, Overlay
from igrt_tui.picture_store import drr_key, latest_pair
from igrt_tui.screens.base import OperatorScreen
from igrt_tui.view_model import images
from igrt_tui.view_model.local import Scene
from igrt_tui.view_model.text import dim, line
from igrt_tui.widgets.panel import Panel
from igrt_tui.widgets.pixels import Pixels

LEVEL_STEP = 0.05
CONTRAST_STEP = 1.15


class ImagesScreen(OperatorScreen):
    """Two images, one way of showing them, window and level by keys."""

    TITLE_WORDS = "Images"
    KEYS = (
        ("v", "image/DRR/blend/checks/difference"),
        ("d", "DRR pose"),
        ("[ ]", "level"),
        ("- =", "contrast"),
        ("0", "reset"),
    )
    HELP = (
        "v goes through the ways to show the pair: the kV image, the DRR computed from the planning "
        "CT, both blended, a checkerboard, the difference (grey where equal). d puts the DRR at the "
        "planned or at the registered position: a good registration makes the difference grey. "
        "[ and ] move the level, - and = the contrast, 0 resets."
    )

    def __init__(self) -> None:
        super().__init__()
        self._overlay = Overlay.IMAGE
        self._registered = True
        self._level = 0.0
        self._contrast = 1.0

    def body(self) -> ComposeResult:
        """Yield two pictures with captions and three lines of words."""
        with Horizontal():
            for side in ("one", "two"):
                with Vertical():
                    yield Panel(id=f"caption-{side}", classes="caption")
                    yield Pixels(id=f"pixels-{side}")
        yield Panel(id="image-words")

    def draw_body(self, scene: Scene) -> None:
        """Fetch what is missing, draw what is here."""
        pair = latest_pair(scene.status) if scene.status else ()
        for index, side in enumerate(("one", "two")):
            image = pair[index] if index < len(pair) else None
            self._draw_side(side, image, scene)
        registered = self._registered_now(scene.status)
        self.panel("image-words").show(
            (
                images.display_line(self._overlay, registered, self._level, self._contrast),
                images.match_line(scene),
                images.shift_line(scene),
            )
        )

    def _registered_now(self, status: SupervisorStatus | None) -> bool:
        return self._registered and status is not None and status.registration is not None

    def _draw_side(self, side: str, view: ImageView | None, scene: Scene) -> None:
        caption = self.panel(f"caption-{side}")
        pixels = self.part(f"pixels-{side}", Pixels)
        width = caption.size.width - 1
        if view is None or scene.status is None:
            caption.show((line(dim("no image yet")),))
            pixels.show(None)
            return
        store, supervisor = self.operator.pictures, self.operator.supervisor
        image = store.images.get(view.image_uid)
        key = drr_key(view.image_uid, self._registered_now(scene.status), scene.status)
        drr = store.drrs.get(key)
        wants_drr = self._overlay is not Overlay.IMAGE
        if image is None and store.wants(view.image_uid):
            self.operator.spawn(store.fetch_image(supervisor, view.image_uid), "image")
        if wants_drr and drr is None and store.wants(key):
            self.operator.spawn(store.fetch_drr(supervisor, key), "DRR")
        waits = ""
        if image is None:
            waits = (
                "could not be fetched"
                if view.image_uid in store.failed
                else "fetching the image ..."
            )
        elif wants_drr and drr is None:
            waits = "no DRR" if key in store.failed else "computing the DRR ..."
        caption.show(images.caption(view, width, waits))
        if image is None:
            pixels.show(None)
            return
        rows, cols = pixels.size.height * 2, pixels.size.width - 1
        if rows < 2 or cols < 2:
            return
        grey = self._grey(image, rows, cols)
        over = self._grey(drr, rows, cols) if drr is not None else None
        pixels.show(picture.half_blocks(picture.overlaid(grey, over, self._overlay)))

    def _grey(self, image: KvImage, rows: int, cols: int) -> picture.Grey:
        small = self.operator.pictures.small(image, rows, cols)
        return picture.windowed(image, small, self._level, self._contrast)

    def on_key(self, event: events.Key) -> None:
        """Change how the pair is shown."""
        match event.character:
            case "v":
                self._overlay = OVERLAYS[(OVERLAYS.index(self._overlay) + 1) % len(OVERLAYS)]
            case "d":
                self._registered = not self._registered
            case "[" | "]":
                self._level += LEVEL_STEP * (1 if event.character == "]" else -1)
            case "-" | "=":
                self._contrast *= CONTRAST_STEP if event.character == "=" else 1 / CONTRAST_STEP
            case "0":
                self._level, self._contrast = 0.0, 1.0
            case _:
                return
        event.stop()
        self.operator.draw()
