from __future__ import annotations

from model.events.pseudonym import pseudonym


def test_a_pseudonym_is_half_of_an_hmac_sha256():
    # printf u1 | openssl dgst -sha256 -hmac k
    assert pseudonym("u1", "k") == "731757b19387f029ed2b9879ee82a538"
    assert pseudonym("u1", "other") != pseudonym("u1", "k") != pseudonym("u2", "k")
