"""What the counterparts' tests rest on: installed once, skipped with a reason, used or said."""

import sys
from pathlib import Path

import pytest

from tests.counterparts import install
from tests.counterparts.install import RegistryUnreachableError
from tests.counterparts.programs import Started


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(install, "FOLDER", tmp_path)
    return tmp_path


def test_what_is_here_at_the_wanted_version_is_not_built_again(folder: Path) -> None:
    built: list[Path] = []

    def build(where: Path) -> None:
        where.mkdir()
        built.append(where)

    for wanted in ("one==1", "one==1", "one==2"):
        assert install._installed("one", [wanted], build) == folder / "one"

    assert built == [folder / "one"] * 2


def test_what_was_built_by_half_is_built_again(folder: Path) -> None:
    def fail(where: Path) -> None:
        where.mkdir()
        (where / "half").touch()
        raise RegistryUnreachableError("one==1")

    with pytest.raises(RegistryUnreachableError):
        install._installed("one", ["one==1"], fail)
    install._installed("one", ["one==1"], lambda where: where.mkdir())

    assert not (folder / "one" / "half").exists()


def test_a_registry_that_does_not_answer_is_told_from_one_that_says_no() -> None:
    def says(text: str) -> list[str]:
        return [sys.executable, "-c", f"import sys; sys.exit({text!r})"]

    with pytest.raises(RegistryUnreachableError, match=r"^one==1 is not installed.*\(ENOTFOUND\)"):
        install._run(says("npm error code ENOTFOUND"), "one==1")
    with pytest.raises(AssertionError, match=r"cannot install one==1: \s*No matching"):
        install._run(says("No matching distribution found for one==1"), "one==1")


def test_a_browser_that_only_root_could_install_is_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(install, "CHROMIUM", "no-such-browser")
    monkeypatch.setattr("os.geteuid", lambda: 1_000)
    monkeypatch.setattr(install, "_run", lambda *told: asked.append(str(told)))

    with pytest.raises(RegistryUnreachableError, match=r"^no-such-browser is not on PATH"):
        install._chromium()

    assert asked == []


def test_a_program_that_was_started_and_never_called_is_named() -> None:
    started = Started()

    started.stopped("emulate", is_used=True)
    started.stopped("emulate", is_used=False)
    started.stopped("litellm", is_used=False)

    assert started.in_vain == ["litellm"]
