"""SODA: semantic-cohesive knowledge distillation for cross-modal hashing.

Sun, Chen, Yan. arXiv 2510.09664, 2025. https://arxiv.org/abs/2510.09664

Labels become a third, textual modality: a set of prompts "An image of [label]". A teacher aligns image and
label in Hamming space; its image codes are then fixed and teach the text network of the student.

    stage 1   θ_ij = κ f_i·h_j     Φ1 = Σ softplus(θ) - S θ      Φ2 = ||B - F||² + ||B - H||²,  B = sgn(F + H)
              L_T = Φ1 + α Φ2  (+ η (||Fᵀ1||² + ||Hᵀ1||²))            f: image head,  h: label head
    hand-over b_i = sgn(f(x_i)), once; f is frozen, and is also the final image hash function
    stage 2   ψ_ij = κ b_i·g_j     Φ3 = Σ softplus(ψ) - S ψ      Φ4 = ||B - G||²
              L_S = Φ3 + β Φ4              (+ η ||Gᵀ1||²)             g: text head
    test      image code sgn(f(x)), text code sgn(g(x)); labels and prompts are never used

From the paper (as far as it is known to us): the idea, two stages, frozen image codes, the prompt template,
two losses a stage with weights α and β, CLIP encoders. OUR INFERENCE, because the paper's formulas are not
known to us: both Φ (the first author's earlier code: HiCHNet, SIGIR 2019, itself DCMH), how a set of prompts
becomes one vector (mean), the heads, every number, and η = 0. Each inference is a switch below.

``reduction`` is the trap: the author's code divides one sum over b·N pairs, b·k entries and k squared bit sums
by b·N, so its α counts α·k/N, and its η counts η·k·N/b, in the mean form used here by default. Φ2 is logged as
it is and as it is weighed. The number to expect is in the README.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from hashbench.config import Config, hp
from hashbench.losses import pair_likelihood, sign
from hashbench.method import Hasher, Items, Method, Needs, Paper, Rows, Run, View
from hashbench.nn import code_statistics, gradient_norm, parameter_groups, set_falling_step, standardised_encoder


@dataclass(frozen=True, kw_only=True)
class TeacherConfig(Config):
    """Everything that stage 1 depends on; two students with the same of these share one teacher."""

    label_modality: Literal[
        "set_mean", "set_max", "joined", "bare", "photo", "flickr", "dictionary", "onehot", "random", "permuted"
    ] = hp("set_mean", "prompt that makes the label modality (sec. 4.1; set_mean: its template, averaged)",
           sweep=("set_mean", "bare", "onehot", "random"))  # fmt: skip
    alpha: float = hp(0.05, "binarisation penalty of stage 1 (α)", sweep=(0.0, 0.01, 0.05, 0.2, 1.0, 5.0), low=0.0)
    eta: float = hp(0.0, "bit balance weight (η); not in the paper", sweep=(0.0, 0.1, 1.0), low=0.0)
    pair_loss: Literal["nll", "balanced_nll", "ssah_mse", "mse_cos"] = hp(
        "nll", "nll: -log likelihood; balanced_nll: similar and dissimilar pairs weigh the same; ssah_mse: its "
        "square, as in SSAH's code; mse_cos: (cos - (2S - 1))²")  # fmt: skip
    kappa: float | Literal["8/bits"] = hp(0.5, "scale of the inner product (κ)", sweep=(0.5, "8/bits"), low=0.0)
    inner: Literal["dot", "cosine"] = hp("dot", "inner product, or k·cosine as Bi_NCMH's normalisation suggests")
    similarity: Literal["shared_label", "bidirectional"] = hp(
        "shared_label", "S: 1 if a label is shared; or the mean agreement on labels both have and both lack"
    )
    reduction: Literal["mean", "author_sum"] = hp("mean", "how Φ1 and Φ2 are weighed against each other")
    pairs: Literal["bank", "batch"] = hp("bank", "pair a batch with stored outputs of all items, or with itself")
    bank_start: Literal["outputs", "normal"] = hp("outputs", "first content of the banks: outputs, or N(0, 1)")
    heads: Literal["mlp", "author"] = hp(
        "mlp",
        "mlp: Linear-ReLU-Linear-tanh; author: Linear-tanh, text with a hidden layer of 8192, N(0, .01²)",
    )
    hidden: int = hp(512, "width of the hidden layer of an mlp head", sweep=(256, 512, 1024), low=1)
    batch_size: int = hp(128, "items a step", sweep=(32, 128, 512), low=2)
    optimiser: Literal["adam", "sgd"] = hp("adam", "adam, or sgd with a step that falls linearly to 1e-5")
    lr: float = hp(1e-3, "first step size", sweep=(1e-4, 1e-3), low=0.0)
    encoder_lr: float = hp(1e-5, "step of a pre-trained encoder under --tuning full", low=0.0)
    probe_every: int = hp(5, "epochs between two measurements of Image->Label MAP; 0: never", low=0)
    teacher_share: float = hp(
        1.0, "share of the training items that stage 1 sees; its codes teach on all", low=0.001, high=1.0, since=1.0
    )


@dataclass(frozen=True, kw_only=True)
class SODAConfig(TeacherConfig):
    epochs: int = hp(30, "epochs of stage 2, and of stage 1 unless teacher_epochs says otherwise", low=1)
    teacher_epochs: int | None = hp(None, "epochs of stage 1; none: the same as epochs", low=0)
    teacher: Literal["two_stage", "none", "joint", "joint_coupled", "swap"] = hp(
        "two_stage", "none: image and text align directly, same losses and epochs; joint: all heads at once; "
        "joint_coupled: and Φ3 moves the image head; swap: text and label first, image follows")  # fmt: skip
    teacher_codes: Literal["sign_f", "unified", "label", "continuous"] = hp(
        "sign_f", "what teaches stage 2: sgn(F), sgn(F + H), sgn(H), or F itself"
    )
    stage2_image: Literal["frozen", "finetune", "refresh", "ema"] = hp(
        "frozen", "finetune: the image head goes on with the text; refresh: it goes on with the labels and its "
        "codes are renewed; ema: the same with averaged codes")  # fmt: skip
    finetune_rate: float = hp(0.1, "share of lr for the image head in stage 2 (ρ)", sweep=(0.01, 0.1, 1.0), low=0.0)
    refresh_every: int = hp(5, "epochs between two renewals of the codes (T)", sweep=(1, 5), low=1)
    ema_decay: float = hp(0.9, "weight of the past in the averaged codes, an epoch", low=0.0, high=1.0)
    beta: float = hp(0.05, "binarisation penalty of stage 2 (β)", sweep=(0.0, 0.01, 0.05, 0.2, 1.0, 5.0), low=0.0)
    phi3_weight: float = hp(1.0, "weight of Φ3; 0: the text head only copies the codes (Φ4)", low=0.0, since=1.0)

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, Any]]:
        """``author`` is the schedule of the first author's earlier code (HiCHNet), not of a released SODA."""
        return {
            "default": {},
            "author": {
                "reduction": "author_sum", "alpha": 1.0, "beta": 1.0, "heads": "author", "bank_start": "normal",
                "optimiser": "sgd", "lr": 0.1, "epochs": 500,
            },
        }  # fmt: skip


@dataclass
class Branch:
    """One hash head at work: its view, network, optimiser, and a bank of its outputs for all items (n, k)."""

    view: View
    net: nn.Sequential
    optimiser: torch.optim.Optimizer
    bank: Tensor


class SODA(Method[SODAConfig]):
    paper = Paper(
        "Semantic-Cohesive Knowledge Distillation for Deep Cross-modal Hashing",
        "arXiv", 2025, "https://arxiv.org/abs/2510.09664",
    )  # fmt: skip
    kind = "distilled"
    needs = Needs(labels="all", prompts=True)
    version = 1
    config_class = SODAConfig

    def fit(self, train: Items, run: Run) -> Hasher:
        cfg = self.config
        if cfg.teacher == "none":
            nets = self._direct(train, run)
        elif cfg.teacher in ("joint", "joint_coupled"):
            nets = self._joint(train, run)
        else:
            lead, follower = ("text", "image") if cfg.teacher == "swap" else ("image", "text")
            nets = self._staged(train, run, lead, follower)
        self._probe_end(train, run, nets)
        return Hasher(nets)

    # ---------------------------------------------------------------- the ways to train

    def _staged(self, train: Items, run: Run, lead: str, follower: str) -> dict[str, nn.Module]:
        """Teacher, hand-over, student."""
        cfg = self.config
        of_teacher = {f.name for f in fields(TeacherConfig)}
        settings = {name: value for name, value in cfg.key_fields().items() if name in of_teacher}
        settings |= {"lead": lead, "epochs": self._teacher_epochs}
        state = run.stage("soda/teacher", settings, lambda: self._teacher(train, run, lead))

        label_outputs = state["label_outputs"]
        f = self._branch(train.views[lead], lead, run, cfg.finetune_rate, state["outputs"])
        f.net.load_state_dict(_part(state, "net."))
        codes = {
            "sign_f": sign(f.bank),
            "unified": sign(f.bank + label_outputs),
            "label": sign(label_outputs),
            "continuous": f.bank,
        }[cfg.teacher_codes]
        g = self._branch(train.views[follower], follower, run)
        match cfg.stage2_image:
            case "frozen":
                f.net.requires_grad_(False)
                for epoch in self._epochs(run, cfg.epochs, "student", g):
                    logged = self._follow(train, run, g, codes, epoch)
                    run.log(phase="student", epoch=epoch, **logged, **code_statistics(g.bank))
            case "finetune":
                self._finetune(train, run, f, g)
            case "refresh" | "ema":
                prompts = train.label_view(cfg.label_modality)
                h = self._branch(prompts, "label", run, cfg.finetune_rate, label_outputs)
                h.net.load_state_dict(_part(state, "label_net."))
                self._renewed(train, run, f, h, g, codes)
        return {lead: f.net, follower: g.net}

    def _teacher(self, train: Items, run: Run, lead: str) -> dict[str, Tensor]:
        """Stage 1: image and label heads align; returns both networks and their outputs on the training items."""
        seen = self._seen(train, run)
        some = train if seen is None else Items({}, train.need_labels()[seen])
        f = self._branch(_only(train.views[lead], seen), lead, run)
        labels = train.label_view(self.config.label_modality)
        h = self._branch(_only(labels, seen), "label", run)

        def everywhere() -> tuple[Branch, Branch]:
            """Both heads with their outputs for all training items, seen or not."""
            whole = replace(f, view=train.views[lead]), replace(h, view=labels)
            return replace(whole[0], bank=_outputs(whole[0])), replace(whole[1], bank=_outputs(whole[1]))

        logged: dict[str, float] = {}
        for epoch in self._epochs(run, self._teacher_epochs, "teacher", f, h):
            logged = self._align(some, run, f, h, epoch)
            measured = (f, h) if seen is None or not self._probed(run, epoch) else everywhere()
            probe = self._probe_teacher(train, run, lead, *measured, epoch)
            run.log(phase="teacher", epoch=epoch, **logged, **code_statistics(f.bank), **probe)
        if logged:
            _warn(run, logged.get("phi1_over_entropy", 0.0), code_statistics(f.bank)["dead"])
        elif self._probed(run, -1):
            run.log(phase="teacher", epoch=-1, **self._probe_teacher(train, run, lead, *everywhere(), -1))
        f, h = everywhere()
        return {
            **{f"net.{k}": v for k, v in f.net.state_dict().items()},
            **{f"label_net.{k}": v for k, v in h.net.state_dict().items()},
            "outputs": f.bank,
            "label_outputs": h.bank,
        }

    def _seen(self, train: Items, run: Run) -> Tensor | None:
        """Rows (m,) of the items that stage 1 sees, a larger share's among them; None: all."""
        if self.config.teacher_share == 1:
            return None
        order = torch.randperm(len(train), generator=run.generator("teacher share"))
        return order[: max(2, round(self.config.teacher_share * len(train)))].sort().values

    def _direct(self, train: Items, run: Run) -> dict[str, nn.Module]:
        """Without a teacher: image and text align with the losses and the epochs of both stages."""
        f, g = (self._branch(train.views[name], name, run) for name in ("image", "text"))
        for epoch in self._epochs(run, self._teacher_epochs + self.config.epochs, "direct", f, g):
            logged = self._align(train, run, f, g, epoch)
            run.log(phase="direct", epoch=epoch, **logged, **code_statistics(f.bank))
        return {"image": f.net, "text": g.net}

    def _joint(self, train: Items, run: Run) -> dict[str, nn.Module]:
        """L_T + L_S with all three heads at once; B^v = sgn(F) moves on with the image head."""
        cfg, coupled = self.config, self.config.teacher == "joint_coupled"
        f, g = (self._branch(train.views[name], name, run) for name in ("image", "text"))
        h = self._branch(train.label_view(cfg.label_modality), "label", run)
        first = sign(f.bank)
        for epoch in self._epochs(run, self._teacher_epochs + cfg.epochs, "joint", f, g, h):
            logged = self._align(train, run, f, h, epoch, also=g if coupled else None)
            logged |= self._follow(train, run, g, sign(f.bank), epoch, f.bank if coupled else None)
            probe = self._probe_teacher(train, run, "image", f, h, epoch)
            run.log(
                phase="joint",
                epoch=epoch,
                **logged,
                **code_statistics(f.bank),
                **probe,
                drift=_drift(f, first),
            )
        return {"image": f.net, "text": g.net}

    def _finetune(self, train: Items, run: Run, f: Branch, g: Branch) -> None:
        """Stage 2 in which the image head goes on, with step ρ·lr, against the text outputs."""
        cfg, first = self.config, sign(f.bank)
        for epoch in self._epochs(run, cfg.epochs, "student", f, g):
            logged = self._follow(train, run, g, sign(f.bank), epoch)
            passes = self._pass(train, run, "finetune", f, [g.bank], sign(f.bank), cfg.beta, epoch)
            logged = self._averages(passes, "phi3_image", "phi4_image") | logged
            run.log(phase="student", epoch=epoch, **logged, **code_statistics(g.bank), drift=_drift(f, first))

    def _renewed(self, train: Items, run: Run, f: Branch, h: Branch, g: Branch, codes: Tensor) -> None:
        """Stage 2 in which the teacher goes on, with step ρ·lr, and its codes are renewed for the student."""
        cfg, first, average = self.config, sign(f.bank), f.bank.clone()
        for epoch in self._epochs(run, cfg.epochs, "student", f, h, g):
            logged = self._align(train, run, f, h, self._teacher_epochs + epoch)
            average = cfg.ema_decay * average + (1 - cfg.ema_decay) * f.bank
            if cfg.stage2_image == "ema":
                codes = sign(average)
            elif (epoch + 1) % cfg.refresh_every == 0:
                codes = sign(f.bank)
            logged |= self._follow(train, run, g, codes, epoch)
            run.log(phase="student", epoch=epoch, **logged, **code_statistics(g.bank), drift=_drift(f, first))

    # ---------------------------------------------------------------- one epoch

    def _align(
        self, train: Items, run: Run, f: Branch, h: Branch, epoch: int, also: Branch | None = None
    ) -> dict[str, float]:
        """Φ1 + α Φ2 for one epoch, both heads; ``also`` adds Φ3 to the image head (joint_coupled)."""
        codes = sign(f.bank + h.bank)
        if self.config.pairs == "bank":
            passes = [
                *self._pass(train, run, "image", f, [h.bank, *([also.bank] if also else [])], codes,
                            self.config.alpha, epoch),
                *self._pass(train, run, "label", h, [f.bank], codes, self.config.alpha, epoch),
            ]  # fmt: skip
        else:
            passes = list(self._pass_in_batch(train, run, f, h, epoch, also))
        return self._averages(passes, "phi1", "phi2", train) | {
            "gradient_norm": gradient_norm(f.net),
            "gradient_norm_other": gradient_norm(h.net),
        }

    def _follow(
        self, train: Items, run: Run, g: Branch, codes: Tensor, epoch: int, lead: Tensor | None = None
    ) -> dict[str, float]:
        """Φ3 + β Φ4 for one epoch: the text head follows codes (n, k), paired with ``lead`` or with the codes."""
        others = [codes if lead is None else lead]
        passes = self._pass(train, run, "student", g, others, codes, self.config.beta, epoch, self.config.phi3_weight)
        return self._averages(passes, "phi3", "phi4", train) | {"gradient_norm_student": gradient_norm(g.net)}

    def _pass(
        self, train: Items, run: Run, stream: str, own: Branch, others: list[Tensor], codes: Tensor,
        weight: float, epoch: int, pair_weight: float = 1.0,
    ) -> Iterator[Tensor]:  # fmt: skip
        """One pass of one head over the data against constant outputs of the others; yields its measures."""
        own.net.train()
        n, in_batch = len(train), self.config.pairs == "batch"
        for i in run.batches(n, self.config.batch_size, stream, epoch):
            out = own.net(own.view.batch(i)).float()  # (b, k)
            own.bank[i] = out.detach()
            similarity = self._similarity(train, i, i if in_batch else None)  # (b, b) or (b, n)
            penalty = (codes[i] - out).pow(2).mean()
            mean = (own.bank.sum(0) - own.bank[i].sum(0) + out.sum(0)) / n  # Fᵀ1 / N, with this batch's gradient
            measures = [self._pair_loss(out, other[i] if in_batch else other, similarity) for other in others]
            pair = torch.stack([loss for loss, _ in measures]).sum()
            loss, weighted = self._loss(pair_weight * pair, penalty, [mean], weight, similarity.shape)
            run.descend(loss, own.optimiser)
            yield torch.stack([measures[0][0].detach(), penalty.detach(), weighted.detach(), *measures[0][1]])

    def _pass_in_batch(
        self, train: Items, run: Run, f: Branch, h: Branch, epoch: int, also: Branch | None
    ) -> Iterator[Tensor]:
        """One pass over pairs inside the batch; both heads step together."""
        f.net.train(), h.net.train()
        for i in run.batches(len(train), self.config.batch_size, "pairs", epoch):
            a, b = f.net(f.view.batch(i)).float(), h.net(h.view.batch(i)).float()  # (b, k) each
            f.bank[i], h.bank[i] = a.detach(), b.detach()
            codes, similarity = sign(a + b), self._similarity(train, i, i)
            pair, statistics = self._pair_loss(a, b, similarity)
            penalty = (codes - a).pow(2).mean() + (codes - b).pow(2).mean()
            means = [a.mean(0), b.mean(0)]
            loss, weighted = self._loss(pair, penalty, means, self.config.alpha, similarity.shape)
            if also is not None:
                loss = loss + self._pair_loss(a, also.bank[i], similarity)[0]
            run.descend(loss, f.optimiser, h.optimiser)
            yield torch.stack([pair.detach(), penalty.detach() / 2, weighted.detach() / 2, *statistics])

    # ---------------------------------------------------------------- the losses

    def _pair_loss(self, out: Tensor, others: Tensor, similarity: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Φ1 or Φ3 as a mean over pairs, with mean |θ| and the share of |θ| > 10."""
        cfg, k = self.config, out.shape[1]
        if cfg.pair_loss == "mse_cos":
            theta = nnf.normalize(out) @ nnf.normalize(others).T
            loss = (theta - (2 * similarity - 1)).pow(2).mean()
        else:
            kappa = 8 / k if cfg.kappa == "8/bits" else float(cfg.kappa)
            if cfg.inner == "cosine":
                theta = kappa * k * nnf.normalize(out) @ nnf.normalize(others).T
            else:
                theta = kappa * out @ others.T
            likelihood = pair_likelihood(theta, similarity)
            if cfg.pair_loss == "ssah_mse":
                loss = likelihood.pow(2).mean()
            elif cfg.pair_loss == "balanced_nll":
                similar = similarity.mean().clamp(1e-6, 1 - 1e-6)
                weights = similarity / (2 * similar) + (1 - similarity) / (2 * (1 - similar))
                loss = (weights * likelihood).mean()
            else:
                loss = likelihood.mean()
        size = theta.detach()[:, ::16].abs()  # every 16th column is plenty for a diagnostic
        return loss, (size.mean(), (size > 10).float().mean())

    def _loss(
        self, pair: Tensor, penalty: Tensor, means: list[Tensor], weight: float, shape: torch.Size
    ) -> tuple[Tensor, Tensor]:
        """Φ_pair + weight · Φ_penalty + η · balance, weighed as ``reduction`` says; and the middle term alone.

        Args:
            pair: Mean over the pairs of a batch.
            penalty: Mean over the batch's entries.
            means: (k,) bit means Fᵀ1 / N of each head that is trained.
            weight: α or β.
            shape: Of the pairs: rows of the batch, and items that each is paired with.
        """
        k, eta, (rows, columns) = len(means[0]), self.config.eta, shape
        if self.config.reduction == "author_sum":  # rows·k entries and k squared bit sums, over rows·columns
            weight, eta = weight * k / columns, eta * k * columns / rows
        balance = torch.stack([m.pow(2).mean() for m in means]).sum()
        return pair + weight * penalty + eta * balance, weight * penalty

    def _similarity(self, train: Items, rows: Tensor, columns: Tensor | None) -> Tensor:
        """S (rows, columns) in [0, 1]."""
        if self.config.similarity == "shared_label":
            return train.similarity(rows, columns)
        y = train.need_labels()
        a, b = y[rows], y if columns is None else y[columns]
        return (_agreement(a, b) + _agreement(1 - a, 1 - b)) / 2

    # ---------------------------------------------------------------- heads and schedule

    def _branch(self, view: View, name: str, run: Run, share: float = 1.0, bank: Tensor | None = None) -> Branch:
        """A fresh head that steps with a share of lr; its bank starts as given, or as ``bank_start`` says."""
        cfg = self.config
        net = _head(view, name, run.bits, cfg)
        groups = parameter_groups(net, view, cfg.lr * share, cfg.encoder_lr * share)
        optimiser = torch.optim.Adam(groups) if cfg.optimiser == "adam" else torch.optim.SGD(groups)
        normal = torch.randn(len(view), run.bits, device=run.device)
        branch = Branch(view, net, optimiser, normal if bank is None else bank)
        if bank is None and cfg.bank_start == "outputs":
            branch.bank = _outputs(branch)
        return branch

    @property
    def _teacher_epochs(self) -> int:
        return self.config.epochs if self.config.teacher_epochs is None else self.config.teacher_epochs

    def _epochs(self, run: Run, count: int, phase: str, *branches: Branch) -> Iterator[int]:
        """The epochs of a stage. SGD's step falls linearly to 1e-5 over them, Adam's stays."""
        for epoch in run.epochs(count, phase):
            if self.config.optimiser == "sgd":
                for branch in branches:
                    set_falling_step(branch.optimiser, epoch, count, last=1e-5)
            yield epoch

    # ---------------------------------------------------------------- diagnostics

    def _averages(
        self, measures: Iterable[Tensor], pair: str, penalty: str, train: Items | None = None
    ) -> dict[str, float]:
        """Averages an epoch's measures under their names, beside the entropy that a constant θ would reach."""
        phi, quantisation, weighted, theta, saturated = torch.stack(list(measures)).mean(0).tolist()
        logged = {
            pair: phi, penalty: quantisation, f"weighted_{penalty}": weighted,
            "theta": theta, "saturated": saturated,
        }  # fmt: skip
        if train is not None:
            entropy, logged["similar_rate"] = self._entropy(train)
            if self.config.pair_loss == "nll":
                logged[f"{pair}_over_entropy"] = phi / entropy
        return logged

    def _entropy(self, train: Items) -> tuple[float, float]:
        """Entropy H(p) in nats, and p, the mean of S over at most 1,000 evenly spaced training items."""
        n = len(train)
        rows = torch.arange(0, n, -(-n // 1000))
        p = self._similarity(train, rows, rows).mean().clamp(1e-6, 1 - 1e-6)
        return float(-(p * p.log() + (1 - p) * (1 - p).log())), float(p)

    def _probed(self, run: Run, epoch: int) -> bool:
        every = self.config.probe_every
        return run.validation is not None and bool(every) and (epoch + 1) % every == 0

    def _probe_teacher(self, train: Items, run: Run, lead: str, f: Branch, h: Branch, epoch: int) -> dict[str, float]:
        """Image->Label, Label->Image and Image->Image MAP of validation items against the training items."""
        held = run.validation
        if held is None or not self._probed(run, epoch):
            return {}
        labels, held_labels = train.need_labels(), held.need_labels()
        held_f = _outputs(Branch(held.views[lead], f.net, f.optimiser, f.bank))
        held_h = _outputs(Branch(held.label_view(self.config.label_modality), h.net, h.optimiser, h.bank))
        score = run.mean_average_precision
        return {
            f"map_{lead}_label": score(held_f, h.bank, held_labels, labels),
            f"map_label_{lead}": score(held_h, f.bank, held_labels, labels),
            f"map_{lead}_{lead}": score(held_f, f.bank, held_labels, labels),
        }

    def _probe_end(self, train: Items, run: Run, nets: Mapping[str, nn.Module]) -> None:
        """MAP of validation items against training items, every pair of views, with the final networks."""
        if run.validation is None or not self.config.probe_every:
            return
        hasher, labels = Hasher(nets), train.need_labels()
        codes = {
            (side, name): torch.from_numpy(hasher.encode(name, items.views[name]))
            for side, items in (("validation", run.validation), ("train", train))
            for name in nets
        }
        held = run.validation.need_labels()
        run.log(
            phase="end",
            **{
                f"map_{a}_{b}": run.mean_average_precision(codes["validation", a], codes["train", b], held, labels)
                for a in nets
                for b in nets
            },
        )


def _head(view: View, name: str, bits: int, cfg: TeacherConfig) -> nn.Sequential:
    """Standardised encoder, then the hash head; outputs in (-1, 1)."""
    if cfg.heads == "mlp":
        layers = [nn.Linear(view.dim, cfg.hidden), nn.ReLU(), nn.Linear(cfg.hidden, bits)]
    elif name == "text":
        layers = [nn.Linear(view.dim, 8192), nn.ReLU(), nn.Linear(8192, bits)]
    else:
        layers = [nn.Linear(view.dim, bits)]
    if cfg.heads == "author":
        for layer in layers:
            for parameter in layer.parameters():
                nn.init.normal_(parameter, 0, 0.01)
    return nn.Sequential(standardised_encoder(view), *layers, nn.Tanh()).to(view.device)


def _part(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose name starts with ``prefix``, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


@dataclass(frozen=True)
class _Some:
    """Some rows of a view, as rows."""

    rows: Rows
    which: Tensor

    def __len__(self) -> int:
        return len(self.which)

    def __getitem__(self, index: Tensor, /) -> Tensor:
        return self.rows[self.which[index]]


def _only(view: View, seen: Tensor | None) -> View:
    """The view of some items (m,); None: all."""
    return view if seen is None else replace(view, rows=_Some(view.rows, seen))


@torch.no_grad()
def _outputs(branch: Branch, batch_size: int = 512) -> Tensor:
    """(n, k) outputs for every row of the view, in evaluation mode."""
    branch.net.eval()
    rows = torch.arange(len(branch.view)).split(batch_size)
    return torch.cat([branch.net(branch.view.batch(i)).float() for i in rows])


def _drift(branch: Branch, first: Tensor) -> float:
    """Share of training code bits that changed since ``first`` (n, k)."""
    return (sign(branch.bank) != first).float().mean().item()


def _agreement(a: Tensor, b: Tensor) -> Tensor:
    """(r, m) Jaccard index of the ones of two sets of rows; 0 where neither has any."""
    both = a @ b.T
    return both / (a.sum(1)[:, None] + b.sum(1)[None] - both).clamp_min(1)


def _warn(run: Run, phi1_over_entropy: float, dead: float) -> None:
    """Say so when stage 1 learned next to nothing or lost its bits."""
    if phi1_over_entropy > 0.9:
        run.log(warning=f"stage 1 hardly learned: Φ1 is {phi1_over_entropy:.2f} of a constant's; check features")
    if dead > 0.1:
        run.log(
            warning=f"{dead:.0%} of the bits are dead after stage 1; try pair_loss=balanced_nll where few pairs "
            "are similar, or a lower alpha"
        )
