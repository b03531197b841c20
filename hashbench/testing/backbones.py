"""The contract of a backbone as laws, on ordinary and on odd pictures and strings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hashbench.backbone import Backbone
from hashbench.errors import Incompatible
from hashbench.method import isolated
from hashbench.testing.fresh import fresh, require_light_import
from hashbench.testing.report import NotApplicable, Report, bind, judge, require
from hashbench.testing.surroundings import traces


def check_backbone(backbone: Backbone, expected_failures: Mapping[str, str] = {}) -> Report:
    """Check that a backbone keeps the contract.

    Args:
        backbone: As its family opens it.
        expected_failures: Check name to the reason why it is known to fail.
    """
    return judge(backbone.name, bind(LAWS, backbone, backbone.name), expected_failures)


def check_identity(backbone: Backbone) -> None:
    """Name, weights and transform are one line each, and using the backbone does not change them."""
    before = backbone.identity
    for part in ("name", "weights", "transform"):
        text = getattr(backbone, part)
        one_line = isinstance(text, str) and bool(text) and text.isprintable()
        require(one_line, f"{part}: expected one line, found {text!r}")
    fixed = backbone.weights in ("untrained", "none")
    hexadecimal = len(backbone.weights) == 16 and set(backbone.weights) <= set("0123456789abcdef")
    require(
        fixed or hexadecimal,
        f"weights: expected 16 hex digits, 'untrained' or 'none', found {backbone.weights!r}",
    )
    require(backbone.modality in ("image", "text"), f"modality: unknown: {backbone.modality!r}")
    require(type(backbone.dim) is int and backbone.dim > 0, f"dim: expected 1 or more, found {backbone.dim!r}")
    _encoder(backbone)(backbone.prepare(_items(backbone)[:1]))
    require(backbone.identity == before, f"the identity becomes {backbone.identity!r} with use")


def check_import_is_light(backbone: Backbone) -> None:
    """Importing the backbone prints nothing, touches no GPU and loads no plotting, model or table package."""
    require_light_import(fresh(type(backbone)))


def check_rows(backbone: Backbone) -> None:
    """Prepared rows are uint8 pixels, int64 token ids or finite float32 vectors, of one shape for any item."""
    items = _items(backbone)
    rows = backbone.prepare(items)
    require(len(rows) == len(items), f"{len(rows)} rows for {len(items)} items")
    allowed = {"image": ((4, torch.uint8), (2, torch.float32)), "text": ((2, torch.int64), (2, torch.float32))}
    require(
        (rows.ndim, rows.dtype) in allowed[backbone.modality] and (rows.ndim < 4 or rows.shape[1] == 3),
        f"rows of {backbone.modality}: found {tuple(rows.shape)} {rows.dtype}",
    )
    require(bool(torch.isfinite(rows).all()), "some rows are not finite")
    distinct = len(torch.unique(rows, dim=0)) > 1
    require(distinct or not backbone.trainable, "every item has the same row")  # a bag may know no word of ours


def check_rows_are_independent(backbone: Backbone) -> None:
    """A prepared row depends on its own item only: alone or in company, it is the same."""
    items = _items(backbone)
    together = backbone.prepare(items)
    for position, item in enumerate(items):
        alone = backbone.prepare([item])[0]
        require(
            torch.equal(alone, together[position]),
            f"item {position} gives {tuple(alone.shape)} alone and another row of {tuple(together[position].shape)} "
            "in company",
        )


def check_leaves_no_trace(backbone: Backbone) -> None:
    """Items and global state stay as they were, and nothing is printed."""
    items = _items(backbone)
    before = [_content(item) for item in items]
    with traces() as found:
        rows = backbone.prepare(items)
        with isolated(0):
            encoder = backbone.encoder().eval()
        with torch.no_grad():
            encoder(rows)
    if [_content(item) for item in items] != before:
        found.append("changed an item")
    require(not found, "; ".join(found))


def check_vectors(backbone: Backbone) -> None:
    """Encoded rows are finite float32 vectors (b, dim), also for odd items."""
    rows = backbone.prepare(_items(backbone))
    vectors = _encode(_encoder(backbone), rows)
    require(vectors.dtype == torch.float32, f"vectors: expected float32, found {vectors.dtype}")
    expected = (len(rows), *((backbone.length,) if backbone.length != 1 else ()), backbone.dim)
    require(vectors.shape == expected, f"vectors: expected {expected}, found {tuple(vectors.shape)}")
    require(bool(torch.isfinite(vectors).all()), "some vectors are not finite")


def check_vectors_are_independent(backbone: Backbone) -> None:
    """In evaluation mode a vector depends on its own row only, and is the same each time."""
    rows, encoder = backbone.prepare(_items(backbone)), _encoder(backbone)
    together = _encode(encoder, rows)
    require(torch.equal(together, _encode(encoder, rows)), "the same rows give other vectors the second time")
    alone = torch.cat([_encode(encoder, row[None]) for row in rows])
    scale = 1e-4 * float(together.abs().max())
    require(torch.allclose(alone, together, rtol=1e-3, atol=scale), "vectors change with the rows beside them")


def check_encoders_are_fresh(backbone: Backbone) -> None:
    """Every encoder is a new module that shares no tensor with the last; the random state decides its start."""
    first, second = _encoder(backbone), _encoder(backbone)
    require(first is not second, "the same encoder is handed out twice")
    a, b = first.state_dict(), second.state_dict()
    shared = [name for name in a if name in b and a[name].numel() and a[name].data_ptr() == b[name].data_ptr()]
    require(not shared, f"two encoders share {', '.join(shared[:3])}")
    require(
        a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a),
        "two encoders made in the same random state differ",
    )


def check_gradients(backbone: Backbone) -> None:
    """A gradient reaches the first layer of a trainable encoder."""
    if not backbone.trainable:
        raise NotApplicable("its weights are 'none': nothing to train")
    encoder = _encoder(backbone)
    first = next(iter(encoder.parameters()), None)
    require(first is not None, "the encoder has no parameters, and weights is not 'none'")
    assert first is not None
    encoder(backbone.prepare(_items(backbone)[:2])).square().sum().backward()
    require(first.grad is not None, "no gradient reaches the first layer")
    assert first.grad is not None
    require(bool(torch.isfinite(first.grad).all()), "the gradient of the first layer is not finite")
    require(bool(first.grad.any()), "the gradient of the first layer is zero")


def check_tokens(backbone: Backbone) -> None:
    """Token sequences, if any, keep these laws too: the plain vector first, then tokens, then zeros; (b, l, d)."""
    try:
        tokens = backbone.tokens()
    except Incompatible as why:
        require(len(str(why).split()) > 2, f"refuses without a reason: {str(why)!r}")
        raise NotApplicable(str(why)) from why
    require(type(tokens.length) is int and tokens.length > 1, f"length: expected 2 or more, found {tokens.length!r}")
    require(tokens.identity != backbone.identity, "the identity is that of the plain backbone")
    for law in (check_identity, check_vectors, check_vectors_are_independent, check_encoders_are_fresh):
        law(tokens)
    if tokens.trainable:
        check_gradients(tokens)
    items = _items(backbone)
    sequences = _encode(_encoder(tokens), tokens.prepare(items))
    plain = _encode(_encoder(backbone), backbone.prepare(items))
    require(
        sequences[:, 0].shape == plain.shape
        and torch.allclose(sequences[:, 0], plain, rtol=1e-3, atol=1e-4 * float(plain.abs().max())),
        "row 0 is not the vector of the plain backbone",
    )
    there = sequences[:, 1:].ne(0).any(2)
    require(bool(there[0].any() and there[1].any()), "an ordinary item has no token")
    require(bool((there[:, :-1] | ~there[:, 1:]).all()), "a token stands after a row of zeros")
    if backbone.modality == "text":
        require(bool(there[2].sum() < there[4].sum()), "no words have as many tokens as thousands: padding is not zero")


LAWS = (
    check_identity,
    check_import_is_light,
    check_rows,
    check_rows_are_independent,
    check_leaves_no_trace,
    check_vectors,
    check_vectors_are_independent,
    check_encoders_are_fresh,
    check_gradients,
    check_tokens,
)


def _encoder(backbone: Backbone) -> nn.Module:
    with isolated(0):
        return backbone.encoder().eval()


@torch.no_grad()
def _encode(encoder: nn.Module, rows: Tensor) -> Tensor:
    vectors: Tensor = encoder(rows)
    return vectors


def _items(backbone: Backbone) -> Sequence[Any]:
    return _pictures() if backbone.modality == "image" else _texts()


def _pictures() -> list[Any]:
    """Two ordinary pictures, then one pixel, transparency, grey, a palette, and one that is very wide."""
    from PIL import Image

    rng = np.random.default_rng(0)
    noise = [Image.fromarray(rng.integers(256, size=(48, 64, 3), dtype=np.uint8)) for _ in range(2)]
    return [
        *noise,
        Image.new("RGB", (1, 1), (200, 10, 10)),
        Image.new("RGBA", (40, 30), (10, 200, 10, 0)),
        noise[0].convert("L"),
        noise[1].convert("P"),
        Image.new("RGB", (600, 4), (10, 10, 200)),
    ]


def _texts() -> list[str]:
    """Two ordinary strings, then nothing, a space, one far too long, joined emoji, and right-to-left script."""
    return ["a cat on a red chair", "two dogs", "", " ", "word " * 5000, "👩‍👩‍👧‍👦 🦊", "שלום עולם مرحبا"]


def _content(item: Any) -> Any:
    return item if isinstance(item, str) else (item.mode, item.size, item.tobytes())
