"""Versions of experiments, and how the next one is chosen."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from scythe_cli.core.names import parse_version

__all__ = ["BUMPS", "Bump", "SemVer", "VersioningStrategy", "next_version"]


Bump = Literal["major", "minor", "patch", "keep"]
"""What `--bump` takes."""

VersioningStrategy = Literal["bumpmajor", "bumpminor", "bumppatch", "keep"]
"""What `BaseExperiment.allocate(version=…)` takes beside a `SemVer`."""

BUMPS: dict[str, Bump] = {"bumpmajor": "major", "bumpminor": "minor", "bumppatch": "patch", "keep": "keep"}

_MAX = 999_999_999  # what is written can be read again


class SemVer(BaseModel):
    """A version `vMAJOR.MINOR.PATCH`; versions are ordered and hashable."""

    model_config = ConfigDict(frozen=True)

    major: int = Field(ge=0, le=_MAX)
    minor: int = Field(default=0, ge=0, le=_MAX)
    patch: int = Field(default=0, ge=0, le=_MAX)

    @classmethod
    def FromString(cls, version: str) -> SemVer:  # noqa: N802 - the name that scythe-engine gave it
        """Read `v1.2.3`; nothing else is a version.

        Raises:
            ValueError: If the text is anything but `v`, and three whole numbers without leading zeros.
        """
        parsed = cls.parse(version)
        if parsed is None:
            raise ValueError(f"{version!r} is not a version; a version looks like v1.2.0")
        return parsed

    @classmethod
    def parse(cls, version: str) -> SemVer | None:
        """Read `v1.2.3`; None for anything else."""
        parts = parse_version(version)
        return None if parts is None else cls(major=parts[0], minor=parts[1], patch=parts[2])

    def _key(self) -> tuple[int, int, int]:
        return (self.major, self.minor, self.patch)

    def __lt__(self, other: SemVer) -> bool:
        return self._key() < other._key()

    def __le__(self, other: SemVer) -> bool:
        return self._key() <= other._key()

    def __gt__(self, other: SemVer) -> bool:
        return self._key() > other._key()

    def __ge__(self, other: SemVer) -> bool:
        return self._key() >= other._key()

    def next_major_version(self) -> SemVer:
        """v1.2.3 → v2.0.0."""
        return SemVer(major=self.major + 1)

    def next_minor_version(self) -> SemVer:
        """v1.2.3 → v1.3.0."""
        return SemVer(major=self.major, minor=self.minor + 1)

    def next_patch_version(self) -> SemVer:
        """v1.2.3 → v1.2.4."""
        return SemVer(major=self.major, minor=self.minor, patch=self.patch + 1)

    def __str__(self) -> str:
        return f"v{self.major}.{self.minor}.{self.patch}"

    def __repr_args__(self) -> Any:
        return [(None, str(self))]


def next_version(latest: SemVer | None, bump: Bump) -> SemVer:
    """The version that a run gets.

    Args:
        latest: The newest version that has runs; None for a new experiment.
        bump: Which part goes up; `keep` adds a run to the newest version.

    Returns:
        v1.0.0 for a new experiment whatever the bump.
    """
    if latest is None:
        return SemVer(major=1)
    match bump:
        case "major":
            return latest.next_major_version()
        case "minor":
            return latest.next_minor_version()
        case "patch":
            return latest.next_patch_version()
        case "keep":
            return latest
