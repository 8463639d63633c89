"""AnyDoor (CVPR 2024): put the object of one photo into a marked place of another."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# Every public name and where it lives. Configs, saved pipelines and runs know these names only, so
# that what stands behind them may move; tests/test_public_names.py freezes the list.
HOMES = {
    "AblationBoard": "widgets.board.ablation:AblationBoard",
    "AfterSweep": "compare:AfterSweep",
    "AnyDoorMethod": "methods.anydoor:AnyDoorMethod",
    "AnyDoorPipeline": "pipeline.anydoor:AnyDoorPipeline",
    "AttributeReader": "metrics.attributes:AttributeReader",
    "Autoencoding": "pretraining.vae:Autoencoding",
    "BackgroundPsnr": "metrics.background:BackgroundPsnr",
    "BackgroundSsim": "metrics.background:BackgroundSsim",
    "Box": "structures.boxes:Box",
    "CaptionContrast": "pretraining.captions:CaptionContrast",
    "CaptionSamples": "pretraining.captions:CaptionSamples",
    "ClipExtractor": "models.idx.clip:ClipExtractor",
    "Conditioner": "conditioning.conditioner:Conditioner",
    "Conditioning": "conditioning.conditioner:Conditioning",
    "CopyPaste": "methods.copy_paste:CopyPaste",
    "CopyPasteIndex": "metrics.copy_paste_index:CopyPasteIndex",
    "CropSamples": "pretraining.vae:CropSamples",
    "CrossedPairs": "data.readers.crossed:CrossedPairs",
    "CustomDiffusion": "methods.tuned:CustomDiffusion",
    "DetailExtractor": "models.detail:DetailExtractor",
    "Dinov2Extractor": "models.idx.dinov2:Dinov2Extractor",
    "DreamBooth": "methods.tuned:DreamBooth",
    "EffnetExtractor": "models.idx.effnet:EffnetExtractor",
    "FeatureAutoencoding": "pretraining.things:FeatureAutoencoding",
    "Flux2Klein": "methods.flow_matching:Flux2Klein",
    "FluxFillRedux": "methods.flow_matching:FluxFillRedux",
    "FluxKontext": "methods.flow_matching:FluxKontext",
    "Folder": "data.readers.folder:Folder",
    "Graphit": "methods.stable_diffusion:Graphit",
    "HarmonisedPaste": "methods.copy_paste:HarmonisedPaste",
    "IndexedPairs": "data.pairs:IndexedPairs",
    "InstanceContrast": "pretraining.contrast:InstanceContrast",
    "IpAdapter": "methods.stable_diffusion:IpAdapter",
    "JointPlacing": "pretraining.joint:JointPlacing",
    "JointSamples": "pretraining.joint:JointSamples",
    "LabDifference": "metrics.lab_difference:LabDifference",
    "LabelledSamples": "pretraining.labelled:LabelledSamples",
    "LatentSamples": "pretraining.text_to_image:LatentSamples",
    "LocalTracker": "runs.tracking:LocalTracker",
    "LookSamples": "pretraining.contrast:LookSamples",
    "Mixture": "data.mixture:Mixture",
    "Naming": "pretraining.labelled:Naming",
    "ObjectSegmenter": "models.segmenter:ObjectSegmenter",
    "PaintByExample": "methods.stable_diffusion:PaintByExample",
    "Pair": "structures.pair:Pair",
    "Photos": "data.readers.photos:Photos",
    "Placement": "conditioning.placement:Placement",
    "PlacementScore": "metrics.placement:PlacementScore",
    "Poisson": "methods.copy_paste:Poisson",
    "QwenImageEdit": "methods.flow_matching:QwenImageEdit",
    "Rater": "widgets.rater.rater:Rater",
    "Segmentation": "pretraining.segmentation:Segmentation",
    "SegmentationSamples": "pretraining.segmentation:SegmentationSamples",
    "Score": "metrics.score:Score",
    "SdInpaint": "methods.stable_diffusion:SdInpaint",
    "SilentTracker": "runs.tracking:SilentTracker",
    "TextScore": "metrics.text:TextScore",
    "TextToImage": "pretraining.text_to_image:TextToImage",
    "ThingCrops": "pretraining.things:ThingCrops",
    "Things": "data.things.things:Things",
    "Unchanged": "metrics.unchanged:Unchanged",
    "UnusablePair": "structures.checks:UnusablePair",
    "Vgg16": "models.idx.vgg:Vgg16",
    "VggExtractor": "models.idx.vgg:VggExtractor",
    "VggNaming": "pretraining.labelled:VggNaming",
    "WandbTracker": "runs.tracking:WandbTracker",
    "World": "data.world.world:World",
    "adaptive_timesteps": "diffusion.timesteps:adaptive_timesteps",
    "attribute_accuracy": "metrics.attributes:attribute_accuracy",
    "build_pipeline": "config.pipelines:build_pipeline",
    "clip_score": "metrics.clip_score:clip_score",
    "compare_methods": "config.competitors:compare_methods",
    "compose_config": "config.compose:compose_config",
    "contrast_clip": "pretraining.captions:clip",
    "contrast_dinov2": "pretraining.contrast:dinov2",
    "crop_scene": "conditioning.placement:crop_scene",
    "dataset_page": "config.studies:dataset_page",
    "dino_score": "metrics.dino_score:dino_score",
    "diversity": "metrics.diversity:diversity",
    "encoder_retrieval": "config.retrieval:encoder_retrieval",
    "empty_collage": "conditioning.collage:empty",
    "focus": "config.studies:focus",
    "guidance_and_steps": "config.studies:guidance_and_steps",
    "high_frequency_collage": "conditioning.collage:high_frequency",
    "joint_network": "pretraining.joint:joint_network",
    "load_pipeline": "config.pipelines:load_pipeline",
    "lpips": "metrics.lpips:lpips",
    "mixture": "config.mixtures:mixture",
    "noise_collage": "conditioning.collage:noise",
    "not_run": "config.experiments:not_run",
    "original_collage": "conditioning.collage:original",
    "paste_back": "conditioning.placement:paste_back",
    "preset_costs": "config.studies:preset_costs",
    "read_facts": "structures.images:read_facts",
    "read_image": "structures.images:read_image",
    "read_mask": "structures.images:read_mask",
    "retrieval_score": "metrics.retrieval:retrieval_score",
    "run_experiment": "config.experiments:run_experiment",
    "several_references": "config.studies:several_references",
    "shuffle_collage": "conditioning.collage:shuffle",
    "sweep_results": "config.experiments:sweep_results",
    "uniform_timesteps": "diffusion.timesteps:uniform_timesteps",
    "user_study": "config.user_study:user_study",
}
# diffusers asks the package of a saved pipeline's component for the kinds it knows how to load
_KINDS = {"ModelMixin": "diffusers"}
__all__ = sorted(HOMES)


def __getattr__(name: str) -> Any:
    """The public names, imported on first use so that `import anydoor_lab` stays light."""
    if name in _KINDS:
        return getattr(import_module(_KINDS[name]), name)
    if name not in HOMES:
        raise AttributeError(f"module 'anydoor_lab' has no attribute {name!r}")
    module, own_name = HOMES[name].split(":")
    return getattr(import_module(f"anydoor_lab.{module}"), own_name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def _know_former_modules() -> None:
    from anydoor_lab.structures.former import know_former_modules

    know_former_modules()


_know_former_modules()
