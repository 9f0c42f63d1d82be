"""A camera frame becomes the model's input: crop, resize, colour, scale, mean and deviation.

Every step is linear in the pixels. Resizing is two matrix products, one per axis; colour order,
the scale of 1/255 and (x - mean) / std are one multiplication and one addition per channel.
"""

import functools
from typing import Any, List, Optional, Sequence, Tuple, Union

import numpy as np

from .core.spec import Preprocessing
from .errors import ConfigError

Images = Union[np.ndarray, Sequence[np.ndarray]]

LUMA_RGB = (0.299, 0.587, 0.114)  # ITU-R BT.601, section 2.5.1
FRAME_COLORS = ("rgb", "bgr")
RESIZES = ("refuse", "area", "bilinear")
WEIGHTS_CACHED_COUNT = 16  # two matrices per camera resolution


class Preprocessor:
    """Turns images into the float32 [C,H,W] arrays that a bundle's first segment reads.

    `color` is the channel order of the caller's colour frames, "rgb" or "bgr"; gray frames are
    recognised by their shape. `resize` ("refuse", "area" or "bilinear") overrides the bundle's.
    ConfigError if either is none of these. Instances are immutable and thread-safe.
    """

    def __init__(
        self, spec: Preprocessing, color: str = "rgb", resize: Optional[str] = None
    ) -> None:
        self.spec = spec
        self.resize = _one_of("resize", spec.resize if resize is None else resize, RESIZES)
        self._flip_channels = _one_of("color", color, FRAME_COLORS) != spec.color
        self._luma = np.array(LUMA_RGB if color == "rgb" else LUMA_RGB[::-1], np.float32)
        mean, std = np.array(spec.mean, np.float64), np.array(spec.std, np.float64)
        self._scale = (1 / (255 * std)).astype(np.float32)[:, None, None]
        self._offset = (-mean / std).astype(np.float32)[:, None, None]

    @property
    def shape(self) -> Tuple[int, int, int]:
        """(C, H, W) of one input."""
        return self.spec.shape

    def __call__(self, images: Images) -> np.ndarray:
        """float32 [B,C,H,W] of whatever `frames` accepts; B is 1 for a single image."""
        singles, _ = self.frames(images)
        batch = np.empty((len(singles),) + self.shape, np.float32)
        for image, out in zip(singles, batch):
            self.write(image, out)
        return batch

    def frames(self, images: Images) -> Tuple[List[np.ndarray], bool]:
        """Split `images` into single images (views); the flag tells that it was one image.

        One image is uint8 [H,W] (gray), uint8 [H,W,3] (colour), or float32 [C,H,W] already in the
        model's layout. A batch is one of these with a leading axis, or a list or tuple of single
        images, whose sizes may differ. uint8 with three axes is one colour image if the last axis
        is 3, otherwise a batch of gray images; pass a list where that is not what you mean.
        ConfigError for anything else.
        """
        if isinstance(images, (list, tuple)):
            singles, was_single = list(images), False
        else:
            was_single = not self._is_batch(images)
            singles = [images] if was_single else list(images)
        for index, image in enumerate(singles):
            if not self._is_single(image):
                raise self._refusal(image, "image" if was_single else "image {}".format(index))
        return singles, was_single

    def write(self, image: np.ndarray, out: np.ndarray) -> None:
        """Write one image into `out`, float32 [C,H,W], without allocating if the size is exact.

        ConfigError if the image is no image, has a size that `resize` refuses, or is float32 of
        another shape or with values that are not finite.
        """
        if not self._is_single(image):
            raise self._refusal(image, "image")
        if image.dtype == np.float32:
            _check_finite(image)
            out[...] = image
            return
        pixels = self._resized(self._cropped(image))
        np.multiply(self._planes(pixels), self._scale, out=out)
        np.add(out, self._offset, out=out)

    def _is_batch(self, images: Any) -> bool:
        """Whether an array has a leading batch axis; an array that is no image at all has none."""
        if not isinstance(images, np.ndarray):
            return False
        if images.dtype == np.float32:
            return images.shape[1:] == self.shape
        if images.dtype != np.uint8:
            return False
        if images.ndim == 4:
            return images.shape[3] == 3
        # Widths up to 4 are channels (gray, gray and alpha, RGBA) far more often than images, and
        # the model's own layout is a mistake far more often than three gray images.
        return images.ndim == 3 and images.shape[2] > 4 and images.shape != (3,) + self.shape[1:]

    def _is_single(self, image: Any) -> bool:
        if not isinstance(image, np.ndarray) or not image.size:
            return False
        if image.dtype == np.float32:
            return image.shape == self.shape
        is_frame = image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)
        return is_frame and image.dtype == np.uint8

    def _cropped(self, frame: np.ndarray) -> np.ndarray:
        """The largest centred part (a view) that has the input's aspect ratio, to the pixel."""
        height, width = frame.shape[:2]
        _, model_height, model_width = self.shape
        if self.spec.crop != "center" or height * model_width == width * model_height:
            return frame
        cut_height = min(height, max(1, round(width * model_height / model_width)))
        cut_width = min(width, max(1, round(height * model_width / model_height)))
        top, left = (height - cut_height) // 2, (width - cut_width) // 2
        return frame[top : top + cut_height, left : left + cut_width]

    def _resized(self, frame: np.ndarray) -> np.ndarray:
        """[h,w] or [h,w,3] -> the model's height and width; unchanged if it has them already."""
        height, width = frame.shape[:2]
        _, model_height, model_width = self.shape
        if (height, width) == (model_height, model_width):
            return frame
        if self.resize == "refuse":
            raise ConfigError(
                "image: found {} x {} pixels (height x width){}; expected {} x {}; resize it "
                'yourself or allow it with resize="area" (shrinking) or resize="bilinear"'.format(
                    height,
                    width,
                    " after the centre crop" if self.spec.crop == "center" else "",
                    model_height,
                    model_width,
                )
            )
        rows = _weights(self.resize, model_height, height)
        columns = _weights(self.resize, model_width, width)
        shorter = rows @ frame.reshape(height, -1).astype(np.float32)
        resized = columns @ shorter.reshape(model_height, width, -1)
        return resized.reshape((model_height, model_width) + frame.shape[2:])

    def _planes(self, pixels: np.ndarray) -> np.ndarray:
        """[H,W] or [H,W,3] -> [1,H,W] or [3,H,W] in the model's colour order (a view if it can be).

        A gray model reads the luma of a colour frame; a colour model sees a gray frame three times.
        """
        if pixels.ndim == 2:
            return pixels[None]
        if self.spec.color == "gray":
            return np.dot(pixels, self._luma)[None]
        return (pixels[:, :, ::-1] if self._flip_channels else pixels).transpose(2, 0, 1)

    def _refusal(self, image: Any, name: str) -> ConfigError:
        return ConfigError(
            "{}: found {}; expected uint8 [H,W] or [H,W,3] (a frame) or float32 {} (already in the "
            "model's layout); {}".format(
                name, _describe(image), _shape_text(self.shape), _remedy(image)
            )
        )


def _one_of(name: str, value: str, allowed: Sequence[str]) -> str:
    if value not in allowed:
        choices = " or ".join('"{}"'.format(choice) for choice in allowed)
        raise ConfigError("{}: found {!r}; expected {}".format(name, value, choices))
    return value


@functools.lru_cache(maxsize=WEIGHTS_CACHED_COUNT)
def _weights(resize: str, target: int, source: int) -> np.ndarray:
    """float32 [target,source], each row summing to 1: one axis of a resize as a matrix."""
    exact = (_area_weights if resize == "area" else _bilinear_weights)(target, source)
    weights = exact.astype(np.float32)
    weights.flags.writeable = False  # shared by every thread
    return weights


def _area_weights(target: int, source: int) -> np.ndarray:
    """Exact box average: the share of target pixel t's box that source pixel s covers.

    Both axes are laid over one ruler of target * source ticks, so that all edges are integers.
    """
    t, s = np.arange(target)[:, None], np.arange(source)[None, :]
    covered = np.minimum((t + 1) * source, (s + 1) * target) - np.maximum(t * source, s * target)
    return np.maximum(covered, 0) / source


def _bilinear_weights(target: int, source: int) -> np.ndarray:
    """Linear interpolation between the two nearest source pixels: half-pixel centres, clamped
    edges, no smoothing before shrinking (what OpenCV calls INTER_LINEAR)."""
    centers = ((np.arange(target) + 0.5) * source / target - 0.5).clip(0, source - 1)
    return np.maximum(0, 1 - np.abs(centers[:, None] - np.arange(source)))


def _check_finite(image: np.ndarray) -> None:
    finite_count = np.count_nonzero(np.isfinite(image))
    if finite_count != image.size:
        raise ConfigError(
            "image: found {} values that are NaN or infinite among {}; expected finite float32; "
            "check the normalisation (a standard deviation of zero?)".format(
                image.size - finite_count, image.size
            )
        )


def _shape_text(shape: Tuple[int, ...]) -> str:
    return "[{}]".format(",".join(str(size) for size in shape))


def _describe(image: Any) -> str:
    if not isinstance(image, np.ndarray):
        return "a {}".format(type(image).__name__)
    return "{} {}".format(image.dtype, _shape_text(image.shape))


def _remedy(image: Any) -> str:
    """What to do about something that is no image."""
    if not isinstance(image, np.ndarray):
        return "convert it with numpy.asarray"
    if image.size == 0:
        return "it is empty: check the camera, the file or the crop"
    if image.dtype.kind == "f":
        return (
            "pass the uint8 frame itself, or normalise it as in training, put the channels first "
            "with transpose(2, 0, 1) and convert it with astype(numpy.float32)"
        )
    if image.dtype != np.uint8:
        return "convert it with astype(numpy.uint8) if its values are 0..255"
    if image.ndim >= 3 and image.shape[-1] == 1:
        return "drop the last axis with image[..., 0]"
    if image.ndim >= 3 and image.shape[-1] == 4:
        return "drop the alpha channel with image[..., :3]"
    if image.ndim >= 3 and image.shape[-3] in (1, 3):
        return "put the channels last with numpy.moveaxis(image, -3, -1)"
    return "pass one image, a batch with one leading axis, or a list of images"
