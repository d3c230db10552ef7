from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import (
    AnyUrl,
    BaseModel,
    DirectoryPath,
    Field,
    FilePath,
    HttpUrl,
    PostgresDsn,
    TypeAdapter,
    ValidationError,
)

from scythe_cli.core.text import redact_uri
from scythe_cli.errors import StorageError
from scythe_cli.utils.filesys import FileReference, OptionalFileReference, S3Url, fetch_uri, is_file_reference


class Spec(BaseModel):
    weather: FileReference
    schedule: FileReference | None = None
    noted: Annotated[OptionalFileReference, Field(description="x")] = None


CASES = [
    ("s3://bucket/key.epw", S3Url),
    ("s3://bucket", S3Url),
    ("s3://my_bucket/a b#c?d.csv", S3Url),
    ("http://host/a.epw", HttpUrl),
    ("https://host/a.epw?sig=1", HttpUrl),
    ("a b.csv", Path),
    ("/abs/ü#1.csv", Path),
    ("../up.csv", Path),
    ("C:\\x", Path),
    ("s3", Path),
    ("weather:v2.epw", Path),
]


@pytest.mark.parametrize(("text", "kind"), CASES)
def test_a_string_becomes_what_it_looks_like(text: str, kind: type) -> None:
    for spec in (
        Spec.model_validate({"weather": text, "schedule": text, "noted": text}),
        Spec.model_validate_json(TypeAdapter(dict[str, str]).dump_json(dict.fromkeys(Spec.model_fields, text))),
    ):
        assert isinstance(spec.weather, kind)
        assert isinstance(spec.schedule, kind)
        assert isinstance(spec.noted, kind)


@pytest.mark.parametrize("value", [Path("a.csv"), S3Url("s3://b/k"), HttpUrl("http://h/p"), Path("s3:/x")])
def test_an_instance_stays_what_it_is(value: Any) -> None:
    assert Spec(weather=value).weather == value
    assert type(Spec(weather=value).weather) is type(value)


@pytest.mark.parametrize(
    "text", ["", "s3://", "http://", "ftp://host/x", "file:///etc/passwd", "https://h/" + "a" * 3000]
)
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        Spec(weather=text)  # pyright: ignore[reportArgumentType]


def test_json_goes_around() -> None:
    spec = Spec.model_validate({"weather": "s3://b/a b.csv", "schedule": "x/y.csv"})
    assert Spec.model_validate_json(spec.model_dump_json()) == spec
    assert Spec.model_json_schema()["properties"]["weather"]["anyOf"]


@pytest.mark.parametrize(
    "annotation",
    [
        FileReference,
        OptionalFileReference,
        FileReference | None,
        Annotated[FileReference, Field(description="x")],
        Annotated[FileReference | None, Field()],
        Annotated[FileReference, Field()] | None,
        Path,
        Path | None,
        FilePath,
        HttpUrl,
        AnyUrl,
        S3Url,
        S3Url | HttpUrl,
        Spec.model_fields["weather"].annotation,
        Spec.model_fields["schedule"].annotation,
        Spec.model_fields["noted"].annotation,
    ],
)
def test_file_references_are_recognised(annotation: Any) -> None:
    assert is_file_reference(annotation)


@pytest.mark.parametrize(
    "annotation",
    [str, int, None, type(None), str | Path, list[Path], dict[str, Path], DirectoryPath, PostgresDsn, Any, "Path", {}],
)
def test_other_types_are_not(annotation: Any) -> None:
    assert not is_file_reference(annotation)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("https://u:p@h:8/a/b?X-Amz-Signature=s#f", "https://h:8/a/b?…"),
        ("https://h?secret", "https://h?…"),
        ("http://h/a@b", "http://h/a@b"),
        ("s3://k:s@b/a?b#c", "s3://b/a?b#c"),
        ("a/b?c", "a/b?c"),
    ],
)
def test_secrets_are_not_shown(uri: str, shown: str) -> None:
    assert redact_uri(uri) == shown


def test_fetch_uri_copies_a_file_url(tmp_path: Path) -> None:
    source, target = tmp_path / "a b.csv", tmp_path / "new" / "copy.csv"
    source.write_text("1")
    assert fetch_uri(AnyUrl(source.as_uri()), target) == target
    assert target.read_text() == "1"
    source.write_text("2")
    fetch_uri(source.as_uri(), target)
    assert target.read_text() == "1"
    fetch_uri(source.as_uri(), target, use_cache=False)
    assert target.read_text() == "2"


def test_fetch_uri_leaves_nothing_when_it_fails(tmp_path: Path) -> None:
    target = tmp_path / "new" / "copy.csv"
    with pytest.raises(StorageError, match="does not exist"):
        fetch_uri((tmp_path / "absent").as_uri(), target)
    with pytest.raises(StorageError, match="another machine"):
        fetch_uri("file://elsewhere/etc/passwd", target)
    with pytest.raises(StorageError, match=r"ftp:// is not supported"):
        fetch_uri("ftp://user:secret@host/x", target)
    assert not target.parent.exists()


@pytest.mark.processes
def test_importing_loads_no_client() -> None:
    code = (
        "import sys, scythe_cli.utils.filesys, scythe_cli.storage, scythe_cli.run.input_files; "
        "print(sorted({'s3fs', 'aiobotocore', 'botocore', 'pandas', 'polars', 'httpx', 'fsspec'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
