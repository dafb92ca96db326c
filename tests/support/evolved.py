"""Stand-ins that act as AnimateDiff-Evolved and Advanced-ControlNet do in context windows."""

import torch

WINDOWS = ((0, 1, 2, 3), (5, 4, 3, 2))


class Evolved:
    """As AnimateDiff-Evolved samples windows of a batch: told in the options and on controls.

    Before the first window of a step, the options still tell the last one of the step before.
    """

    def __init__(self, windows):
        self.windows = [list(window) for window in windows]
        self.total = max(map(max, windows)) + 1
        self.last = None

    @classmethod
    def sampled(cls, model, windows=WINDOWS):
        """A clone of the model that samples so."""
        from comfy.patcher_extension import WrappersMP

        own, model = cls(windows), model.clone()
        model.add_wrapper_with_key(WrappersMP.PREDICT_NOISE, "evolved", own.predict)
        model.add_wrapper_with_key(WrappersMP.CALC_COND_BATCH, "evolved", own.batch)
        return model

    def predict(self, executor, x, timestep, options, *rest):
        return executor(x, timestep, self.told(options), *rest)

    def told(self, options):
        told = {"sub_idxs": self.last, "full_length": self.total, "context_length": 4}
        inner = {**options["transformer_options"], "ad_params": told}
        return {**options, "transformer_options": inner}

    def batch(self, executor, model, conds, x, timestep, options):
        sums = [torch.zeros_like(x) for _ in conds]
        counts = torch.zeros(len(x), *[1] * (x.ndim - 1))
        for indices in self.windows:
            self.last = indices
            cut = [cond and [self.entry(entry, len(x)) for entry in cond] for cond in conds]
            arguments = x[indices], timestep[indices], self.told(options)
            for total, found in zip(sums, executor(model, cut, *arguments), strict=True):
                total[indices] += found
            counts[indices] += 1
        return [total / counts for total in sums]

    def entry(self, entry, count):
        """A condition in a window, whose controls are told of it."""
        control = entry.get("control")
        while control is not None:
            if not hasattr(control, "sub_idxs"):
                name = type(control).__name__
                raise ValueError(f"Control type {name} may not support required features")
            if not hasattr(control, "ACN_VERSION"):
                control.sub_idxs, control.full_latent_length = self.last, self.total
                control.context_length = len(self.last)
            control = control.previous_controlnet
        shown = {
            name: value._copy_with(value.cond[self.last])
            if torch.is_tensor(value.cond) and len(value.cond) == count
            else value
            for name, value in entry["model_conds"].items()
        }
        return {**entry, "model_conds": shown}


def windowed_control(control, strengths=()):
    """A ControlNet as Advanced-ControlNet has them: told of a window, it cuts its pictures by that,
    and gives each latent the strength of its number.
    """
    from comfy.controlnet import ControlNet

    class WindowedControl(ControlNet):
        ACN_VERSION = None

        def copy(self):
            new = WindowedControl(None, load_device=self.load_device)
            new.control_model = control.control_model
            new.control_model_wrapped = control.control_model_wrapped
            self.copy_to(new)
            new.tell()
            return new

        def tell(self, indices=None, total=0):
            self.sub_idxs, self.full_latent_length, self.context_length = indices, total, 0

        def pre_run(self, *arguments):
            super().pre_run(*arguments)
            self.tell()

        def cleanup(self):
            super().cleanup()
            self.tell()

        def get_control(self, x, t, cond, batched_number, options):
            if "ad_params" in options:
                told = options["ad_params"]
                self.tell(told["sub_idxs"], told["full_length"])
            whole, numbers = self.cond_hint_original, self.sub_idxs
            if numbers is not None:
                self.cond_hint = None
                self.cond_hint_original = whole.repeat(self.full_latent_length, 1, 1, 1)[numbers]
            try:
                found = super().get_control(x, t, cond, batched_number, options)
            finally:
                self.cond_hint_original = whole
            numbers = numbers or range(len(x) // batched_number)
            factors = [strengths[i] if strengths else 1.0 for i in numbers] * batched_number
            factors = torch.tensor(factors)[:, None, None, None]
            return {
                key: [v if v is None else v * factors for v in row] for key, row in found.items()
            }

    first = WindowedControl(None, load_device=control.load_device)
    control.copy_to(first)
    return first.copy()
