"""A patient finer than the CT that the registration gets: what the X-rays of the validation are taken of.

The demo CT is taken as what a scanner made of this patient: the mean of 2 x 2 x 2 voxels of the patient, voxel by
voxel, is the CT. Within that, edges are sharpened by cubic interpolation and a seeded texture is added whose
strength follows the local contrast, so that there is detail below the CT's resolution which the registration
cannot know. The CT that the registration gets has its own noise on top, which the patient has not.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from igrt_firmware_sim.patient import Patient

FINER = 2
TEXTURE_OF_CONTRAST = 0.35
TEXTURE_FLOOR_HU = 15.0
CT_NOISE_HU = 20.0
AIR_HU = -1000

Volume = NDArray[np.float32]


def detailed(patient: Patient, seed: int = 1) -> Patient:
    """The patient at half the voxel size. Where the CT is air by the body contour, the patient is air."""
    ct = patient.hu.astype(np.float32)
    fine = _twice(_twice(_twice(ct, 0), 1), 2)
    fine += _texture(ct, seed)
    # The scanner's voxels are means of the patient's; three corrections bring the clipped values close to it.
    for _ in range(3):
        np.clip(fine, AIR_HU, 3500.0, out=fine)
        fine += _repeated(ct - _means(fine))
    fine[_repeated(ct) <= AIR_HU] = AIR_HU
    spacing = tuple(step / FINER for step in patient.spacing_mm)
    origin = tuple(
        at - (step - fine_step) / 2.0
        for at, step, fine_step in zip(patient.origin_mm, patient.spacing_mm, spacing, strict=True)
    )
    return replace(
        patient,
        hu=np.ascontiguousarray(np.clip(np.rint(fine), -1024, 6000), dtype=np.int16),
        spacing_mm=spacing,
        origin_mm=origin,
    )


def noisy_ct(hu: NDArray[np.float32], seed: int = 2) -> NDArray[np.float32]:
    """The CT as another scan of the same patient would give it: with noise that the patient does not have."""
    noise = np.random.default_rng(seed).standard_normal(hu.shape, dtype=np.float32)
    return np.asarray(hu + CT_NOISE_HU * noise, dtype=np.float32)


def _twice(volume: Volume, axis: int) -> Volume:
    """Catmull-Rom at a quarter and three quarters of each voxel along one axis; the ends repeat."""
    v = np.moveaxis(volume, axis, 0)
    padded = np.concatenate([v[:1], v[:1], v, v[-1:], v[-1:]])
    a, b, c, d = (padded[k : k + len(v) + 1] for k in range(4))

    def between(t: float) -> Volume:
        return np.asarray(
            b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a))),
            dtype=np.float32,
        )

    out = np.empty((2 * len(v), *v.shape[1:]), dtype=np.float32)
    out[0::2] = between(0.75)[: len(v)]
    out[1::2] = between(0.25)[1:]
    return np.moveaxis(out, 0, axis)


def _texture(ct: Volume, seed: int) -> Volume:
    """Noise without a mean over the CT's voxels, as strong as the CT changes from voxel to voxel."""
    contrast = sum(np.abs(np.gradient(ct, axis=axis)) for axis in range(3))
    strength = TEXTURE_FLOOR_HU + TEXTURE_OF_CONTRAST * contrast / 3.0
    shape = tuple(FINER * n for n in ct.shape)
    noise = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    noise -= _repeated(_means(noise))
    noise *= _repeated(strength.astype(np.float32))
    return noise


def _means(fine: Volume) -> Volume:
    z, y, x = (n // FINER for n in fine.shape)
    return np.asarray(
        fine.reshape(z, FINER, y, FINER, x, FINER).mean(axis=(1, 3, 5)), dtype=np.float32
    )


def _repeated(coarse: Volume) -> Volume:
    return coarse.repeat(FINER, 0).repeat(FINER, 1).repeat(FINER, 2)
