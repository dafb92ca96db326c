"""What a template is drawn with: a model with its files, pictures, words and numbers."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Picture:
    """A picture, and the file of its mask; without one the mask is painted on the picture."""

    name: str
    mask: str | None = None


@dataclass(frozen=True)
class Kit:
    """What the templates of one model are drawn with.

    suffix: of the workflows' names. edges, colours: the adapters' files, each with a strength.
    canny: options of the condition, and of the score that compares with it. acts_on: of edges;
    outside: of all adapters. denoise: of a second sampling at twice the size.
    """

    suffix: str
    checkpoint: str
    edges: tuple[str, float]
    picture: Picture
    prompt: str
    negative: str
    size: int
    steps: int
    cfg: float
    note: str
    colours: tuple[str, float] | None = None
    second: Picture | None = None
    two: str = ""
    canny: dict[str, float] = field(default_factory=dict)
    acts_on: str = "both"
    outside: str = "gated"
    denoise: float = 0.4


DEMO = Kit(
    suffix="demo",
    checkpoint="local_control_demo.safetensors",
    edges=("plain_canny_demo.safetensors", 1.0),
    picture=Picture("local_control_demo.png", "local_control_demo_mask.png"),
    prompt="a fruit on the left and a smiling face on the right on a green background",
    negative="",
    size=128,
    steps=20,
    cfg=4.0,
    note="This runs on the small demo model that *make demo* sets up.",
    colours=("local_colour_demo.safetensors", 1.0),
    second=Picture("local_control_demo_colours.png", "local_control_demo_colours_mask.png"),
    two="a lemon on the left and a vegetable on the right on a gray background",
    canny={"low_threshold": 150, "high_threshold": 300, "blur": 1.0},
    acts_on="positive",
    outside="exact",
    denoise=0.2,  # it never saw pictures of that size, and invents small things where it may
)
_PAINT = "Right-click the picture, choose *Open in MaskEditor*, and paint what is to be controlled."
SD15 = Kit(
    suffix="sd15",
    checkpoint="v1-5-pruned-emaonly-fp16.safetensors",
    edges=("t2iadapter_canny-fp16.safetensors", 1.0),
    picture=Picture("example.png"),
    prompt="a red fox in a forest, photograph",
    negative="blurry, low quality",
    size=512,
    steps=25,
    cfg=7.0,
    note=_PAINT,
    colours=("t2iadapter_color-fp16.safetensors", 1.0),
    second=Picture("example.png"),
    two="a red fox on the left and an old oak on the right in a meadow, photograph",
)
SDXL = Kit(
    suffix="sdxl",
    checkpoint="sd_xl_base_1.0.safetensors",
    edges=("t2i-adapter_diffusers_xl_canny.safetensors", 1.0),
    picture=Picture("example.png"),
    prompt="a red fox in a forest, photograph",
    negative="blurry, low quality",
    size=1024,
    steps=25,
    cfg=6.0,
    note=_PAINT,
)
QWEN = Kit(
    suffix="qwen",
    checkpoint="qwen_image_fp8_e4m3fn.safetensors",
    edges=("Qwen-Image-InstantX-ControlNet-Union.safetensors", 1.0),
    picture=Picture("example.png"),
    prompt="a red fox in a forest, photograph",
    negative="",
    size=1024,
    steps=20,
    cfg=2.5,
    note=_PAINT,
)
