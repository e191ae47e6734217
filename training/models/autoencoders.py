"""Three small autoencoders that are trained on real faces alone: what they cannot reproduce is unlike a real face.

- :class:`DenoisingAutoencoder` (Vincent et al., JMLR 2010): restores a face from a damaged copy.
- :class:`VariationalAutoencoder` (Kingma and Welling 2014): a latent with a normal prior; a face is judged by its
  reconstruction and by how far its latent lies from the prior (after An and Cho 2015, with the mean of the latent in
  place of samples, so that an answer does not depend on chance).
- :class:`AnomalyAutoencoder` (Denouden et al. 2018): reconstruction error plus the Mahalanobis distance of the latent
  from the latents of real faces.

Each takes normalised float [n, 3, 128, 128] and answers with ``Output``: the logit is the mean of the standardised
parts of its error (0 is the average real face, 1 is one standard deviation worse), the embedding is the latent, and
``cam`` is the reconstruction error of cells of 8 x 8 pixels in the same unit: its mean plus what no cell owns is the
logit. Call :meth:`Autoencoder.fit_to_reals` after training: before it, centre is 0 and spread is 1.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.models.output import Output

SIZE, CELL = 128, 8
WIDTHS = (24, 48, 72, 72)
"""Channels after each of four strided convolutions: 128 px become 8 x 8 cells."""
GRID = SIZE // 2 ** len(WIDTHS)


def _down() -> nn.Sequential:
    layers: list[nn.Module] = []
    width = 3
    for outputs in WIDTHS:
        layers += [nn.Conv2d(width, outputs, 4, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.1)]
        width = outputs
    return nn.Sequential(*layers)


def _up() -> nn.Sequential:
    layers: list[nn.Module] = []
    width = WIDTHS[-1]
    for outputs in (*WIDTHS[-2::-1], WIDTHS[0]):
        # Nearest neighbour and a convolution: a transposed one draws a chequerboard, which is itself a fake's mark.
        layers += [nn.Upsample(scale_factor=2.0), nn.Conv2d(width, outputs, 3, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(outputs), nn.LeakyReLU(0.1)]
        width = outputs
    return nn.Sequential(*layers, nn.Conv2d(width, 3, 3, padding=1), nn.Tanh())


class Autoencoder(nn.Module):
    """What the three share. Subclasses give :meth:`encode`, :meth:`decode` and :meth:`loss`.

    Attributes:
        centre, spread: [parts], mean and standard deviation of each part of the error on real faces.
        side: of the pictures.
    """

    centre: Tensor
    spread: Tensor
    parts = 1
    takes, side = "crop", SIZE

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = _down(), _up()
        self.register_buffer("centre", torch.zeros(self.parts))
        self.register_buffer("spread", torch.ones(self.parts))

    def encode(self, x: Tensor) -> Tensor:
        """The latent [n, d] of normalised pictures."""
        raise NotImplementedError

    def decode(self, latent: Tensor) -> Tensor:
        """Normalised pictures of latents."""
        raise NotImplementedError

    def loss(self, x: Tensor) -> Tensor:
        """What training on real faces lowers, a scalar."""
        raise NotImplementedError

    def latent_error(self, x: Tensor, latent: Tensor) -> Tensor | None:
        """The part of the error that lies in the latent, [n], where there is one."""
        return None

    def forward(self, x: Tensor) -> Output:
        latent, parts, cells = self._measure(x)
        standard = (parts - self.centre) / self.spread
        return Output(standard.mean(dim=1, keepdim=True), latent, cells / (self.spread[0] * self.parts))

    def errors(self, x: Tensor) -> Tensor:
        """The parts of the error before they are standardised, [n, parts]: mean squared error first."""
        return self._measure(x)[1]

    def _measure(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        latent = self.encode(x)
        cells = functional.avg_pool2d((x - self.decode(latent)).square().mean(dim=1, keepdim=True), CELL)[:, 0]
        parts = [cells.mean(dim=(1, 2))]
        hidden = self.latent_error(x, latent)
        if hidden is not None:
            parts.append(hidden)
        return latent, torch.stack(parts, dim=1), cells

    def calibrate_error(self, errors: Tensor) -> None:
        """Set centre and spread from :meth:`errors` of real faces, [n, parts] (or [n] where there is one part).

        Raises:
            ValueError: fewer than two faces, or another number of parts.
        """
        told = errors.reshape(len(errors), -1).detach()
        if told.shape[0] < 2 or told.shape[1] != self.parts:
            raise ValueError(f"errors have shape {tuple(errors.shape)}, expected at least 2 faces x {self.parts} parts")
        self.centre.copy_(told.mean(dim=0))
        self.spread.copy_(told.std(dim=0).clamp(min=1e-4))  # half precision holds no much smaller one

    @torch.no_grad()
    def fit_to_reals(self, batches: Iterable[Tensor]) -> None:
        """Standardise on real faces: normalised batches [n, 3, 128, 128] that may be read once only."""
        self.eval()
        self.calibrate_error(torch.cat([self.errors(batch) for batch in batches]))


class DenoisingAutoencoder(Autoencoder):
    """Restores faces from noise and missing squares; the latent is a map of 16 channels at 8 x 8 cells, d = 1,024.

    Args:
        noise: standard deviation of the noise added in training, in units of the normalised picture.
        hidden: share of the squares of 16 px that are blanked in training.
    """

    CHANNELS = 16

    def __init__(self, noise: float = 0.2, hidden: float = 0.1) -> None:
        super().__init__()
        self.noise, self.hidden = noise, hidden
        self.narrow = nn.Conv2d(WIDTHS[-1], self.CHANNELS, 1)
        self.widen = nn.Conv2d(self.CHANNELS, WIDTHS[-1], 1)

    def encode(self, x: Tensor) -> Tensor:
        result: Tensor = self.narrow(self.encoder(x)).flatten(1)
        return result

    def decode(self, latent: Tensor) -> Tensor:
        result: Tensor = self.decoder(self.widen(latent.reshape(-1, self.CHANNELS, GRID, GRID)))
        return result

    def loss(self, x: Tensor) -> Tensor:
        squares = torch.rand(len(x), 1, SIZE // 16, SIZE // 16, device=x.device) > self.hidden
        kept = functional.interpolate(squares.to(x.dtype), scale_factor=16.0)
        damaged = (x + self.noise * torch.randn_like(x)) * kept
        return functional.mse_loss(self.decode(self.encode(damaged)), x)


class _Flat(Autoencoder):
    """An autoencoder whose latent is one vector.

    A convolution narrows the map before it is flattened: the linear layers would else hold two thirds of the weights.
    """

    CHANNELS = 8

    def __init__(self, latent: int, told: int) -> None:
        super().__init__()
        cells = self.CHANNELS * GRID * GRID
        self.narrow = nn.Conv2d(WIDTHS[-1], self.CHANNELS, 1)
        self.widen = nn.Conv2d(self.CHANNELS, WIDTHS[-1], 1)
        self.to_latent = nn.Linear(cells, told)
        self.from_latent = nn.Linear(latent, cells)

    def flat(self, x: Tensor) -> Tensor:
        """The narrowed map as one vector, [n, cells]."""
        result: Tensor = self.narrow(self.encoder(x)).flatten(1)
        return result

    def decode(self, latent: Tensor) -> Tensor:
        narrow = self.from_latent(latent).reshape(-1, self.CHANNELS, GRID, GRID)
        result: Tensor = self.decoder(self.widen(narrow))
        return result


class VariationalAutoencoder(_Flat):
    """A latent of 64 numbers with a standard normal prior.

    Args:
        beta: weight of the divergence from the prior in the loss, which is the mean over pixels of the squared error
            plus ``beta`` times the mean divergence of a latent number.
    """

    LATENT = 64
    parts = 2

    def __init__(self, beta: float = 2e-3) -> None:
        super().__init__(self.LATENT, 2 * self.LATENT)
        self.beta = beta

    def _posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.to_latent(self.flat(x)).chunk(2, dim=1)
        return mean, log_variance.clamp(-8, 8)

    @staticmethod
    def _divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
        """Kullback-Leibler divergence from the prior, a mean over the latent's numbers, [n]."""
        return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean(dim=1)

    def encode(self, x: Tensor) -> Tensor:
        return self._posterior(x)[0]

    def _measure(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_variance = self._posterior(x)
        cells = functional.avg_pool2d((x - self.decode(mean)).square().mean(dim=1, keepdim=True), CELL)[:, 0]
        return mean, torch.stack([cells.mean(dim=(1, 2)), self._divergence(mean, log_variance)], dim=1), cells

    def loss(self, x: Tensor) -> Tensor:
        mean, log_variance = self._posterior(x)
        drawn = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        divergence = self._divergence(mean, log_variance).mean()
        return functional.mse_loss(self.decode(drawn), x) + self.beta * divergence


class AnomalyAutoencoder(_Flat):
    """A latent of 64 numbers whose distribution on real faces is fitted after training.

    Attributes:
        location: [64], mean latent of real faces; whitening: [64, 64], takes a centred latent to unit covariance.
    """

    LATENT = 64
    parts = 2
    location: Tensor
    whitening: Tensor

    def __init__(self) -> None:
        super().__init__(self.LATENT, self.LATENT)
        self.register_buffer("location", torch.zeros(self.LATENT))
        self.register_buffer("whitening", torch.eye(self.LATENT))

    def encode(self, x: Tensor) -> Tensor:
        result: Tensor = self.to_latent(self.flat(x))
        return result

    def latent_error(self, x: Tensor, latent: Tensor) -> Tensor:
        """Mahalanobis distance from the latents of real faces, divided by the root of the latent's size, [n]."""
        return ((latent - self.location) @ self.whitening).square().mean(dim=1).sqrt()

    def loss(self, x: Tensor) -> Tensor:
        latent = self.encode(x)
        # A light pull towards 0 keeps the latents compact, so that a distance in them means something.
        return functional.mse_loss(self.decode(latent), x) + 1e-4 * latent.square().mean()

    @torch.no_grad()
    def fit_to_reals(self, batches: Iterable[Tensor]) -> None:
        self.eval()
        kept = list(batches)
        latents = torch.cat([self.encode(batch) for batch in kept])
        self.location.copy_(latents.mean(dim=0))
        centred = latents - self.location
        # Shrunk towards its diagonal: with few faces the covariance of 64 numbers has no inverse.
        covariance = centred.T @ centred / max(1, len(latents) - 1)
        shrink = min(1.0, self.LATENT / len(latents))
        covariance = (1 - shrink) * covariance + shrink * covariance.diagonal().diag()
        floor = 1e-3 * covariance.diagonal().mean().clamp(min=1e-3)
        covariance += floor * torch.eye(self.LATENT, device=covariance.device)
        values, vectors = torch.linalg.eigh(covariance)
        self.whitening.copy_(vectors * values.clamp(min=1e-8).rsqrt())
        super().fit_to_reals(kept)
