"""The registry of policies: numbered bundles in the local MLflow store, named by aliases.

A version is a policy bundle with its gate result. Three aliases mean something: `champion` is served,
`rollback` is the champion before it, and `challenger` the newest version that has not been proven better.
The first version is champion for want of another; from then on `nba promote` decides, by proof.
"""

from __future__ import annotations

import re
import shutil
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import Struct

import nba
from experiments.store import open_store
from nba.bundle import bundle_digest, load_bundle
from nba.errors import BundleError, NBAError
from nba.features import Category, FeatureSchema, Flag, Numeric

MODEL = "nba-policy"
CHAMPION, ROLLBACK, CHALLENGER = "champion", "rollback", "challenger"
DEFAULT = f"{MODEL}@{CHAMPION}"
GATE = "nba.gate"
PROMOTION = "nba.promotion"  # how a version became champion
BY_HAND = "by hand: nothing was proven"

_REFERENCE = re.compile(r"(?:models:/)?(?P<name>[^@/:\s]+)(?:@(?P<alias>[\w-]+)|/(?P<version>\d+))?")


class UnknownPolicyError(NBAError, LookupError):
    """No registered policy has this name, version or alias."""


class OccupiedFolderError(NBAError, FileExistsError):
    """The place to write a bundle holds something else."""


class PolicyVersion(Struct, frozen=True, kw_only=True):
    """One registered policy; the numbers are those of the experiment that made it."""

    name: str
    version: int
    aliases: tuple[str, ...]
    strategy: str
    experiment: str
    gate: str  # passed | failed, of the newest judgement
    promotion: str = ""  # how it became champion: by proof against which one, by hand, by going back
    incremental_value: float | None
    incremental_ci_low: float | None
    incremental_ci_high: float | None
    digest: str  # of the bundle
    run_id: str
    created: datetime

    @property
    def reference(self) -> str:
        """How to name it."""
        return f"{self.name}/{self.version}"


class Change(Struct, frozen=True, kw_only=True):
    """What an alias pointed to and points to now."""

    alias: str
    version: int
    previous: int | None


class Pulled(NamedTuple):
    """A bundle fetched from the registry."""

    policy: PolicyVersion
    path: Path


def policies(store: Path) -> list[PolicyVersion]:
    """All versions, the newest first; none registered is an empty list."""
    client = open_store(store)
    found = client.search_model_versions(f"name='{MODEL}'")
    aliases = _aliases(client, MODEL) if found else {}
    return sorted((_policy(one, aliases) for one in found), key=lambda one: -one.version)


def find(store: Path, reference: str = DEFAULT) -> PolicyVersion:
    """The version that "NAME", "NAME@ALIAS" or "NAME/VERSION" names, with or without "models:/"."""
    matched = _REFERENCE.fullmatch(reference)
    if matched is None:
        raise UnknownPolicyError(
            f"{reference!r} names no policy; write NAME@ALIAS or NAME/VERSION, such as {DEFAULT}."
        )
    client, name = open_store(store), matched["name"]
    aliases = _aliases(client, name)
    wanted = matched["version"] or aliases.get(matched["alias"] or CHAMPION)
    if wanted is None:
        known = ", ".join(sorted(aliases)) or "none"
        raise UnknownPolicyError(
            f"{name} has no alias {matched['alias'] or CHAMPION!r}; its aliases: {known}."
        )
    return _policy(_version(client, name, int(wanted)), aliases)


def pull(store: Path, reference: str, out: Path) -> Pulled:
    """Copy a registered bundle to `out` and check it there; a bundle already in `out` is replaced."""
    policy = find(store, reference)
    client = open_store(store)
    source = Path(
        client.get_model_version_download_uri(policy.name, str(policy.version)).removeprefix("file://")
    )
    bundle = source / "artifacts" / "bundle"
    load_bundle(bundle)
    if policy.digest and bundle_digest(bundle) != policy.digest:
        raise BundleError(
            f"{policy.reference} does not have the digest it was registered with; train it again."
        )
    if out.exists():
        _make_room(out)
    shutil.copytree(bundle, out)
    return Pulled(policy, out)


def promote(store: Path, version: int, alias: str = CHAMPION, how: str = BY_HAND) -> Change:
    """Point an alias at a version; a champion that gives way becomes the rollback.

    `how` is kept with a champion: unless a proof says so, that nothing was proven.
    """
    client = open_store(store)
    aliases = _aliases(client, MODEL)
    _version(client, MODEL, version)
    change = point(client, alias, version, aliases.get(alias))
    if alias == CHAMPION:
        client.set_model_version_tag(MODEL, str(version), PROMOTION, how)
    return change


def rollback(store: Path) -> Change:
    """Swap champion and rollback: doing it twice changes nothing but what is noted of it."""
    client = open_store(store)
    aliases = _aliases(client, MODEL)
    if ROLLBACK not in aliases:
        raise UnknownPolicyError(
            f"{MODEL} has no alias {ROLLBACK!r} to go back to: only one champion was ever named."
        )
    before = aliases.get(CHAMPION)
    return promote(store, aliases[ROLLBACK], how=f"rolled back to, from {MODEL}/{before}")


def point(client: Any, alias: str, version: int, previous: int | None) -> Change:
    """Set an alias; `previous` is the version it points to so far."""
    from mlflow.exceptions import MlflowException

    try:
        # The way back first: a crash between the two calls must not lose the old champion.
        if alias == CHAMPION and previous not in (None, version):
            client.set_registered_model_alias(MODEL, ROLLBACK, str(previous))
        client.set_registered_model_alias(MODEL, alias, str(version))
    except MlflowException as error:
        raise NBAError(f"{alias!r} cannot be an alias: {error.message}") from None
    return Change(alias=alias, version=version, previous=previous)


def save_policy_model(bundle: Path, schema: FeatureSchema, folder: Path) -> Path:
    """Write an MLflow model that runs the bundle; the code of `nba` travels with it."""
    from importlib.metadata import version

    here, code = Path(__file__).parent, Path(nba.__file__).parent
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow warns of its own code
        import mlflow.pyfunc

        mlflow.pyfunc.save_model(
            str(folder),
            python_model=str(here / "policy_model.py"),
            artifacts={"bundle": str(bundle)},
            # `nba` is not among them: a package index may hold somebody else's package of that name.
            pip_requirements=[
                f"{name}=={version(name)}" for name in ("mlflow", "msgspec", "numpy", "pandas", "scipy")
            ],
            code_paths=[str(code)],
            signature=_signature(schema),
            input_example=_example(),
        )
    description = folder / "MLmodel"
    # MLflow notes where its sources were, but never looks there again.
    text = description.read_text().replace(f"{here}/", "").replace(str(bundle.parent), "artifacts")
    description.write_text(text)
    return folder


def _example() -> Any:
    """The least that a data frame must hold; without consents the answer is no contact."""
    import pandas as pd

    return pd.DataFrame([{"customer_id": "c-1", "at": "2026-03-02T09:00:00+00:00"}])


def _signature(schema: FeatureSchema) -> Any:
    """Columns of the data frame: who, when, what is known of them, and their earlier contacts."""
    from mlflow.models import ModelSignature
    from mlflow.types.schema import Array, ColSpec, DataType, Object, ParamSchema, ParamSpec, Property, Schema

    text = DataType.string
    types = {Numeric: DataType.double, Flag: DataType.boolean, Category: text}
    contact = Object([Property(name, text) for name in ("channel", "product", "at")])
    lists = {name: Array(text) for name in ("consents", "owned", "opted_out")} | {"contacts": Array(contact)}
    optional = {column.name: types[type(column)] for column in schema.columns} | lists | {"decision_id": text}
    columns = [ColSpec(text, name) for name in ("customer_id", "at")]
    columns += [ColSpec(kind, name, required=False) for name, kind in optional.items()]
    return ModelSignature(Schema(columns), params=ParamSchema([ParamSpec("output", text, "decision")]))


def next_version(client: Any) -> int:
    """The number that the next registered version will get."""
    numbers = [int(one.version) for one in client.search_model_versions(f"name='{MODEL}'")]
    return 1 + max(numbers, default=0)


def add_version(client: Any, model: Any, run_id: str, tags: dict[str, str]) -> Change:
    """Register a logged model as challenger, or as champion if there is none: more takes a proof."""
    # By its folder: for a source "models:/ID" MLflow 3.17 asks the global store instead of the client's.
    source = model.artifact_location
    from mlflow.exceptions import MlflowException

    try:
        aliases = _aliases(client, MODEL)
    except UnknownPolicyError:
        aliases = {}
        client.create_registered_model(
            MODEL, description="Next-best-action policies as `nba serve` reads them."
        )
    try:
        made = client.create_model_version(MODEL, source, run_id, tags, model_id=model.model_id)
    except MlflowException as error:  # pragma: no cover - the database is read-only or full
        raise NBAError(f"The policy could not be registered: {error.message}") from None
    alias = CHALLENGER if CHAMPION in aliases else CHAMPION
    return point(client, alias, int(made.version), aliases.get(alias))


def _aliases(client: Any, name: str) -> dict[str, int]:
    from mlflow.exceptions import MlflowException

    try:
        return {alias: int(version) for alias, version in client.get_registered_model(name).aliases.items()}
    except MlflowException:
        known = ", ".join(sorted(model.name for model in client.search_registered_models())) or "none yet"
        raise UnknownPolicyError(f"No policy is registered as {name!r}; registered: {known}.") from None


def _version(client: Any, name: str, version: int) -> Any:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_model_version(name, str(version))
    except MlflowException:
        known = sorted(int(one.version) for one in client.search_model_versions(f"name='{name}'"))
        listed = ", ".join(map(str, known))
        raise UnknownPolicyError(f"{name} has no version {version}; its versions: {listed}.") from None


def _policy(found: Any, aliases: dict[str, int]) -> PolicyVersion:
    tags, version = found.tags, int(found.version)

    def number(name: str) -> float | None:
        return float(tags[name]) if name in tags else None

    return PolicyVersion(
        name=found.name,
        version=version,
        aliases=tuple(sorted(alias for alias, target in aliases.items() if target == version)),
        strategy=tags.get("nba.policy", ""),
        experiment=tags.get("nba.experiment", ""),
        gate=tags.get(GATE, ""),
        promotion=tags.get(PROMOTION, ""),
        incremental_value=number("nba.incremental_value"),
        incremental_ci_low=number("nba.incremental_ci_low"),
        incremental_ci_high=number("nba.incremental_ci_high"),
        digest=tags.get("nba.bundle_digest", ""),
        run_id=found.run_id or "",
        created=datetime.fromtimestamp(found.creation_timestamp / 1000, UTC),
    )


def _make_room(out: Path) -> None:
    """Remove an old bundle or an empty folder; anything else is somebody's and stays."""
    names = {entry.name for entry in out.iterdir()} if out.is_dir() else {out.name}
    if not names <= {"manifest.json", "posterior.npz"}:
        raise OccupiedFolderError(f"{out} exists and is not a policy bundle; name another folder with --out.")
    shutil.rmtree(out)
