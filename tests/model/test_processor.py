"""The processor is known by the flags that it names."""

from model.processor import multiplies_bytes


def test_processors_are_known_by_what_they_say(tmp_path):
    for flags, multiplies in (
        ("fpu avx2 avx512_vnni", True),
        ("Features : fp asimd asimddp", True),
        ("fpu avx2", False),
    ):
        file = tmp_path / flags.replace(" ", "_")
        file.write_text(f"flags\t: {flags}\n")
        assert multiplies_bytes(file) is multiplies
    assert multiplies_bytes(tmp_path / "absent") is False
