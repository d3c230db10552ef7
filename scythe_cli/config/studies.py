"""The tables `[studies.<name>]`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from scythe_cli.config.values import Section

__all__ = ["StudyConfig"]


_Values = str | int | float | bool | list[Any]
_Wanted = str | list[str]


class StudyConfig(Section):
    """A table `[studies.<name>]`."""

    experiment: str | None = Field(default=None, description="The experiment; may be left out where there is only one.")
    set: dict[str, _Values] = Field(
        default={},
        description="What fields vary over, as in `scythe sample --set`: a range `0:90`, values `a,b,c` or a list; "
        "fields with bounds vary anyway.",
    )
    fix: dict[str, _Values] = Field(default={}, description="Fields that have one value, as in `--fix`.")
    only: list[str] | None = Field(default=None, description="The fields that vary; else all that have bounds.")
    log: list[str] = Field(default=[], description="Fields that are spread evenly on a logarithmic scale.")
    initial: Annotated[int, Field(ge=2, le=100_000)] | None = Field(
        default=None,
        description="Cases of the first round, the points of a Sobol sequence; else a power of two, 2 or more for "
        "each field that varies.",
    )
    batch: Literal["auto"] | Annotated[int, Field(ge=1, le=100_000)] = Field(
        default="auto",
        description="Cases of each further round; `auto`: as many as run at the same time, and a tenth of the cases "
        "so far where that is more.",
    )
    suggest: str = Field(
        default="surrogate",
        description="What chooses the next cases: `surrogate`, to predict outputs; `optimize`, to make them small or "
        "large; or `module:factory` of a generator that speaks gest-api.",
    )
    options: dict[str, Any] = Field(default={}, description="Further keywords for what chooses the next cases.")
    targets: dict[str, _Wanted] = Field(
        description="What is to be reached, by output: `rmse <= 1%` (of the output's range), `mae <= 0.2`, "
        "`max_error <= 5%`, `r2 >= 0.99`, for held-out cases; or `minimize`, `maximize`."
    )
    constraints: dict[str, str] = Field(
        default={}, description="For `optimize`: what outputs have to be, such as `<= 100`."
    )
    strata: list[str] = Field(default=[], description="Fields whose values divide the cases; targets hold for each.")
    population: str | None = Field(
        default=None,
        description="A file whose rows are the only cases there are, of which some are run; seen from this folder.",
    )
    max_cases: int = Field(default=1000, ge=2, le=1_000_000, description="How many cases the study has at the most.")
    patience: int = Field(
        default=15, ge=1, le=10_000, description="After so many rounds without progress the study ends."
    )
    folds: int = Field(default=10, ge=2, le=100, description="Into how many parts cases are divided to hold them out.")
    seed: int = Field(default=0, ge=0, lt=2**63, description="What chosen cases follow from.")

    @field_validator("suggest")
    @classmethod
    def _check_suggest(cls, value: str) -> str:
        module, colon, factory = value.partition(":")
        parts = [*module.split("."), *factory.split(".")]
        if value not in ("surrogate", "optimize") and not (colon and all(part.isidentifier() for part in parts)):
            raise ValueError("it should be 'surrogate', 'optimize' or 'module:factory'")
        return value

    @field_validator("targets")
    @classmethod
    def _check_targets(cls, value: dict[str, _Wanted]) -> dict[str, _Wanted]:
        if not value:
            raise ValueError("it should name an output, as in { annual_yield = 'rmse <= 1%' }")
        return value
