from __future__ import annotations

import functools
import inspect
import linecache
import re
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, SecretStr, create_model

from scythe_cli.base import RESERVED_INPUT_FIELDS, ExperimentInputSpec, ExperimentOutputSpec, FileReference
from scythe_cli.core.states import RetryRule
from scythe_cli.errors import (
    ConfigError,
    EntrypointError,
    InvalidInputError,
    RegistrationError,
)
from scythe_cli.model.experiment import with_options
from scythe_cli.registry import (
    ExperimentOptions,
    ExperimentRegistry,
    ExperimentTypeExists,
    ExperimentTypeNotFound,
    RegisteredExperiment,
    WorkflowLike,
    experiment_from_function,
)

Register = ExperimentRegistry.Register
HERE = Path(__file__).name


class Input(ExperimentInputSpec):
    angle: float
    weather: FileReference | None = None
    parts: list[int] = []


class Output(ExperimentOutputSpec):
    heat: float


def simulate(input_spec: Input) -> Output:
    """Simulate
    one case.

    At length.
    """
    return Output(heat=input_spec.angle * 2)


def with_tempdir(spec: Input, tempdir: Path) -> Output:
    return Output(heat=len(tempdir.parts))


def refused(fn: Callable[..., Any], message: str, **options: Any) -> RegistrationError:
    with pytest.raises(RegistrationError, match=message) as caught:
        Register(**options)(fn)
    assert ExperimentRegistry.names() == []
    assert caught.value.exit_code == 3
    return caught.value


def test_the_defaults() -> None:
    experiment = Register()(simulate)
    assert isinstance(experiment, RegisteredExperiment)
    assert experiment.name == "scythe_experiment_simulate"
    assert experiment.description == "Simulate one case."
    assert (experiment.input_validator_type, experiment.output_validator_type) == (Input, Output)
    assert not experiment.accepts_tempdir
    assert experiment.options == ExperimentOptions()
    assert experiment.options == ExperimentOptions(
        retries=None,
        execution_timeout=timedelta(hours=1),
        schedule_timeout=None,
        memory_limit_bytes=None,
        desired_worker_labels=None,
        inject_workflow_run_id=True,
        auto_fetch_files=True,
        local_file_location="cache",
        task_config={},
    )
    assert ExperimentRegistry.experiments() == [experiment]
    assert ExperimentRegistry.get_runnable("scythe_experiment_simulate") is experiment
    assert ExperimentRegistry.names() == ["scythe_experiment_simulate"]


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({}, RetryRule(1, ("timeout", "crashed", "lost"))),
        ({"retries": 0}, RetryRule(0)),
        ({"retries": 2}, RetryRule(2)),
        ({"retry_on": ["failed"]}, RetryRule(1, ("failed",))),
        ({"retries": 4, "retry_on": ("crashed", "timeout", "crashed")}, RetryRule(4, ("crashed", "timeout"))),
        ({"retry_on": []}, RetryRule(1, ())),
    ],
)
def test_what_is_run_again_and_how_often(options: dict[str, Any], rule: RetryRule) -> None:
    assert Register(**options)(simulate).options.retry_rule == rule


def test_every_option() -> None:
    experiment = Register(
        name="energy",
        description="What it does",
        retries=3,
        schedule_timeout="2h",
        execution_timeout=timedelta(minutes=5),
        desired_worker_labels={"gpu": True},
        inject_workflow_run_id=False,
        auto_fetch_files=False,
        local_file_location="copied-to-tempdir",
        memory_limit="4GB",
        concurrency=7,
    )(with_tempdir)
    assert (experiment.name, experiment.description) == ("energy", "What it does")
    assert experiment.accepts_tempdir
    assert experiment.options == ExperimentOptions(
        retries=3,
        execution_timeout=timedelta(minutes=5),
        schedule_timeout=timedelta(hours=2),
        memory_limit_bytes=4 * 10**9,
        desired_worker_labels={"gpu": True},
        inject_workflow_run_id=False,
        auto_fetch_files=False,
        local_file_location="copied-to-tempdir",
        task_config={"concurrency": 7},
    )


def test_it_can_be_called_like_the_function() -> None:
    experiment = Register()(simulate)
    assert experiment(Input(angle=2)) == simulate(Input(angle=2)) == Output(heat=4)
    assert experiment(input_spec=Input(angle=1)).heat == 2
    assert inspect.signature(experiment) == inspect.signature(simulate)
    assert (experiment.__name__, experiment.__doc__) == ("simulate", simulate.__doc__)
    assert re.fullmatch(
        rf"<experiment 'scythe_experiment_simulate': simulate \(.*{HERE}, line \d+\)>", repr(experiment)
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"retries": -1}, "retries=-1 is not a whole number from 0 to 100"),
        ({"retries": 101}, "retries=101 is not"),
        ({"retries": True}, "retries=True is not"),
        ({"retries": 1.5}, r"retries=1\.5 is not"),
        ({"retry_on": "failed"}, "retry_on='failed' is not a list of some of 'failed', 'timeout', 'crashed', 'lost'"),
        ({"retry_on": ["pending"]}, r"retry_on=\['pending'\] is not a list"),
        ({"execution_timeout": "soon"}, "'soon' is not a duration"),
        ({"execution_timeout": 0}, "0 must be longer than zero"),
        ({"execution_timeout": ""}, "'' is not a duration"),
        ({"execution_timeout": timedelta(0)}, "must be longer than zero"),
        ({"execution_timeout": [1]}, "list"),
        ({"schedule_timeout": "0s"}, "'0s' must be longer than zero"),
        ({"memory_limit": "much"}, "'much' is not a size"),
        ({"memory_limit": 0}, "0 must be larger than zero"),
        ({"local_file_location": "here"}, "local_file_location='here' is neither 'cache' nor 'copied-to-tempdir'"),
        ({"name": "../up"}, "'../up' cannot be the name of an experiment"),
        ({"name": ""}, "'' cannot be the name of an experiment"),
    ],
)
def test_wrong_options_name_the_function(options: dict[str, Any], message: str) -> None:
    refused(simulate, rf"^simulate \(.*{HERE}, line \d+\): .*{message}", **options)


def test_files_are_copied_only_to_a_tempdir() -> None:
    error = refused(
        simulate, "local_file_location='copied-to-tempdir' needs a function", local_file_location="copied-to-tempdir"
    )
    assert error.hint == "Add the parameter `tempdir: Path`."
    assert Register(local_file_location="copied-to-tempdir", auto_fetch_files=False)(simulate)


@pytest.mark.parametrize("value", ["2h", "PT2H", "02:00:00", "120m"])
def test_the_default_timeout_comes_from_the_environment(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCYTHE_TIMEOUT_EXPERIMENT_EXECUTION", value)
    assert Register()(simulate).options.execution_timeout == timedelta(hours=2)
    assert Register(execution_timeout="3s")(simulate).options.execution_timeout == timedelta(seconds=3)


@pytest.mark.parametrize("value", ["soon", "0s", "-PT1H", ""])
def test_a_wrong_environment_is_told(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCYTHE_TIMEOUT_EXPERIMENT_EXECUTION", value)
    with pytest.raises(
        ConfigError, match=r"variable SCYTHE_TIMEOUT_EXPERIMENT_EXECUTION is .* not a duration"
    ) as caught:
        Register()(simulate)
    assert repr(value) in caught.value.message


def test_what_is_no_function() -> None:
    class Callable_:
        def __call__(self, input_spec: Input) -> Output: ...

    for thing in (Callable_(), functools.partial(simulate), Input, 3, len):
        refused(thing, rf"is a {type(thing).__name__}; only a plain function can be an experiment")  # type: ignore[arg-type]


class Plain(BaseModel):
    angle: float


async def asynchronous(input_spec: Input) -> Output: ...
def generator(input_spec: Input) -> Output:
    yield Output(heat=1)


async def async_generator(input_spec: Input) -> Output:
    yield Output(heat=1)


def nothing() -> Output: ...
def only_keyword(*, input_spec: Input) -> Output: ...
def only_tempdir(tempdir: Path) -> Output: ...
def only_rest(*input_spec: Input) -> Output: ...
def further(input_spec: Input, other: int) -> Output: ...
def further_keyword(input_spec: Input, *, other: int) -> Output: ...
def bare(input_spec) -> Output: ...
def no_return(input_spec: Input): ...
def returns_none(input_spec: Input) -> None: ...
def other_input(input_spec: Plain) -> Output: ...
def not_a_class(input_spec: list[Input]) -> Output: ...
def either_input(input_spec: Input | None) -> Output: ...
def output_as_input(input_spec: Output) -> Output: ...
def other_output(input_spec: Input) -> dict[str, float]: ...
def unknown_name(input_spec: Missing) -> Output: ...  # noqa: F821
def broken_text(input_spec: Input) -> "1 +": ...  # noqa: F722
def raising(input_spec: Input) -> [][0]: ...
def text_tempdir(input_spec: Input, tempdir: str) -> Output: ...
def optional_tempdir(input_spec: Input, tempdir: Path | None = None) -> Output: ...
def positional_tempdir(input_spec: Input, tempdir: Path, /) -> Output: ...
def rest_tempdir(input_spec: Input, *tempdir: Path) -> Output: ...
def keywords_tempdir(input_spec: Input, **tempdir: Path) -> Output: ...


@pytest.mark.parametrize(
    ("fn", "message"),
    [
        (asynchronous, "an experiment is an ordinary function, not async and not a generator"),
        (generator, "not async and not a generator"),
        (async_generator, "not async and not a generator"),
        (nothing, "it takes no input spec"),
        (only_keyword, "it takes no input spec"),
        (only_tempdir, "it takes no input spec"),
        (only_rest, "it takes no input spec"),
        (lambda: Output(heat=1), "'scythe_experiment_<lambda>' cannot be the name of an experiment"),
        (further, "it has a further parameter 'other'"),
        (further_keyword, "it has a further parameter 'other'"),
        (bare, "parameter 'input_spec' has no annotation"),
        (no_return, "the return value has no annotation"),
        (returns_none, "the return value is annotated with NoneType, which is not a subclass of ExperimentOutputSpec"),
        (other_input, "parameter 'input_spec' is annotated with Plain, which is not a subclass of ExperimentInputSpec"),
        (not_a_class, "parameter 'input_spec' is annotated with list"),
        (either_input, "which is not a subclass of ExperimentInputSpec"),
        (output_as_input, "annotated with Output, which is not a subclass of ExperimentInputSpec"),
        (other_output, "the return value is annotated with dict"),
        (unknown_name, "its annotations cannot be read: name 'Missing' is not defined"),
        (broken_text, "its annotations cannot be read: "),
        (raising, "its annotations cannot be read: list index out of range"),
        (text_tempdir, "the parameter 'tempdir' must be a pathlib.Path, passed by name"),
        (optional_tempdir, "the parameter 'tempdir' must be a pathlib.Path"),
        (positional_tempdir, "the parameter 'tempdir' must be a pathlib.Path, passed by name"),
        (rest_tempdir, "the parameter 'tempdir' must be a pathlib.Path, passed by name"),
        (keywords_tempdir, "the parameter 'tempdir' must be a pathlib.Path, passed by name"),
    ],
)
def test_wrong_signatures_name_function_file_and_line(fn: Callable[..., Any], message: str) -> None:
    line = inspect.getsourcelines(fn)[1]
    refused(fn, rf"^{re.escape(fn.__qualname__)} \(.*{HERE}, line {line}\): .*{re.escape(message)}")


def test_signatures_that_are_right() -> None:
    def defaults(spec: Input, tempdir: Path, other: int = 3, *rest: int, **more: int) -> Output: ...
    def by_keyword(spec: Annotated[Input, "x"], /, *, tempdir: Annotated[Path, "y"]) -> Annotated[Output, "z"]: ...
    def no_annotation(spec: Input, tempdir) -> Output: ...

    space = {"Input": Input, "Output": Output, "Path": Path, "Annotated": Annotated}
    for fn in (defaults, by_keyword, no_annotation):
        fn.__globals__.update(space)
        assert Register(name=fn.__name__)(fn).accepts_tempdir


def experiment(
    inputs: type[ExperimentInputSpec] = Input, outputs: type[ExperimentOutputSpec] = Output
) -> Callable[..., Any]:
    def simulate_it(input_spec: Any) -> Any: ...

    simulate_it.__annotations__ = {"input_spec": inputs, "return": outputs}
    return simulate_it


def inputs(**fields: Any) -> type[ExperimentInputSpec]:
    return create_model("In", __base__=ExperimentInputSpec, __module__=__name__, **fields)


def outputs(**fields: Any) -> type[ExperimentOutputSpec]:
    return create_model("Out", __base__=ExperimentOutputSpec, __module__=__name__, **fields)


@pytest.mark.parametrize("name", sorted(RESERVED_INPUT_FIELDS))
def test_reserved_input_fields(name: str) -> None:
    error = refused(experiment(inputs(**{name: (int, 3)})), f"the input field In.{name} has a reserved name")
    assert error.hint == (
        "Rename it; reserved names are experiment_id, root_workflow_run_id, sort_index, sort_subindex, "
        "storage_settings, workflow_run_id."
    )


def test_reserved_input_fields_of_a_base_class() -> None:
    class Mixin(BaseModel):
        sort_index: int = 5

    class Mixed(Mixin, ExperimentInputSpec):
        pass

    class Sub(Mixed):
        pass

    refused(experiment(Sub), r"the input field Sub\.sort_index has a reserved name")


@pytest.mark.filterwarnings("ignore:Field name")
@pytest.mark.parametrize(
    "name", ["log", "prefix", "computed_features", "make_multiindex", "result_stem", "copy", "schema"]
)
def test_fields_that_hide_an_attribute(name: str) -> None:
    refused(
        experiment(inputs(**{name: (float, ...)})),
        f"the field In.{name} has the name of an attribute of ExperimentInputSpec",
    )


@pytest.mark.filterwarnings("ignore:Field name")
def test_output_fields_that_hide_an_attribute() -> None:
    refused(
        experiment(outputs=outputs(local_artifact_file_paths=(float, ...))),
        r"the field Out\.local_artifact_file_paths has the name of an attribute of ExperimentOutputSpec",
    )


@pytest.mark.parametrize("name", sorted(RESERVED_INPUT_FIELDS))
@pytest.mark.parametrize("type_", [float, FileReference])
def test_reserved_output_fields(name: str, type_: Any) -> None:
    refused(
        experiment(outputs=outputs(**{name: (type_, ...)})),
        f"the output field Out.{name} has a reserved name",
    )


@pytest.mark.parametrize(
    ("name", "type_"), [("angle", float), ("weather", str), ("weather", FileReference), ("parts", float)]
)
def test_an_output_field_may_have_the_name_of_an_input_field(name: str, type_: Any) -> None:
    assert Register()(experiment(outputs=outputs(**{name: (type_, ...)})))


@pytest.mark.parametrize("name", ["with space", "1st", "a/b", "x" * 129, "a-b"])
def test_fields_have_python_names(name: str) -> None:
    for fn in (experiment(inputs(**{name: (int, 1)})), experiment(outputs=outputs(**{name: (int, 1)}))):
        assert refused(fn, "has a field named ").hint == "Use a Python name."


@pytest.mark.parametrize("type_", [SecretStr, SecretStr | None, dict[str, SecretStr], list[SecretStr]])
def test_secrets_are_refused(type_: Any) -> None:
    refused(experiment(inputs(token=(type_, ...))), r"In\.token: a secret cannot be a field")
    refused(experiment(outputs=outputs(token=(type_, ...))), r"Out\.token: a secret cannot be a field")


def loaded(source: str, file: str, name: str = "building") -> ModuleType:
    """A module as an import would make it, without a file."""
    module = ModuleType(name)
    sys.modules[name] = module
    try:
        linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
        exec(compile(source, file, "exec"), vars(module))
    finally:
        del sys.modules[name]
    return module


SOURCE = """
import functools
from scythe_cli.base import ExperimentInputSpec, ExperimentOutputSpec
from scythe_cli.registry import ExperimentRegistry

def plain(fn):
    return fn

{decorator}

class In(ExperimentInputSpec): pass
class Out(ExperimentOutputSpec): pass

@ExperimentRegistry.Register()
@{name}
def simulate(input_spec: In) -> Out: ...
"""
PLAIN = SOURCE.format(decorator="", name="plain")


def test_a_module_that_is_loaded_again_registers_again() -> None:
    first = loaded(PLAIN, "/project/building.py").simulate
    second = loaded("\n\n" + PLAIN, "/project/building.py").simulate
    assert first is not second
    assert ExperimentRegistry.experiments() == [second]


def test_another_module_may_have_a_function_of_the_same_name() -> None:
    first = loaded(PLAIN, "/project/building.py").simulate
    second = loaded(PLAIN, "/project/battery.py", "battery").simulate
    assert (first.name, second.name) == ("scythe_experiment_simulate", "battery.simulate")
    again = loaded(PLAIN, "/project/battery.py", "battery").simulate
    assert again.name == "battery.simulate"
    assert ExperimentRegistry.experiments() == [first, again]


def test_a_name_that_was_chosen_twice_clashes() -> None:
    chosen = PLAIN.replace("Register()", "Register(name='mine')")
    first = loaded(chosen, "/project/building.py").simulate
    with pytest.raises(
        ExperimentTypeExists, match=r"another experiment is registered as 'mine': simulate \(/project"
    ) as caught:
        loaded(chosen, "/project/battery.py", "battery")
    assert caught.value.name == "mine"
    assert caught.value.hint == "Give one of them another name in Register()."
    assert ExperimentRegistry.experiments() == [first]


def timed(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    return wrapper


def test_functions_below_the_same_decorator_are_told_apart() -> None:
    source = SOURCE.format(decorator=f"from {__name__} import timed", name="timed")
    first = loaded(source, "/project/building.py").simulate
    assert repr(first).endswith("simulate (/project/building.py, line 14)>")
    other = loaded(source, "/project/battery.py", "battery").simulate
    assert other.name == "battery.simulate"
    again = loaded(source, "/project/building.py").simulate
    assert ExperimentRegistry.experiments() == [again, other]


def test_a_cell_of_a_notebook_can_be_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    main = sys.modules["__main__"]
    loaded(PLAIN, "/tmp/ipykernel_1/111.py", "__main__")
    sys.modules["__main__"] = main
    second = loaded(PLAIN, "/tmp/ipykernel_1/222.py", "__main__").simulate
    sys.modules["__main__"] = main
    assert ExperimentRegistry.experiments() == [second]


class Workflow:
    """As much of a Hatchet workflow as the registry looks at."""

    def __init__(self, name: str = "flow", input_type: Any = Input) -> None:
        self.name = name
        self.input_validator_type = input_type


def test_workflows_are_included() -> None:
    flow = Workflow()
    assert isinstance(flow, WorkflowLike)
    assert ExperimentRegistry.Include(flow) is flow
    assert ExperimentRegistry.Include(flow) is flow, "twice is as good as once"
    assert ExperimentRegistry.workflows() == [flow]
    assert ExperimentRegistry.experiments() == []
    assert ExperimentRegistry.get_runnable("flow") is flow


@pytest.mark.parametrize("thing", [simulate, 3, None, Plain])
def test_what_is_no_workflow(thing: Any) -> None:
    with pytest.raises(
        RegistrationError, match=rf"Include\(\) takes a Hatchet Workflow or Standalone, not a {type(thing).__name__}"
    ) as caught:
        ExperimentRegistry.Include(thing)
    assert caught.value.hint == "Use @ExperimentRegistry.Register() for a function."


@pytest.mark.parametrize("input_type", [Plain, dict, list[Input], None])
def test_a_workflow_takes_specs(input_type: Any) -> None:
    with pytest.raises(RegistrationError, match=r"workflow 'flow': its input model is .*, not a subclass of"):
        ExperimentRegistry.Include(Workflow(input_type=input_type))


def test_a_workflow_has_no_reserved_fields() -> None:
    with pytest.raises(RegistrationError, match=r"workflow 'flow': the input field In\.sort_index has a reserved name"):
        ExperimentRegistry.Include(Workflow(input_type=inputs(sort_index=(int, 1))))


def test_names_of_workflows_and_functions_clash() -> None:
    experiment = Register(name="flow")(simulate)
    with pytest.raises(ExperimentTypeExists, match="another experiment is registered as 'flow'"):
        ExperimentRegistry.Include(Workflow())
    ExperimentRegistry.clear()
    ExperimentRegistry.Include(Workflow())
    with pytest.raises(ExperimentTypeExists, match="another experiment is registered as 'flow'\n"):
        ExperimentRegistry.Include(Workflow())
    with pytest.raises(ExperimentTypeExists, match="another experiment is registered as 'flow'"):
        ExperimentRegistry.Include(experiment)


def test_an_experiment_can_be_included() -> None:
    experiment = experiment_from_function(simulate, name="direct")
    assert ExperimentRegistry.names() == []
    assert ExperimentRegistry.Include(experiment) is experiment
    assert ExperimentRegistry.names() == ["direct"]


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(ExperimentTypeNotFound, match="no experiment is registered as 'x'") as caught:
        ExperimentRegistry.get_runnable("x")
    assert caught.value.hint == "Registered: none."
    Register(name="b")(simulate)
    ExperimentRegistry.Include(Workflow("a"))
    with pytest.raises(ExperimentTypeNotFound) as caught:
        ExperimentRegistry.get_runnable("x")
    assert (caught.value.name, caught.value.hint) == ("x", "Registered: a, b.")
    assert isinstance(caught.value, InvalidInputError)
    assert issubclass(RegistrationError, EntrypointError)


def test_a_configured_copy_leaves_the_original_alone() -> None:
    experiment = Register(name="energy", retries=2)(simulate)
    options = with_options(experiment.options, retries=0, execution_timeout=None, memory_limit_bytes=5)
    copy = experiment.configured(name="other", options=options)
    assert (copy.name, copy.options.retries, copy.options.memory_limit_bytes) == ("other", 0, 5)
    assert copy.options.execution_timeout == timedelta(hours=1)
    assert copy.fn is experiment.fn
    assert copy.description == experiment.description
    assert ExperimentRegistry.get_runnable("energy") is experiment
    assert experiment.options.retries == 2
    assert experiment.configured().options == experiment.options
