"""The reference settings reproduce the numbers of the original work's released code.

Source of the numbers: tests/data/parity_a*.{json,npz}, the original code run once on fixed inputs.
"""

import json

import numpy as np
import pytest
import torch

from local_control.losses import Denoising, NoiseLoss, TimeWeight, Z0Loss
from local_control.masks import MaskResize
from local_control.metrics import diffcc, lfmse
from local_control.z0 import PredictionType, predict_z0

LAMBDA = 0.1


@pytest.fixture(scope="module")
def expected(data_dir):
    return json.loads((data_dir / "parity_a.json").read_text())


@pytest.fixture(scope="module")
def losses(data_dir):
    return {k: torch.from_numpy(v) for k, v in np.load(data_dir / "parity_a_losses.npz").items()}


@pytest.fixture(scope="module")
def batch(losses):
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    alphas = torch.cumprod(1 - betas, 0).float()
    return Denoising(
        output=losses["pred"],
        target=losses["eps"],
        z_t=losses["z_t"],
        z0=losses["z0"],
        alpha_bar=alphas[losses["t"]],
        timestep=losses["t"],
        mask=losses["mask"].float(),
    )


def test_predicted_z0_equals_the_original(batch, losses):
    ours = predict_z0(batch.output, batch.z_t, batch.alpha_bar, PredictionType.EPSILON)
    torch.testing.assert_close(ours, losses["pred_z0"], rtol=1e-5, atol=1e-5)


def test_noise_losses_equal_the_original_per_channel(batch, expected):
    plain = NoiseLoss().error(batch).mean((0, 2, 3))
    masked = NoiseLoss(masked=True, resize=MaskResize.REFERENCE).error(batch).mean((0, 2, 3))
    for ours, name in ((plain, "simple"), (masked, "masked")):
        theirs = torch.tensor(expected["losses"][f"{name}_mse_per_channel"])
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=0)


def reference_loss(batch, edge, schedule, weight=LAMBDA):
    z0 = Z0Loss(edge, TimeWeight(schedule), mean="pixels", resize=MaskResize.REFERENCE)
    return NoiseLoss()(batch) + weight * z0(batch)


@pytest.mark.parametrize("schedule", ["constant", "step_unit", "time_unit"])
@pytest.mark.parametrize("edge", ["sobel", "laplacian"])
def test_edge_losses_equal_the_original(batch, expected, edge, schedule):
    theirs = torch.tensor(expected["losses"][f"pred_x0_edge_{edge}_{schedule}"])
    torch.testing.assert_close(reference_loss(batch, edge, schedule), theirs, rtol=1e-5, atol=0)


@pytest.mark.parametrize("schedule", ["constant", "step_unit"])
def test_plain_z0_losses_equal_the_original(batch, expected, schedule):
    theirs = torch.tensor(expected["losses"][f"pred_x0_{schedule}"])
    torch.testing.assert_close(reference_loss(batch, None, schedule), theirs, rtol=1e-5, atol=0)


def test_the_original_time_unit_forgets_lambda_without_edges_and_ours_does_not(batch, expected):
    theirs = torch.tensor(expected["losses"]["pred_x0_time_unit"])
    forgetful = reference_loss(batch, None, "time_unit", weight=1.0)
    torch.testing.assert_close(forgetful, theirs, rtol=1e-5, atol=0)
    assert not torch.allclose(reference_loss(batch, None, "time_unit"), theirs, rtol=1e-3)


@pytest.mark.parametrize("name", ["perfect", "blank", "shift2", "inside_only", "other"])
def test_metrics_equal_the_original(data_dir, expected, name):
    arrays = np.load(data_dir / "parity_a_edges.npz")
    pred, target, mask = (
        torch.from_numpy(arrays[key]).float().div(255)[None, None]
        for key in (name, "target", "mask")
    )
    error = lfmse(pred, target, mask, reference=True)
    cells = diffcc(pred, target, mask, reference=True)
    ours = {
        "lfmse_in": error["inside"],
        "lfmse_out": error["outside"],
        "coincidence": cells["coincidence"],
        "hallucination_in": cells["hallucination_inside"],
        "hallucination_out": cells["hallucination_outside"],
    }
    for key, value in expected["metrics"][name].items():
        assert ours[key].item() == pytest.approx(value, rel=1e-5, abs=1e-9), key
