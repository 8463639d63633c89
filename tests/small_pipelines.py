"""Tiny random pipelines of diffusers' own classes, saved to disk as the large ones lie there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers as hf
from diffusers.pipelines.deprecated.paint_by_example import PaintByExampleImageEncoder
from diffusers.pipelines.flux.modeling_flux import ReduxImageEncoder
from safetensors.torch import save_file
from tokenizers.pre_tokenizers import ByteLevel

WIDTH = 32
"""Of all that is attended to."""
LETTERS = sorted(ByteLevel.alphabet())


def vae() -> Any:
    """Two levels, so that latents have half a picture's side."""
    return diffusers.AutoencoderKL(
        block_out_channels=(8, 16), norm_num_groups=4, latent_channels=4, sample_size=32,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip


def unet(in_channels: int) -> Any:
    """Two levels with cross-attention to `WIDTH`."""
    return diffusers.UNet2DConditionModel(
        sample_size=16, in_channels=in_channels, out_channels=4, block_out_channels=(16, 32),
        layers_per_block=1, norm_num_groups=8, attention_head_dim=2, cross_attention_dim=WIDTH,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip


def clip_tokenizer() -> Any:
    """One token a letter."""
    ends = ["<|startoftext|>", "<|endoftext|>"]
    words = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), *ends]
    numbers = {word: number for number, word in enumerate(words)}
    return hf.CLIPTokenizer(numbers, [], model_max_length=77)


def clip_text() -> Any:
    """Two layers over `clip_tokenizer`'s words."""
    words = len(clip_tokenizer())
    return hf.CLIPTextModel(
        hf.CLIPTextConfig(
            vocab_size=words, hidden_size=WIDTH, intermediate_size=37, num_hidden_layers=2,
            num_attention_heads=4, projection_dim=WIDTH, bos_token_id=words - 2,
            eos_token_id=words - 1, pad_token_id=words - 1,
        )
    )  # fmt: skip


def clip_vision_config() -> Any:
    """Two layers on 32 pixels."""
    return hf.CLIPVisionConfig(
        hidden_size=WIDTH, projection_dim=WIDTH, intermediate_size=37, num_hidden_layers=5,
        num_attention_heads=4, image_size=32, patch_size=8,
    )  # fmt: skip


def ddim() -> Any:
    """The scheduler of Stable Diffusion."""
    return diffusers.DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
        set_alpha_to_one=False, steps_offset=1,
    )  # fmt: skip


def stable_diffusion(folder: Path, in_channels: int = 9) -> Path:
    """Stable Diffusion's inpainting pipeline; with four channels the plain one."""
    torch.manual_seed(0)
    name = "StableDiffusionInpaintPipeline" if in_channels == 9 else "StableDiffusionPipeline"
    getattr(diffusers, name)(
        vae=vae(), text_encoder=clip_text(), tokenizer=clip_tokenizer(), unet=unet(in_channels),
        scheduler=ddim(), safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def ip_adapter(folder: Path, inpainting: Path) -> Path:
    """Adapters for a pipeline's UNet, with their image encoder, as the released ones lie."""
    torch.manual_seed(1)
    hf.CLIPVisionModelWithProjection(clip_vision_config()).save_pretrained(
        folder / "models" / "image_encoder"
    )
    network = diffusers.UNet2DConditionModel.from_pretrained(inpainting, subfolder="unet")
    weights: dict[str, torch.Tensor] = {}
    for number, name in enumerate(n for n in network.attn_processors if "attn2" in n):
        attention = network.get_submodule(name.removesuffix(".processor"))
        for part, like in (("k", attention.to_k), ("v", attention.to_v)):
            moved = torch.randn_like(like.weight) * 0.3
            weights[f"ip_adapter.{2 * number + 1}.to_{part}_ip.weight"] = moved
    weights["image_proj.proj.weight"] = torch.randn(4 * WIDTH, WIDTH)
    weights["image_proj.proj.bias"] = torch.zeros(4 * WIDTH)
    weights["image_proj.norm.weight"] = torch.ones(WIDTH)
    weights["image_proj.norm.bias"] = torch.zeros(WIDTH)
    save_file(weights, folder / "models" / "adapter.safetensors")
    return folder


def paint_by_example(folder: Path) -> Path:
    """Paint by Example's pipeline."""
    torch.manual_seed(2)
    diffusers.PaintByExamplePipeline(
        vae=vae(), unet=unet(9), scheduler=ddim(), safety_checker=None,
        image_encoder=PaintByExampleImageEncoder(clip_vision_config(), proj_size=WIDTH),
        feature_extractor=hf.CLIPImageProcessorPil(size=32, crop_size=32),
    ).save_pretrained(folder)  # fmt: skip
    return folder


def flux_parts(in_channels: int, out_channels: int) -> dict[str, Any]:
    """What all pipelines of FLUX.1 have."""
    words = [(piece, -1.0) for piece in ("<pad>", "</s>", "<unk>", "▁", *"abcdefghijklmnopqrst")]
    return {
        "scheduler": diffusers.FlowMatchEulerDiscreteScheduler(),
        "vae": diffusers.AutoencoderKL(
            block_out_channels=(8, 16), norm_num_groups=4, latent_channels=4, sample_size=32,
            down_block_types=("DownEncoderBlock2D",) * 2, scaling_factor=1.5, shift_factor=0.06,
            up_block_types=("UpDecoderBlock2D",) * 2, use_quant_conv=False,
            use_post_quant_conv=False,
        ),
        "text_encoder": clip_text(),
        "tokenizer": clip_tokenizer(),
        "text_encoder_2": hf.T5EncoderModel(
            hf.T5Config(vocab_size=160, d_model=WIDTH, d_kv=8, d_ff=37, num_layers=1, num_heads=4)
        ),
        "tokenizer_2": hf.T5TokenizerFast(words, extra_ids=0, model_max_length=64),
        "transformer": diffusers.FluxTransformer2DModel(
            patch_size=1, in_channels=in_channels, out_channels=out_channels, num_layers=1,
            num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=WIDTH, pooled_projection_dim=WIDTH, axes_dims_rope=(4, 4, 8),
        ),
    }  # fmt: skip


def flux_fill(folder: Path) -> Path:
    """FLUX.1 Fill: latents, masked latents and one mask value a pixel (VAE factor 2), packed."""
    torch.manual_seed(3)
    parts = flux_parts(in_channels=2 * 16 + 16, out_channels=16)
    diffusers.FluxFillPipeline(**parts).save_pretrained(folder)
    return folder


def flux_redux(folder: Path) -> Path:
    """The prior Redux, without text encoders, as it is released."""
    torch.manual_seed(4)
    vision = hf.SiglipVisionConfig(
        hidden_size=WIDTH, intermediate_size=37, num_hidden_layers=1, num_attention_heads=4,
        image_size=32, patch_size=8,
    )  # fmt: skip
    diffusers.FluxPriorReduxPipeline(
        image_encoder=hf.SiglipVisionModel(vision),
        feature_extractor=hf.SiglipImageProcessorPil(size={"height": 32, "width": 32}),
        image_embedder=ReduxImageEncoder(redux_dim=WIDTH, txt_in_features=WIDTH),
    ).save_pretrained(folder)
    return folder


def flux_kontext(folder: Path) -> Path:
    """FLUX.1 Kontext."""
    torch.manual_seed(5)
    parts = flux_parts(in_channels=16, out_channels=16)
    diffusers.FluxKontextInpaintPipeline(**parts).save_pretrained(folder)
    return folder


def qwen_tokenizer() -> Any:
    """One token a letter, and the signs of chats and pictures."""
    signs = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>",
             "<|image_pad|>", "<|video_pad|>"]  # fmt: skip
    numbers = {word: number for number, word in enumerate([*LETTERS, *signs])}
    made = hf.Qwen2Tokenizer(numbers, [], extra_special_tokens=signs[1:])
    made.chat_template = "{% for m in messages %}<|im_start|>{{ m['content'] }}{% endfor %}"
    return made


def qwen_image_edit(folder: Path) -> Path:
    """Qwen-Image-Edit with several pictures."""
    torch.manual_seed(6)
    words = qwen_tokenizer()
    number = words.convert_tokens_to_ids
    text = {
        "hidden_size": WIDTH, "intermediate_size": WIDTH, "num_hidden_layers": 1,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": len(words),
        "rope_scaling": {"mrope_section": [1, 1, 2], "rope_type": "default", "type": "default"},
        "rope_theta": 1e6, "bos_token_id": 0, "eos_token_id": 0,
    }  # fmt: skip
    seen = {
        "depth": 1, "hidden_size": WIDTH, "intermediate_size": WIDTH, "num_heads": 2,
        "out_hidden_size": WIDTH, "fullatt_block_indexes": [0],
    }  # fmt: skip
    config = hf.Qwen2_5_VLConfig(
        text_config=text, vision_config=seen, image_token_id=number("<|image_pad|>"),
        vision_start_token_id=number("<|vision_start|>"),
        vision_end_token_id=number("<|vision_end|>"), video_token_id=number("<|video_pad|>"),
    )  # fmt: skip
    diffusers.QwenImageEditPlusPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        vae=diffusers.AutoencoderKLQwenImage(
            base_dim=6, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1, latents_mean=[0.0] * 4,
            temperal_downsample=[False, True, True], latents_std=[1.0] * 4,
        ),
        text_encoder=hf.Qwen2_5_VLForConditionalGeneration(config),
        tokenizer=words,
        processor=hf.Qwen2VLProcessor(
            hf.Qwen2VLImageProcessorPil(min_pixels=56 * 56, max_pixels=56 * 56), words,
            hf.Qwen2VLVideoProcessor(),
        ),
        transformer=diffusers.QwenImageTransformer2DModel(
            patch_size=2, in_channels=16, out_channels=4, num_layers=1, attention_head_dim=16,
            num_attention_heads=2, joint_attention_dim=WIDTH, axes_dims_rope=(8, 4, 4),
        ),
    ).save_pretrained(folder)  # fmt: skip
    return folder


def flux2_klein(folder: Path) -> Path:
    """FLUX.2 [klein]; three layers of its text encoder are handed on."""
    torch.manual_seed(7)
    words = qwen_tokenizer()
    text = hf.Qwen3Config(
        hidden_size=8, intermediate_size=16, num_hidden_layers=28, num_attention_heads=2,
        num_key_value_heads=2, vocab_size=len(words), head_dim=4,
    )  # fmt: skip
    diffusers.Flux2KleinInpaintPipeline(
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        vae=diffusers.AutoencoderKLFlux2(
            block_out_channels=(8, 16), norm_num_groups=4, latent_channels=4,
            down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        ),
        text_encoder=hf.Qwen3ForCausalLM(text),
        tokenizer=words,
        transformer=diffusers.Flux2Transformer2DModel(
            patch_size=1, in_channels=16, num_layers=1, num_single_layers=1,
            attention_head_dim=16, num_attention_heads=2, joint_attention_dim=24,
            timestep_guidance_channels=16, axes_dims_rope=(4, 4, 4, 4), guidance_embeds=False,
        ),
    ).save_pretrained(folder)  # fmt: skip
    return folder
