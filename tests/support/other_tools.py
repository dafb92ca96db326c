"""What other packs do to the controls of a graph: tiles cut for them, windows told on them."""

import torch


def cropped(conds, box, size=None):
    """A conditioning as tile tools make it: every control's picture cut, perhaps resized.

    They copy each control of the chain and set its public fields; box: top, left, bottom, right.
    """
    out = []
    for embedding, options in conds:
        options = dict(options)
        link = options["control"]
        options["control"] = copy = link.copy()
        while link is not None:
            top, left, bottom, right = box
            hint = copy.cond_hint_original[..., top:bottom, left:right]
            if size is not None:
                hint = torch.nn.functional.interpolate(hint, size, mode="nearest-exact")
            copy.cond_hint_original = hint
            link = link.previous_controlnet
            copy.set_previous_controlnet(None if link is None else link.copy())
            copy = copy.previous_controlnet
        out.append([embedding, options])
    return out


class Telling:
    """A model before each call of which the window is put on a control."""

    def __init__(self, patcher, control, indices):
        from comfy.patcher_extension import WrappersMP

        self.patcher = patcher.clone()

        def tell(executor, *args):
            if control is not None:
                control.sub_idxs, control.full_latent_length = indices, 6
                control.context_length = len(indices)
            return executor(*args)

        self.patcher.add_wrapper(WrappersMP.CALC_COND_BATCH, tell)

    def conds(self, kind, control):
        """Both prompts with this control."""
        return [
            [[embedding, {**options, "control": control}] for embedding, options in cond]
            for cond in kind.prompts()
        ]
