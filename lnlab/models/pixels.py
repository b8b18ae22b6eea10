"""Images to the numbers that networks take: bytes to [−1, 1], channels last.

On a CPU torch's conversion between memory formats goes element by element; OpenCV interleaves the frames and looks the
numbers up, in less than half the time, to the same bits. Checked against the formula (tests/test_fast_layers.py).
"""

import cv2
import numpy as np
import torch
from torch import Tensor


def to_unit(image: Tensor) -> Tensor:
    """2 image / 255 − 1 in place."""
    return image.mul_(2 / 255).sub_(1)


UNIT = to_unit(torch.arange(256, dtype=torch.float32)).numpy()  # of every byte


def pixels(image: Tensor, device: torch.device) -> Tensor:
    """uint8 images (B, C, H, W), also views of longer stacks, to floats in [−1, 1], channels last, on `device`."""
    if device.type == "cpu":
        return _looked_up(image)
    return to_unit(image.to(device).to(torch.float32, memory_format=torch.channels_last))


def _looked_up(image: Tensor) -> Tensor:
    count, channels, height, width = image.shape
    planes = image.numpy().transpose(1, 0, 2, 3).reshape(channels, count * height, width)
    merged = cv2.merge(list(planes)).reshape(count * height, width, channels)  # of one plane it drops the channel axis
    found = np.asarray(cv2.LUT(merged, UNIT)).reshape(count, height, width, channels)
    return torch.from_numpy(found).permute(0, 3, 1, 2)
