"""The door out: `python -m anydoor_lab.export run=<folder> out=<folder>`."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from anydoor_lab.config.door import door
from anydoor_lab.structures.checks import check_choice
from anydoor_lab.structures.errors import FileError
from anydoor_lab.structures.files import check_writable, whole_folder


@door("export")
def main(cfg: DictConfig) -> None:
    """Write a run's averaged weights as one folder that `AnyDoorPipeline.from_pretrained` loads,
    or only its LoRA adapters."""
    out = Path(cfg.out)
    check_choice("precision", cfg.precision, ("fp16", "fp32"))
    check_choice("layout", cfg.layout, ("pipeline", "lora"))
    if out.exists():
        raise FileExistsError(f"{out} exists; choose another out=")
    check_writable(out)

    import torch
    from safetensors import SafetensorError

    from anydoor_lab.config import pipelines
    from anydoor_lab.models.lora import merge_adapters

    pipelines.silence_libraries()
    pipeline = pipelines.load_pipeline(cfg.run)
    dtype = torch.float16 if cfg.precision == "fp16" else torch.float32
    pipeline.to(dtype=dtype)
    try:
        with whole_folder(out, out.with_name(f".{out.name}.part")) as part:
            if cfg.layout == "lora":
                pipeline.save_lora_weights(part)
            else:
                merge_adapters(pipeline.model)
                for component in (pipeline.unet, pipeline.vae):  # without where they came from
                    component.register_to_config(_name_or_path="")
                pipeline.save_pretrained(part)
    except SafetensorError as error:
        raise FileError(f"{out} cannot be written ({error}); make room for it") from error
    print(f"{cfg.layout:8} {out}")


if __name__ == "__main__":
    main()
