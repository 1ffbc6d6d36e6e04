"""The plain way: what one writes in an afternoon. nn modules, a DataLoader, an eager loop.

The same models, losses and batches as steep's engine, so that both can be compared step by step:
``load`` copies an engine model's weights into its plain twin.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader


class PlainRHN(nn.Module):
    """One Linear for h and one for t in each sublayer; x and h side by side into the first."""

    def __init__(self, width: int, vocabulary: int, depth: int = 10) -> None:
        super().__init__()
        self.width = width
        self.embedding = nn.Embedding(vocabulary, width)
        inputs = [2 * width] + [width] * (depth - 1)
        self.h = nn.ModuleList(nn.Linear(size, width) for size in inputs)
        self.t = nn.ModuleList(nn.Linear(size, width) for size in inputs)
        self.decoder = nn.Linear(width, vocabulary)

    def forward(self, tokens_BxT: Tensor) -> Tensor:
        x_BxTxH = self.embedding(tokens_BxT)
        s_BxH = x_BxTxH.new_zeros(len(x_BxTxH), self.width)
        outputs = []
        for time in range(x_BxTxH.shape[1]):
            for layer, (h, t) in enumerate(zip(self.h, self.t, strict=True)):
                given = torch.cat([x_BxTxH[:, time], s_BxH], 1) if layer == 0 else s_BxH
                s_BxH = s_BxH + torch.sigmoid(t(given)) * (torch.tanh(h(given)) - s_BxH)
            outputs.append(s_BxH)
        return self.decoder(torch.stack(outputs, 1))

    def load(self, model: Any) -> None:
        width = self.width
        with torch.no_grad():
            self.embedding.weight.copy_(model.embedding.weight)
            self.decoder.load_state_dict(model.decoder.state_dict())
            for layer in range(len(self.h)):
                weight = model.recurrent_weight[layer]
                if layer == 0:
                    weight = torch.cat([model.input_weight, weight])
                for linear, half in ((self.h, slice(0, width)), (self.t, slice(width, None))):
                    linear[layer].weight.copy_(weight[:, half].t())
                    linear[layer].bias.copy_(model.bias[layer, half])


class PlainLSTM(nn.Module):
    def __init__(self, width: int, vocabulary: int, layers: int = 2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.lstm = nn.LSTM(width, width, layers, batch_first=True)
        self.decoder = nn.Linear(width, vocabulary)

    def forward(self, tokens_BxT: Tensor) -> Tensor:
        return self.decoder(self.lstm(self.embedding(tokens_BxT))[0])

    def load(self, model: Any) -> None:
        with torch.no_grad():
            self.embedding.weight.copy_(model.embedding.weight)
            self.decoder.load_state_dict(model.decoder.state_dict())
            for layer in range(self.lstm.num_layers):
                for ours, theirs in (("input_weight", "ih"), ("recurrent_weight", "hh")):
                    weight = getattr(self.lstm, f"weight_{theirs}_l{layer}")
                    weight.copy_(model.get_parameter(f"{ours}_{layer}"))
                getattr(self.lstm, f"bias_ih_l{layer}").copy_(model.get_parameter(f"bias_{layer}"))
                bias = getattr(self.lstm, f"bias_hh_l{layer}")
                bias.zero_()
                bias.requires_grad_(False)  # ours has one bias: the same steps need the same


class PlainResNet(nn.Module):
    """steep's modules, called one after the other, in torch's default memory format."""

    def __init__(self, width: int, shape: Mapping[str, int]) -> None:
        super().__init__()
        from steep.models import resnet

        self.net = resnet.ResNet(width, shape, resnet.Options(engine="torch"))
        self.net.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]

    def forward(self, x_BxCxHxW: Tensor) -> Tensor:
        net = self.net
        x_BxCxHxW = F.relu(net.stem_norm(net.stem(x_BxCxHxW)))
        for block in net.blocks:
            x_BxCxHxW = block(x_BxCxHxW)
        return net.classifier(F.adaptive_avg_pool2d(x_BxCxHxW, 1).flatten(1))

    def load(self, model: Any) -> None:
        self.net.load_state_dict(model.state_dict())


class PlainTransformer(nn.Module):
    """steep's modules, and all logits at once."""

    def __init__(self, width: int, shape: Mapping[str, int], options: Any) -> None:
        super().__init__()
        from steep.models import transformer

        self.net = transformer.Transformer(width, shape, options)

    def forward(self, tokens_BxT: Tensor) -> Tensor:
        return self.net(tokens_BxT, None)[0]

    def load(self, model: Any) -> None:
        self.net.load_state_dict(model.state_dict())


class PlainSeq2Seq(nn.Module):
    """The decoder step by step through autograd, and logits of padding too."""

    def __init__(self, width: int, shape: Mapping[str, int], options: Any) -> None:
        super().__init__()
        from steep.models import seq2seq

        self.net = seq2seq.Seq2Seq(width, shape, options.model_copy(update={"engine": "plain"}))

    def loss(self, batch: Any) -> Tensor:
        source_BxS, length_B, read_BxT, target_BxT = batch
        logits_BxTxV = self.net(source_BxS, length_B, read_BxT)
        return F.cross_entropy(logits_BxTxV.flatten(0, 1), target_BxT.flatten())

    def load(self, model: Any) -> None:
        self.net.load_state_dict(model.state_dict())


class PackedBiLSTM(nn.Module):
    """torch's own bidirectional LSTM on its own packed sequences."""

    def __init__(self, ours: Any) -> None:
        super().__init__()
        weight = ours.forwards.input_weight
        self.lstm = nn.LSTM(weight.shape[1], len(weight) // 4, batch_first=True, bidirectional=True)
        self.load(ours)

    def forward(self, x_NxI: Tensor, ragged: Any) -> Tensor:
        frames_B = torch.from_numpy(ragged.frames_B)
        packed = nn.utils.rnn.pack_padded_sequence(
            ragged.padded(x_NxI), frames_B, batch_first=True, enforce_sorted=False
        )
        h_BxTxH, _ = nn.utils.rnn.pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        return ragged.rows(h_BxTxH)

    def load(self, ours: Any) -> None:
        with torch.no_grad():
            for way, end in ((ours.forwards, ""), (ours.backwards, "_reverse")):
                self.lstm.get_parameter(f"weight_ih_l0{end}").copy_(way.input_weight)
                self.lstm.get_parameter(f"weight_hh_l0{end}").copy_(way.recurrent_weight)
                self.lstm.get_parameter(f"bias_ih_l0{end}").copy_(way.bias)
                second = self.lstm.get_parameter(f"bias_hh_l0{end}")
                second.zero_()
                second.requires_grad_(False)  # ours has one bias: the same steps need the same


class PlainSpeech(nn.Module):
    """steep's other modules around packed LSTMs; an attention step by step through autograd."""

    def __init__(self, build: Any, width: int, shape: Mapping[str, int], options: Any) -> None:
        super().__init__()
        if "engine" in type(options).model_fields:
            options = options.model_copy(update={"engine": "plain"})
        self.net = build(width, shape, options)
        layers = getattr(self.net, "listener", self.net).layers
        for number, lstm in enumerate(layers):
            layers[number] = PackedBiLSTM(lstm)

    def loss(self, batch: Any) -> Tensor:
        x_BxTxF, frames_B, text_BxL, characters_B = batch
        nats_B = self.net.nats(self.net.hear(x_BxTxF, frames_B), text_BxL, characters_B)
        return nats_B.sum() / float(characters_B.sum())

    def load(self, model: Any) -> None:
        own = getattr(self.net, "listener", self.net).layers
        ours = getattr(model, "listener", model).layers
        for packed, lstm in zip(own, ours, strict=True):
            packed.load(lstm)
        known = self.net.state_dict()
        self.net.load_state_dict({k: v for k, v in model.state_dict().items() if k in known}, False)


def twin(family: str, width: int, shape: Mapping[str, int], options: Any) -> Any:
    """The plain model of a family; ``load`` gives it the weights of the engine's."""
    if family in ("deepspeech2", "attention"):
        from steep.base.registry import FAMILIES
        from steep.spec.load import member

        return PlainSpeech(member(FAMILIES, family).build, width, shape, options)
    if family == "rhn":
        return PlainRHN(width, shape["vocabulary"])
    if family == "lstm":
        return PlainLSTM(width, shape["vocabulary"])
    if family == "resnet":
        return PlainResNet(width, shape)
    return {"transformer": PlainTransformer, "seq2seq": PlainSeq2Seq}[family](width, shape, options)


def loader(data: Any, order: list[list[int]], collate: Any = None) -> DataLoader[Any]:
    """A DataLoader over batches of items in a given order, in this process."""
    return DataLoader(data, batch_sampler=order, collate_fn=collate)


def step(model: Any, optimizer: torch.optim.Optimizer, batch: Any, clip: float) -> float:
    """One update by the mean cross-entropy; the loss before it."""
    optimizer.zero_grad()
    if hasattr(model, "loss"):
        loss = model.loss(batch)
    else:
        inputs, targets = batch
        loss = F.cross_entropy(model(inputs).flatten(0, -2), targets.flatten())
    loss.backward()
    if clip:
        nn.utils.clip_grad_norm_(model.parameters(), clip)
    optimizer.step()
    return loss.item()


def optimizer(name: str, model: nn.Module, rate: float) -> torch.optim.Optimizer:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if name == "momentum":
        return torch.optim.SGD(trained, lr=rate, momentum=0.9, nesterov=True)
    return {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[name](trained, lr=rate)
