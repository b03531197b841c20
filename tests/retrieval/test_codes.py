"""Packing loses nothing, distances are Hamming distances, and what is not a code is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashbench.errors import UsageError
from hashbench.retrieval import PackedCodes, digest, distances, from_bytes, pack, to_bytes, unpack


def random_codes(items: int, bits: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).choice(np.array([-1, 1], np.int8), (items, bits))


@settings(max_examples=60, deadline=None)
@given(items=st.integers(0, 5), bits=st.integers(1, 200), seed=st.integers(0, 999))
def test_packing_and_storing_lose_nothing(items: int, bits: int, seed: int) -> None:
    codes = random_codes(items, bits, seed)
    packed = pack(codes)
    assert packed.words.shape == (items, -(-bits // 64))
    assert len(packed) == items
    assert (unpack(packed) == codes).all()
    assert unpack(packed).dtype == np.int8
    assert (pack(codes > 0).words == packed.words).all()
    stored = to_bytes(packed)
    assert (stored == np.packbits(codes > 0, axis=1)).all()
    assert (from_bytes(stored, bits).words == packed.words).all()


def test_plus_one_is_the_bit_one_and_the_first_bit_the_highest() -> None:
    assert to_bytes(pack(np.array([[1, -1, -1, 1, -1, -1, -1, -1, 1]], np.int8))).tolist() == [[0x90, 0x80]]


def test_zero_counts_as_plus_one_when_packed_as_documented() -> None:
    assert unpack(pack(np.array([[-0.5, 0.0, -0.0, 2.0]]) >= 0)).tolist() == [[-1, 1, 1, 1]]


@settings(max_examples=40, deadline=None)
@given(bits=st.sampled_from([1, 7, 8, 9, 63, 64, 65, 128, 300, 1024]), seed=st.integers(0, 99))
def test_distance_is_half_of_bits_minus_inner_product(bits: int, seed: int) -> None:
    query, database = random_codes(3, bits, seed), random_codes(4, bits, seed + 1)
    inner = query.astype(int) @ database.astype(int).T
    assert (distances(pack(query), pack(database)) == (bits - inner) // 2).all()


def test_64_bits_at_distance_16_have_inner_product_32() -> None:
    one = np.ones((1, 64), np.int8)
    other = one.copy()
    other[0, ::4] = -1
    assert distances(pack(one), pack(other)).tolist() == [[16]]
    assert int(one[0].astype(int) @ other[0]) == 32


def test_the_largest_distance_does_not_wrap() -> None:
    ones = np.ones((1, 1024), np.bool_)
    assert distances(pack(ones), pack(~ones)).tolist() == [[1024]]


def test_the_digest_is_pinned_and_sees_bits_shape_and_width() -> None:
    codes = np.array([[1, -1, 1], [-1, -1, 1]], np.int8)
    flipped = codes * np.array([[1, 1, -1], [1, 1, 1]], np.int8)
    wider = np.hstack([codes, -np.ones((2, 1), np.int8)])  # the same bytes, one bit more
    found = [digest(pack(c)) for c in (codes, flipped, codes[:1], codes[::-1], wider)]
    assert len(set(found)) == 5
    assert digest(pack(codes > 0)) == found[0]
    assert found[0] == "ba8ac805667f77af17d2736fb0d0838bbaa13b20e1a8fc8980f74e8bb111ee80"


@pytest.mark.parametrize(
    ("codes", "told"),
    [
        (np.array([[1, 0]], np.int8), r"found 0 in row 0, column 1.*values >= 0"),
        (np.array([[1.0, -1.0], [0.3, 1.0]]), "found 0.3 in row 1, column 0"),
        (np.array([[1.0, np.nan]]), "found nan"),
        (np.array([[1, 0]], np.uint8), "dtype uint8"),
        (np.array([1, -1], np.int8), r"shape \(n, k\)"),
        (np.empty((3, 0), np.int8), "k >= 1"),
        (np.array([["1"]]), "dtype"),
    ],
)
def test_what_is_not_a_code_is_refused(codes: np.ndarray, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        pack(codes)


def test_packed_words_are_checked() -> None:
    with pytest.raises(UsageError, match="at least 1 bit"):
        PackedCodes(np.zeros((1, 1), np.uint64), 0)
    with pytest.raises(UsageError, match=r"shape \(n, 2\) for 65 bits"):
        PackedCodes(np.zeros((1, 1), np.uint64), 65)
    with pytest.raises(UsageError, match="uint64"):
        PackedCodes(np.zeros((1, 1), np.int64), 64)
    with pytest.raises(UsageError, match="C-contiguous"):
        PackedCodes(np.zeros((2, 3), np.uint64).T, 128)


@pytest.mark.parametrize("bits", [1, 7, 9, 63, 65])
def test_set_padding_is_refused(bits: int) -> None:
    stored = to_bytes(pack(np.ones((2, bits), np.bool_)))
    stored[1, -1] |= 1
    with pytest.raises(UsageError, match="padding"):
        from_bytes(stored, bits)


def test_stored_codes_of_another_width_are_refused() -> None:
    with pytest.raises(UsageError, match=r"shape \(n, 3\) for 17 bits"):
        from_bytes(np.zeros((2, 2), np.uint8), 17)


def test_codes_of_two_widths_have_no_distance() -> None:
    with pytest.raises(UsageError, match="query has 8 bits, the database has 9"):
        distances(pack(random_codes(1, 8)), pack(random_codes(1, 9)))
