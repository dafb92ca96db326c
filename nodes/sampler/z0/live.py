"""Pictures of z0' while sampling, made beside it."""

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from comfy.model_management import InterruptProcessingException
from PIL import Image
from torch import Tensor

log = logging.getLogger(__name__)

# Seconds that the finished sampling waits for its last picture.
_PATIENCE = 2.0
# One thread for all samplings: what one has left unfinished delays the pictures of the next, and
# never runs beside them.
_WORKER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="z0-preview")

Renderer = Callable[[Tensor], Image.Image]
Sender = Callable[[int, int, Image.Image | None], None]


class LivePreview:
    """Renders z0' off the sampling thread and shows the newest finished picture.

    Sampling never waits for a picture: while one is being made, later frames are passed over. What
    is ready is sent from the sampling thread, as ComfyUI's progress wants it. After the sampling
    the last frame is awaited for a moment, so that the finished image is seen. A preview that fails
    is logged and does not end the sampling.
    """

    def __init__(
        self,
        render: Renderer,
        send: Sender,
        every: int = 1,
        latest: Callable[[], Tensor | None] | None = None,
    ) -> None:
        self._render = render
        self._send = send
        self._every = max(1, every)
        self._latest = latest
        self._job: Future[Image.Image] | None = None
        self._at = (0, 0)
        self._newest: Tensor | None = None
        self._rendered: Tensor | None = None

    def show(self, step: int, steps: int, frame: Tensor) -> None:
        """Called after every step, on the sampling thread; `latest` may know a better frame."""
        found = self._latest() if self._latest is not None else None
        self._newest = frame if found is None else found
        self._at = (step + 1, steps)
        self._try(lambda: self._send(*self._at, self._step(step)))

    def finish(self) -> None:
        """Called once the sampling has returned: its last frame, if that is made in time."""
        if self._newest is not None:
            self._try(self._send_last)

    def close(self) -> None:
        """Give up what has not begun."""
        self._give_up()

    def _give_up(self) -> None:
        if self._job is not None:
            self._job.cancel()
            self._job = None

    def _step(self, step: int) -> Image.Image | None:
        picture = None
        if self._job is not None and self._job.done():
            job, self._job = self._job, None
            picture = job.result()
        if self._job is None and step % self._every == 0:
            self._start()
        return picture

    def _send_last(self) -> None:
        if self._job is None or self._rendered is not self._newest:
            self._start()
        try:
            picture = self._job.result(_PATIENCE)
        except TimeoutError:
            return
        self._send(*self._at, picture)

    def _start(self) -> None:
        self._give_up()
        self._rendered = self._newest
        self._job = _WORKER.submit(self._render, self._newest)

    def _try(self, send: Callable[[], None]) -> None:
        try:
            send()
        except InterruptProcessingException:
            raise  # the user has stopped the run
        except Exception:
            log.exception("The z0' preview failed at step %d; sampling goes on.", self._at[0])
