"""Pictures of z0' while sampling, made beside it."""

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from comfy.model_management import (
    InterruptProcessingException,
    interrupt_current_processing,
    throw_exception_if_processing_interrupted,
)
from PIL import Image
from torch import Tensor

log = logging.getLogger(__name__)

# Seconds that the finished sampling waits for its last picture.
_PATIENCE = 2.0
# One thread for all samplings: what one has left unfinished delays the pictures of the next, and
# never runs beside them.
_WORKER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="z0-preview")

Render = Callable[[Tensor, int, int], Image.Image]  # of z0' at a step of so many
Send = Callable[[int, int, Image.Image | None], None]


class _CancelTakenError(Exception):
    """A picture was given up, since its thread took a Cancel; it has been handed back."""


class LivePreview:
    """Renders z0' off the sampling thread and shows the newest finished picture.

    Sampling never waits for a picture: while one is being made, later frames are passed over. What
    is ready is sent from the sampling thread, as ComfyUI's progress wants it. After the sampling
    the last frame is awaited for a moment, so that the finished image is seen. A preview that fails
    is logged once, and the sampling goes on without pictures.
    """

    def __init__(self, render: Render, send: Send, every: int = 1) -> None:
        self._render = render
        self._send = send
        self._every = max(1, every)
        self._job: Future[Image.Image] | None = None
        self._at = (0, 0)
        self._newest: Tensor | None = None
        self._rendered: Tensor | None = None
        self._has_failed = False

    def show(self, step: int, steps: int, frame: Tensor) -> None:
        """Show what is ready and draw on; called after every step, on the sampling thread."""
        throw_exception_if_processing_interrupted()
        self._newest = frame
        self._at = (step + 1, steps)
        picture = self._try(lambda: self._advance(step))
        self._try(lambda: self._send(*self._at, picture))

    def finish(self) -> None:
        """Show the last frame, if that is made in time; called once the sampling has returned."""
        if self._newest is not None and not self._has_failed:
            self._try(self._send_last)
        throw_exception_if_processing_interrupted()

    def close(self) -> None:
        """Give up what has not begun, and let go of the frames."""
        self._give_up()
        self._newest = self._rendered = None

    def _give_up(self) -> None:
        if self._job is not None:
            self._job.cancel()
            self._job = None

    def _advance(self, step: int) -> Image.Image | None:
        """Return the picture that is ready, if any; begin another if none is on its way."""
        picture = None
        if self._job is not None and self._job.done():
            job, self._job = self._job, None
            picture = job.result()
        if self._job is None and not self._has_failed and step % self._every == 0:
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
        self._job = _WORKER.submit(_draw, self._render, self._newest, *self._at)

    def _try(self, action: Callable[[], Image.Image | None]) -> Image.Image | None:
        """Return what the action returns; None if it fails."""
        try:
            return action()
        except InterruptProcessingException:
            raise  # the sending has taken it
        except _CancelTakenError:
            throw_exception_if_processing_interrupted()  # unless it has ended its run already
        except Exception:
            if not self._has_failed:
                log.exception("The z0' preview failed at step %d; sampling goes on.", self._at[0])
            self._has_failed = True
        return None


def _draw(render: Render, frame: Tensor, step: int, steps: int) -> Image.Image:
    """Return a picture, made on the worker.

    ComfyUI's layers look for a Cancel and take it, whatever thread they are on. It is meant for the
    sampling, so it is handed back.
    """
    try:
        return render(frame, step, steps)
    except InterruptProcessingException as cancel:
        interrupt_current_processing()
        raise _CancelTakenError from cancel
