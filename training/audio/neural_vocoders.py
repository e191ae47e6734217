"""Six small vocoders of our own, each of another family. All are trained here on the real clips and shipped nowhere.

Every one has ``analyse`` (sound to features) and ``generate`` (features to sound); ``forward`` is the copy. ``penalty``
is what a family adds to the losses that all share.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.audio.neural_blocks import InverseHead, MelSpectra, Trunk, inverse, magnitude, spectrum
from training.audio.sounds import RATE
from training.audio.spectra import pitch


class CopyModel(nn.Module):
    """What training and copying ask of a vocoder.

    Attributes:
        piece: samples of a training piece; batch: pieces of a step.
        blurs: whether its features may be blurred like predicted ones.
        spectral: whether the shared losses (spectra, critics) train it.
    """

    piece, batch = 16_384, 8
    blurs, spectral = True, True

    def analyse(self, sound: Tensor) -> Tensor:
        """[b, n] -> features [b, c, t]."""
        raise NotImplementedError

    def generate(self, features: Tensor, length: int) -> Tensor:
        """Features -> [b, length]."""
        raise NotImplementedError

    def prepare(self, sounds: Iterable[Tensor]) -> None:
        """Fit what is fitted before the training, on whole sounds [n]."""

    def penalty(self, sound: Tensor) -> Tensor:
        """What the family adds to the loss of the last ``forward``."""
        return sound.new_zeros(())

    def forward(self, sound: Tensor) -> Tensor:
        """The copy, [b, n] -> [b, n]."""
        return self.generate(self.analyse(sound), sound.shape[1])


class InverseTransformVocoder(CopyModel):
    """Frames of mel bands to magnitudes and phases (Vocos kind)."""

    def __init__(self) -> None:
        super().__init__()
        self.mel = MelSpectra(1024, 256, 80)
        self.trunk = Trunk(80, 256, 6)
        self.head = InverseHead(256, 1024, 256)

    def analyse(self, sound: Tensor) -> Tensor:
        return torch.as_tensor(self.mel(sound))

    def generate(self, features: Tensor, length: int) -> Tensor:
        return torch.as_tensor(self.head(self.trunk(features), length))


class ResidualStack(nn.Module):
    """Mean of residual chains of dilated convolutions with several kernel lengths."""

    def __init__(self, width: int, kernels: tuple[int, ...] = (3, 7, 11), dilations: tuple[int, ...] = (1, 3)) -> None:
        super().__init__()
        self.chains = nn.ModuleList(
            nn.ModuleList(nn.Conv1d(width, width, k, padding=(k - 1) * d // 2, dilation=d) for d in dilations)
            for k in kernels
        )

    def forward(self, signal: Tensor) -> Tensor:
        total = torch.zeros_like(signal)
        for chain in self.chains:
            answer = signal
            assert isinstance(chain, nn.ModuleList)
            for layer in chain:
                answer = answer + layer(functional.leaky_relu(answer, 0.1))
            total = total + answer
        return total / len(self.chains)


class UpsamplingVocoder(CopyModel):
    """Transposed convolutions from frames to samples (HiFi-GAN kind)."""

    piece = 8_192

    def __init__(self) -> None:
        super().__init__()
        self.mel = MelSpectra(1024, 256, 80)
        widths, self.factors = (160, 80, 40, 20), (8, 8, 4)
        self.first = nn.Conv1d(80, widths[0], 7, padding=3)
        self.ups = nn.ModuleList(
            nn.ConvTranspose1d(old, new, 2 * f, f, padding=f // 2)
            for old, new, f in zip(widths, widths[1:], self.factors)
        )
        self.stacks = nn.ModuleList(ResidualStack(new) for new in widths[1:])
        self.last = nn.Conv1d(widths[-1], 1, 7, padding=3)

    def analyse(self, sound: Tensor) -> Tensor:
        return torch.as_tensor(self.mel(sound))

    def generate(self, features: Tensor, length: int) -> Tensor:
        signal = self.first(features)
        for up, stack in zip(self.ups, self.stacks):
            signal = stack(up(functional.leaky_relu(signal, 0.1)))
        made = torch.tanh(self.last(functional.leaky_relu(signal, 0.1)).float())[:, 0]
        # Frames stand around multiples of the hop: half a hop comes before the first sample.
        made = made[:, 128 : 128 + length]
        return functional.pad(made, (0, length - made.shape[1]))


def harmonic_source(f0: Tensor, hop: int, length: int) -> Tensor:
    """Band-limited pulses at the pitch [b, t] of frames, silent where it is 0: [b, length]."""
    track = functional.interpolate(f0[:, None], scale_factor=hop, mode="nearest")[:, 0, :length].double()
    tonal = track > 0
    phase = 2 * torch.pi * torch.cumsum(track / RATE, dim=1)
    count = torch.floor(0.98 * RATE / 2 / torch.clamp(track, min=50.0)).clamp(min=1)
    below = torch.sin(phase / 2)
    near = below.abs() < 1e-4
    kernel = torch.sin((count + 0.5) * phase) / torch.where(near, torch.ones_like(below), below)
    kernel = torch.where(near, 2 * count + 1, kernel) - 1
    return torch.where(tonal, kernel / torch.sqrt(2 * count), torch.zeros_like(kernel)).float()


class SourceFilterVocoder(CopyModel):
    """Pulses and noise through filters that a network draws for every frame (DDSP kind)."""

    size, hop = 512, 128
    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.mel = MelSpectra(self.size, self.hop, 64)
        bins = self.size // 2 + 1
        self.trunk = Trunk(66, 192, 4)
        self.out = nn.Linear(192, 3 * bins)
        self.register_buffer("window", torch.hann_window(self.size), persistent=False)

    def analyse(self, sound: Tensor) -> Tensor:
        tracks = [pitch(one.numpy(), self.hop)[0] for one in sound.detach()]
        f0 = torch.from_numpy(np.stack(tracks).astype(np.float32))
        return torch.cat([self.mel(sound), torch.log(f0 + 1)[:, None] / 5, (f0 > 0).float()[:, None]], dim=1)

    def generate(self, features: Tensor, length: int) -> Tensor:
        answer = self.out(self.trunk(features))
        with torch.autocast("cpu", enabled=False):
            tonal, turn, hiss = answer.float().transpose(1, 2).chunk(3, dim=1)
            voiced = features[:, 65] > 0.5
            f0 = torch.where(voiced, torch.exp(features[:, 64] * 5) - 1, torch.zeros_like(features[:, 64]))
            pulses = spectrum(harmonic_source(f0, self.hop, length), self.size, self.hop, self.window)
            noise = spectrum(torch.randn(len(features), length), self.size, self.hop, self.window)
            level = torch.exp(torch.clamp(tonal - 3, max=4.0))
            shape = torch.complex(level * torch.cos(turn), level * torch.sin(turn))
            mixed = pulses * shape + noise * torch.exp(torch.clamp(hiss - 4, max=4.0))
            return inverse(mixed, self.size, self.hop, self.window, length)


class FlowVocoder(CopyModel):
    """Flow matching of complex spectra, from mel magnitudes with random phases to speech, in a few steps.

    From pure noise a network of this size learns nothing in minutes; here it has phases and fine structure to find.
    """

    size, hop, bands, steps = 512, 128, 80, 6
    spectral = False
    window: Tensor
    spread: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.mel = MelSpectra(self.size, self.hop, self.bands)
        self.bins = self.size // 2
        self.trunk = Trunk(2 * self.bins + self.bands + 8, 320, 6)
        self.out = nn.Linear(320, 2 * self.bins)
        self.register_buffer("window", torch.hann_window(self.size), persistent=False)
        spread = torch.linalg.pinv(self.mel.filters)[: self.bins]
        self.register_buffer("spread", spread, persistent=False)

    def analyse(self, sound: Tensor) -> Tensor:
        return torch.as_tensor(self.mel(sound))

    def _target(self, sound: Tensor) -> Tensor:
        """Spectra with magnitudes to the power 0.3, real above imaginary parts; the top bin is left out."""
        spectra = spectrum(sound, self.size, self.hop, self.window)[:, : self.bins]
        spectra = spectra * magnitude(spectra) ** -0.7
        return torch.cat([spectra.real, spectra.imag], dim=1)

    def _start(self, features: Tensor) -> Tensor:
        """What mel bands tell of the magnitudes, with phases that nobody knows."""
        sizes = torch.clamp(self.spread @ torch.exp(features), min=1e-5) ** 0.3
        turns = 2 * torch.pi * torch.rand(sizes.shape)
        return torch.cat([sizes * torch.cos(turns), sizes * torch.sin(turns)], dim=1)

    def _speed(self, state: Tensor, features: Tensor, moment: Tensor) -> Tensor:
        angles = moment[:, None] * torch.pi * torch.tensor([0.5, 1.0, 2.0, 4.0])[None]
        clock = torch.cat([torch.sin(angles), torch.cos(angles)], dim=1)[:, :, None].expand(-1, -1, state.shape[2])
        with torch.autocast("cpu", torch.bfloat16):
            answer = self.out(self.trunk(torch.cat([state, features / 5, clock], dim=1)))
        return torch.as_tensor(answer.float().transpose(1, 2))

    def penalty(self, sound: Tensor) -> Tensor:
        goal, features = self._target(sound), self.analyse(sound)
        start = self._start(features)
        moment = torch.rand(len(goal))
        state = (1 - moment)[:, None, None] * start + moment[:, None, None] * goal
        error = (self._speed(state, features, moment) - (goal - start)).square().mean()
        return error / goal.square().mean()

    def generate(self, features: Tensor, length: int) -> Tensor:
        state = self._start(features)
        for step in range(self.steps):
            moment = torch.full((len(features),), step / self.steps)
            state = state + self._speed(state, features, moment) / self.steps
        real, imaginary = state.chunk(2, dim=1)
        # Steps towards the mean of what may be shrink magnitudes: they keep what the mel bands tell.
        wanted = self._start(features)
        wanted = torch.sqrt(wanted[:, : self.bins] ** 2 + wanted[:, self.bins :] ** 2)
        found = magnitude(torch.complex(real, imaginary))
        sizes = (0.5 * found + 0.5 * wanted) ** (1 / 0.3) / found
        spectra = torch.complex(real * sizes, imaginary * sizes)
        spectra = torch.cat([spectra, torch.zeros_like(spectra[:, :1])], dim=1)
        return inverse(spectra, self.size, self.hop, self.window, length)


class CodecVocoder(CopyModel):
    """Mel bands to the entries of eight residual codebooks, 50 frames a second, and a decoder of these (codec kind)."""

    size, hop, books, entries, bands = 1280, 320, 8, 256, 80
    blurs = False
    codes: Tensor
    middle: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.mel = MelSpectra(self.size, self.hop, self.bands)
        self.trunk = Trunk(self.bands, 256, 6)
        self.head = InverseHead(256, self.size, self.hop)
        self.register_buffer("codes", torch.randn(self.books, self.entries, self.bands) * 0.5)
        self.register_buffer("middle", torch.full((self.bands,), -4.0))
        self.used = self.books

    @torch.no_grad()
    def prepare(self, sounds: Iterable[Tensor], rounds: int = 6) -> None:
        """Fit the codebooks, each by k-means to what the ones before it leave."""
        frames = torch.cat([self.mel(sound[None])[0].T for sound in sounds])
        frames = frames[torch.randperm(len(frames))[:12_000]]
        self.middle.copy_(frames.mean(dim=0))
        rest = frames - self.middle
        for book in self.codes:
            book.copy_(rest[torch.randint(len(rest), (self.entries,))])
            for _ in range(rounds):
                near = torch.cdist(rest, book).argmin(dim=1)
                counts = torch.bincount(near, minlength=self.entries).clamp(min=1)[:, None]
                book.copy_(torch.zeros_like(book).index_add_(0, near, rest) / counts)
            rest = rest - book[torch.cdist(rest, book).argmin(dim=1)]

    @torch.no_grad()
    def analyse(self, sound: Tensor) -> Tensor:
        rest = self.mel(sound).transpose(1, 2) - self.middle
        whole, shape = rest, rest.shape
        used = int(torch.randint(3, self.books + 1, ())) if self.training else self.used
        for book in self.codes[:used]:
            near = torch.cdist(rest.reshape(-1, self.bands), book).argmin(dim=1)
            rest = rest - book[near].reshape(shape)
        return torch.as_tensor((whole - rest + self.middle).transpose(1, 2))

    def generate(self, features: Tensor, length: int) -> Tensor:
        return torch.as_tensor(self.head(self.trunk(features), length))


class BlockwiseVocoder(CopyModel):
    """A recurrent network that writes 10 ms after 10 ms, hearing what it wrote (autoregressive kind)."""

    block, past, width = 160, 480, 320
    piece, batch = 6_400, 16

    def __init__(self) -> None:
        super().__init__()
        self.mel = MelSpectra(640, self.block, 64)
        self.condition = Trunk(64, 128, 2)
        self.hear = nn.Linear(self.past, 128)
        self.cell = nn.GRUCell(128 + 128 + 16, self.width)
        self.second = nn.GRUCell(self.width + 128, self.width)
        self.out = nn.Linear(2 * self.width, self.block)
        self.gain = nn.Linear(128, 1)

    def analyse(self, sound: Tensor) -> Tensor:
        return torch.as_tensor(self.mel(sound))

    def generate(self, features: Tensor, length: int) -> Tensor:
        frames = self.condition(features)
        gains = torch.exp(torch.clamp(self.gain(frames) - 2, max=2.0))
        count = len(features)
        one = frames.new_zeros(count, self.width)
        two = frames.new_zeros(count, self.width)
        heard = frames.new_zeros(count, self.past)
        noise = torch.randn(frames.shape[1], count, 16)
        blocks = []
        for step in range(-(-length // self.block)):
            gain = gains[:, step]
            ear = torch.tanh(self.hear(heard / gain))
            one = self.cell(torch.cat([frames[:, step], ear, noise[step]], dim=1), one)
            two = self.second(torch.cat([one, ear], dim=1), two)
            made = self.out(torch.cat([one, two], dim=1)) * gain
            blocks.append(made)
            heard = torch.cat([heard[:, self.block :], made], dim=1)
        return torch.tanh(torch.cat(blocks, dim=1)[:, :length].float())


#: Our own vocoders by name, which is their family too.
OWN: dict[str, type[CopyModel]] = {
    "own_istft": InverseTransformVocoder,
    "own_upsampling": UpsamplingVocoder,
    "own_source_filter": SourceFilterVocoder,
    "own_flow": FlowVocoder,
    "own_codec": CodecVocoder,
    "own_autoregressive": BlockwiseVocoder,
}
