"""One photograph: pose, light and camera, each drawn first and applied after."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from anydoor_lab.data.world.objects import MARGIN_PX

_FRAME_MARGIN_PX = 1.0


@dataclass(frozen=True, slots=True)
class Motion:
    """How far poses of one variation reach: each value is the largest deviation from upright.

    Args:
        degrees: rotation in the picture's plane.
        shear: horizontal shear.
        squeeze: narrowing of one side, 0.3 = down to 70 %.
        tilt: perspective, change of scale from the centre to the border.
    """

    degrees: float
    shear: float
    squeeze: float
    tilt: float


MOTIONS = {
    "still": Motion(degrees=17.5, shear=0.10, squeeze=0.10, tilt=0.05),
    "video": Motion(degrees=17.5, shear=0.12, squeeze=0.10, tilt=0.06),
    "multiview": Motion(degrees=15.0, shear=0.28, squeeze=0.30, tilt=0.22),
}
"""Reach of the poses per variation (Table 1); two frames differ by up to twice these values."""


@dataclass(frozen=True, slots=True)
class Light:
    """Light of a frame: gains (2, 2, 3) float32 at its corners, an offset in grey levels."""

    gains: np.ndarray
    offset: float
    shadow: np.ndarray
    shadow_strength: float


def draw_pose(motion: Motion, rng: np.random.Generator) -> np.ndarray:
    """(3, 3) homography of the upright object's plane, about its centre; size left open."""
    angle, shear, squeeze, tilt_x, tilt_y = rng.uniform(-1, 1, 5)
    radians = np.deg2rad(motion.degrees * angle)
    cos, sin = np.cos(radians), np.sin(radians)
    narrow = 1 - motion.squeeze * abs(squeeze)
    stretch = np.diag([narrow, 1.0, 1.0] if squeeze < 0 else [1.0, narrow, 1.0])
    sheared = np.array([[1, motion.shear * shear, 0], [0, 1, 0], [0, 0, 1]])
    tilted = np.array([[1, 0, 0], [0, 1, 0], [motion.tilt * tilt_x, motion.tilt * tilt_y, 1]])
    return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) @ tilted @ sheared @ stretch


def fit_pose(
    pose: np.ndarray, outline: np.ndarray, longer_side_px: float, where: np.ndarray, size_px: int
) -> np.ndarray:
    """`pose` completed so that the object's box has a given size and lies inside the frame.

    Args:
        pose: (3, 3) homography from `draw_pose`.
        outline: (N, 2) polygon of the upright object in [-1, 1].
        longer_side_px: the box's longer side, pixels.
        where: (x, y) in [0, 1], place of the box among all that fit.
        size_px: side of the frame.

    Returns:
        (3, 3) homography from object plane to pixels (edges at integers).
    """
    points = cv2.perspectiveTransform(outline[None], pose)[0]
    low, high = points.min(axis=0), points.max(axis=0)
    scale = longer_side_px / (high - low).max()
    room = size_px - 2 * _FRAME_MARGIN_PX - (high - low) * scale
    shift = _FRAME_MARGIN_PX + where * room - low * scale
    return np.array([[scale, 0, shift[0]], [0, scale, shift[1]], [0, 0, 1]]) @ pose


def draw_light(strength: float, rng: np.random.Generator) -> Light:
    """Brightness, contrast, a coloured gradient and the shadow's direction.

    Args:
        strength: 0 is plain light, 1 the full range of a video.
        rng: what it is drawn from.
    """
    brightness, contrast = rng.uniform(-1, 1, 2) * strength
    corners = rng.uniform(-0.10, 0.10, (2, 2, 1)) + rng.uniform(-0.08, 0.08, (2, 2, 3))
    gain = 1 + 0.16 * contrast
    offset = 128 * (1 - gain) + 24 * brightness
    return Light(
        gains=(gain * (1 + strength * corners)).astype(np.float32),
        offset=float(offset),
        shadow=np.array([rng.uniform(-0.05, 0.05), rng.uniform(0.015, 0.05)]),
        shadow_strength=float(rng.uniform(0.3, 0.6)),
    )


def take_picture(
    sprite: np.ndarray, homography: np.ndarray, scene: np.ndarray, light: Light
) -> tuple[np.ndarray, np.ndarray]:
    """The object on the scene with its soft shadow, lit: (H, W, 3) uint8 and exact (H, W) bool.

    Args:
        sprite: (P, P, 4) uint8 premultiplied RGBA from `draw_sprite`.
        homography: (3, 3) from `fit_pose`.
        scene: (H, W, 3) uint8 RGB.
        light: from `draw_light`.
    """
    size = scene.shape[1::-1]
    matrix = _to_centres(-0.5) @ homography @ _from_sprite(sprite.shape[0])
    warped = cv2.warpPerspective(sprite, matrix, size, flags=cv2.INTER_LINEAR)
    alpha = cv2.extractChannel(warped, 3)
    keep = _kept(alpha, light)
    shown = cv2.multiply(scene, cv2.cvtColor(keep, cv2.COLOR_GRAY2RGB), dtype=cv2.CV_32F)
    shown = cv2.add(shown, cv2.cvtColor(warped, cv2.COLOR_RGBA2RGB), dtype=cv2.CV_32F)
    gains = cv2.resize(light.gains, size, interpolation=cv2.INTER_LINEAR)
    lit = cv2.multiply(shown, gains)
    return cv2.addWeighted(lit, 1, lit, 0, light.offset, dtype=cv2.CV_8U), alpha >= 128


def degrade(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A frame of a poor video: motion blur or low resolution (or both), then JPEG blocks."""
    size_px = image.shape[0]
    which, factor, length, angle, quality = rng.random(5)
    if which < 0.65:
        image = _motion_blurred(image, (0.015 + 0.03 * length) * size_px, angle * np.pi)
    if which > 0.35:
        small = round(size_px * (0.6 + 0.3 * factor))
        image = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
        image = cv2.resize(image, (size_px, size_px), interpolation=cv2.INTER_LINEAR)
    options = [cv2.IMWRITE_JPEG_QUALITY, 45 + int(40 * quality)]
    _, coded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR_RGB))


def _kept(alpha: np.ndarray, light: Light) -> np.ndarray:
    """(H, W) float32, how much of the scene's light is left under object and shadow."""
    size_px = alpha.shape[0]
    dx, dy = light.shadow * size_px
    shift = np.array([[1, 0, dx], [0, 1, dy]])
    soft = cv2.warpAffine(alpha, shift, (size_px, size_px), flags=cv2.INTER_NEAREST)
    width = 2 * round(0.02 * size_px) + 1
    for _ in range(2):  # two box blurs look like a Gaussian at a fifth of the time
        soft = cv2.blur(soft, (width, width))
    shade = 1 - soft * np.float32(light.shadow_strength / 255)
    return shade * (1 - alpha * np.float32(1 / 255))


def _motion_blurred(image: np.ndarray, length_px: float, radians: float) -> np.ndarray:
    """Blurred along a line of `length_px` through each pixel."""
    radius = int(np.ceil(length_px / 2))
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1), np.float32)
    end = np.array([np.cos(radians), np.sin(radians)]) * length_px / 2
    first, last = (np.round((radius + sign * end) * 16).astype(int) for sign in (-1, 1))
    cv2.line(kernel, first.tolist(), last.tolist(), 1.0, 1, cv2.LINE_AA, 4)
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)


def _to_centres(shift: float) -> np.ndarray:
    """From coordinates with pixel edges at integers to OpenCV's, with centres at integers."""
    return np.array([[1, 0, shift], [0, 1, shift], [0, 0, 1]], np.float64)


def _from_sprite(sprite_px: int) -> np.ndarray:
    """From a sprite's pixels (OpenCV's coordinates) to the object's plane [-1, 1]."""
    scale = 2 / (sprite_px - 2 * MARGIN_PX)
    shift = (0.5 - MARGIN_PX) * scale - 1
    return np.array([[scale, 0, shift], [0, scale, shift], [0, 0, 1]])
