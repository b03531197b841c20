"""The toy set is what the kit relies on: seeded, separable, raw on request, with prompts."""

from __future__ import annotations

import torch

from hashbench.testing import toy_items


def test_shapes_and_label_counts() -> None:
    items = toy_items(50, views=("image", "text", "audio"), classes=5)
    assert {name: (view.features().shape, view.dim) for name, view in items.views.items()} == {
        "image": ((50, 24), 24),
        "text": ((50, 20), 20),
        "audio": ((50, 18), 18),
    }
    labels = items.need_labels()
    assert labels.shape == (50, 5)
    assert set(labels.sum(1).tolist()) == {1.0, 2.0}


def test_the_seed_decides_items_and_the_view_name_its_prototypes() -> None:
    same, other = toy_items(seed=3), toy_items(seed=4)
    assert torch.equal(toy_items(seed=3).image.features(), same.image.features())
    assert not torch.equal(other.image.features(), same.image.features())
    nearest = torch.cdist(same.image.features(), other.image.features()).argmin(1)  # prototypes are shared
    assert (same.need_labels() * other.need_labels()[nearest]).sum(1).gt(0).float().mean() > 0.9


def test_raw_rows_go_through_an_encoder_that_knows_whether_it_moved() -> None:
    items = toy_items(8, raw=True)
    assert items.image.batch(torch.arange(2)).dtype == torch.uint8
    assert items.text.batch(torch.arange(2)).dtype == torch.int64
    for view in items.views.values():
        encoder = view.encoder()
        vectors = encoder(view.batch(torch.arange(8)))
        assert vectors.shape == (8, view.dim)
        assert not encoder.moved
        vectors.sum().backward()
        torch.optim.SGD(encoder.parameters(), lr=0.1).step()
        assert encoder.moved


def test_sequences_are_the_vectors_and_then_tokens_and_then_zeros() -> None:
    items, plain = toy_items(40, tokens=True), toy_items(40)
    for name, view in items.views.items():
        assert (view.length, view.dim) == (4, plain.views[name].dim)
        sequences = view.encoder()(view.features())
        assert sequences.shape == (40, view.length, view.dim)
        assert torch.equal(sequences[:, 0], plain.views[name].features())
        there = sequences.ne(0).any(2)
        assert set(there.sum(1).tolist()) == {1, 2, 3}
        assert not (there[:, 1:] & ~there[:, :-1]).any(), "a token stands after a row of zeros"


def test_raw_sequences_come_from_an_encoder_that_can_be_trained() -> None:
    for view in toy_items(8, raw=True, tokens=True).views.values():
        encoder = view.encoder()
        sequences = encoder(view.batch(torch.arange(8)))
        assert sequences.shape == (8, view.length, view.dim) == (8, 4, view.dim)
        sequences.sum().backward()
        assert all(bool(p.grad.any()) for p in encoder.parameters())


def test_prompts_are_made_of_labels_alone() -> None:
    items = toy_items()
    labels = items.need_labels()
    assert torch.equal(items.label_view("onehot").features(), labels)
    bare, again = items.label_view("bare").features(), items.label_view("bare").features()
    assert torch.equal(bare, again)
    assert not torch.equal(bare, items.label_view("photo").features())
    same = (labels[:, None] == labels[None]).all(2)
    assert torch.equal((bare[:, None] == bare[None]).all(2), same)
