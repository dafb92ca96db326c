"""The adapter trainer on a small random base."""

import signal

import pytest
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel

from local_control.adapter import AdapterConfig
from local_control.checkpoint import read_adapter, write_adapter
from training.attention import Fp32Attention
from training.train import Base, Examples, TrainConfig, denoise, draw_timesteps, to_file, train

CHANNELS = (32, 64, 128, 128)
SHAPE = AdapterConfig(channels=CHANNELS, blocks=1)


class Noise:
    """Examples that depend on the step alone."""

    def batch(self, step, size):
        generator = torch.Generator().manual_seed(step)

        def draw(*shape):
            return torch.randn(size, *shape, generator=generator)

        mask = (torch.rand(size, 1, 64, 64, generator=generator) > 0.5).float()
        return Examples(draw(4, 8, 8), draw(5, 16), draw(1, 64, 64).abs().clamp(max=1), mask)


@pytest.fixture(scope="module")
def base():
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8, block_out_channels=CHANNELS, cross_attention_dim=16, attention_head_dim=2
    )
    schedule = DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    return Base(unet.eval().requires_grad_(False), schedule.alphas_cumprod)


def config(folder, **kwargs):
    options = {"max_train_steps": 6, "train_batch_size": 2, "z0_loss_weight": 1.0}
    options |= {"checkpointing_steps": 2, "output_dir": folder}
    return TrainConfig(**options | kwargs)


def run(base, folder, **kwargs):
    adapter = train(base, Noise(), SHAPE, config(folder, **kwargs))
    return torch.cat([p.detach().flatten() for p in adapter.parameters()])


@pytest.mark.parametrize("stop", [2, 4])
def test_a_stopped_and_resumed_run_is_bit_equal(base, tmp_path, stop):
    whole = run(base, tmp_path / "whole")
    path = tmp_path / "stopped"

    class StopError(Exception):
        pass

    def stop_here(_adapter, step):
        if step == stop:
            raise StopError

    with pytest.raises(StopError):
        train(base, Noise(), SHAPE, config(path), stop_here)
    assert torch.equal(run(base, path), whole)


def test_the_loss_goes_down(base, tmp_path):
    torch.manual_seed(0)
    settings = config(tmp_path, max_train_steps=60, learning_rate=2e-3, lr_warmup_steps=5)
    fixed = Noise().batch(0, 4)

    class Same:
        def batch(self, step, size):
            return fixed

    from local_control.adapter import Adapter

    def loss(adapter):
        with torch.no_grad():
            steps = [denoise(base, adapter, fixed, settings, 1000 + i) for i in range(8)]
            return sum(settings.loss()(one).mean().item() for one in steps)

    torch.manual_seed(0)
    before = loss(Adapter(SHAPE))
    assert loss(train(base, Same(), SHAPE, settings)) < before


def test_only_the_adapter_learns(base, tmp_path):
    before = {key: value.clone() for key, value in base.unet.state_dict().items()}
    run(base, tmp_path)
    assert all(torch.equal(value, before[key]) for key, value in base.unet.state_dict().items())


def test_masked_features_do_not_see_the_condition_outside(base, tmp_path):
    settings = config(tmp_path)
    from local_control.adapter import Adapter

    adapter = Adapter(SHAPE)
    examples = Noise().batch(0, 2)
    empty = Examples(
        examples.z0, examples.context, examples.condition, torch.zeros_like(examples.mask)
    )
    other = Examples(empty.z0, empty.context, 1 - empty.condition, empty.mask)
    one, two = (denoise(base, adapter, e, settings, 0).output for e in (empty, other))
    assert torch.equal(one, two)
    unmasked = config(tmp_path, mask_features=False)
    one, two = (denoise(base, adapter, e, unmasked, 0).output for e in (empty, other))
    assert not torch.equal(one, two)


def test_cubic_timesteps_prefer_noise_and_stay_in_range():
    generator = torch.Generator().manual_seed(0)
    cubic = draw_timesteps(10_000, 1000, "cubic", generator)
    uniform = draw_timesteps(10_000, 1000, "uniform", generator)
    assert cubic.min() >= 0
    assert cubic.max() <= 999
    assert cubic.float().mean() > 700
    assert 480 < uniform.float().mean() < 520


def test_what_is_trained_is_written_with_its_story(base, tmp_path):
    settings = config(tmp_path)
    adapter = train(base, Noise(), SHAPE, settings)
    path = tmp_path / "adapter.safetensors"
    write_adapter(to_file(adapter, settings, condition="canny"), path)
    metadata = read_adapter(path).metadata
    assert metadata["local_control.condition"] == "canny"
    assert "sobel z0 loss" in metadata["local_control.method"]
    assert str(tmp_path) not in str(metadata)


def test_unknown_settings_are_refused(tmp_path):
    with pytest.raises(ValueError, match="extra"):
        config(tmp_path, z0_los_weight=1)


def test_fp32_attention_is_the_stock_attention(base):
    args = (torch.randn(2, 4, 8, 8), torch.tensor([5, 500]), torch.randn(2, 5, 16))
    stock = base.unet(*args).sample
    processors = base.unet.attn_processors
    base.unet.set_attn_processor(Fp32Attention())
    ours = base.unet(*args).sample
    base.unet.set_attn_processor(processors)
    torch.testing.assert_close(ours, stock, rtol=1e-4, atol=1e-5)


def test_sigterm_saves_after_the_step_and_the_run_goes_on_bit_equal(base, tmp_path):
    whole = run(base, tmp_path / "whole")

    class Interrupted(Noise):
        def batch(self, step, size):
            if step == 2:
                signal.raise_signal(signal.SIGTERM)
            return super().batch(step, size)

    path = tmp_path / "stopped"
    with pytest.raises(SystemExit, match="stopped at step 3"):
        train(base, Interrupted(), SHAPE, config(path, checkpointing_steps=100))
    assert torch.equal(run(base, path), whole)
