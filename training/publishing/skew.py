"""Skew: rows that requests were answered with, beside the rows that the data makes of the same ids.

A feature that differs was computed another way for serving than for training, or is older in the store than
in the data. Knows the packed rows of exposures, not where these lie.

Shapes: E exposures, N candidates of all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from model.bundle import Bundle
from model.bundle.inputs import NetworkInputs
from model.bundle.session import NetworkSession
from model.encoding import EncodedRows, SideEncoder
from model.errors import FulcrumError
from model.events.exposures import predictions_of
from model.schema import Side
from model.store.packed import PackedLayout, TableName
from training.datasets.source import LogSource
from training.progress import Advanced, Observer, silent
from training.publishing.publish import packed_tables

TOLERANCE = 1e-5
"""Largest difference of two predictions that agree."""
VIDEO_LEN = "video_len"
"""What is compared beside the features: the length that the formula takes."""

_Records = npt.NDArray[np.void]
_SIDES: Mapping[TableName, Side] = {"users": "user", "items": "item"}


@dataclass
class FeatureSkew:
    """One feature.

    Attributes:
        name: the feature's, or `video_len`.
        side: user or item.
        rows: that were compared.
        differing: of these.
        example: exposure and id of one that differs.
    """

    name: str
    side: Side
    rows: int = 0
    differing: int = 0
    example: tuple[str, str] | None = None


@dataclass
class Skew:
    """What was found.

    Attributes:
        exposures: E, with packed rows, answered by this bundle.
        foreign: exposures with packed rows of another bundle; left out.
        degraded: exposures whose features the store did not give; left out.
        features: all of them, in the schema's order.
        predictions: that were compared.
        agreeing: of these, within `TOLERANCE` of what the recomputed rows give.
        same_rows: of these, within `TOLERANCE` of what the logged rows give: less than all is a fault of
            the network's serving, not of features.
    """

    exposures: int = 0
    foreign: int = 0
    degraded: int = 0
    features: list[FeatureSkew] = field(default_factory=list)
    predictions: int = 0
    agreeing: int = 0
    same_rows: int = 0

    @property
    def differing(self) -> list[FeatureSkew]:
        """The features that differ anywhere, the most frequent first."""
        found = [feature for feature in self.features if feature.differing]
        return sorted(found, key=lambda feature: -feature.differing / feature.rows)


def measure_skew(
    bundle: Bundle,
    source: LogSource,
    exposures: Iterable[Mapping[str, Any]],
    name_of: Callable[[str], str] = str,
    observer: Observer = silent,
) -> Skew:
    """Compare what was served with what the data says now.

    Args:
        bundle: that answered.
        source: the data that it was published from.
        exposures: records of segments by column, those without packed rows among them or not.
        name_of: how exposures name a user of this id.
        observer: called with progress.

    Raises:
        FulcrumError: the data does not fit the bundle, or no exposure has packed rows of it.
    """
    tables: dict[TableName, _Table] = {}
    for name, keys, records in packed_tables(bundle, source, observer):
        keys = [name_of(key) for key in keys] if name == "users" else keys
        tables[name] = _Table(bundle.encoder.sides[_SIDES[name]], name, keys, records)
    skew = Skew(features=[one for table in tables.values() for one in table.features])
    session = NetworkSession(bundle.network_path)
    for exposure in _comparable(bundle, exposures, skew):
        _compare(bundle, tables, session, exposure, skew)
        skew.exposures += 1
        observer(Advanced("comparing", skew.exposures, None, "exposures"))
    if not skew.exposures:
        raise FulcrumError(
            f"no exposure holds rows that bundle {bundle.version[:15]} answered with "
            f"({skew.foreign} of other bundles, {skew.degraded} without features); "
            "FULCRUM_EXPOSURE_ROWS is the share of requests that keeps them"
        )
    return skew


class _Table:
    """The users or items that the data makes, to compare logged records with."""

    def __init__(self, side: SideEncoder, name: TableName, keys: Sequence[str], records: _Records) -> None:
        self._side = side
        self._rows = {key: row for row, key in enumerate(keys)}
        absent = PackedLayout(side.id_columns, side.numeric_columns, name == "items").pack(side.defaults)
        self._records = np.concatenate([records, absent])
        names = [*side.features, *([VIDEO_LEN] if name == "items" else [])]
        self.features = [FeatureSkew(feature, _SIDES[name]) for feature in names]

    def of(self, keys: Sequence[str]) -> _Records:
        """A record for each, free to write to; that of nothing known where the data lacks the id."""
        absent = len(self._records) - 1
        return self._records[[self._rows.get(key, absent) for key in keys]]

    def compare(self, logged: _Records, made: _Records, exposure: str, keys: Sequence[str]) -> None:
        """Count what differs."""
        for feature in self.features:
            differs = self._differs(feature.name, logged, made)
            feature.rows += len(differs)
            feature.differing += int(differs.sum())
            if feature.example is None and differs.any():
                feature.example = exposure, keys[int(differs.argmax())]

    def _differs(self, name: str, logged: _Records, made: _Records) -> npt.NDArray[np.bool_]:
        if name == VIDEO_LEN and name not in self._side.features:
            return _unequal(logged["video_len_s"], made["video_len_s"])
        if name in self._side.id_place:
            place = self._side.id_place[name]
            return np.asarray((logged["ids"][:, place] != made["ids"][:, place]).any(axis=1))
        place = self._side.numeric_place[name]
        return np.asarray(_unequal(logged["numeric"][:, place], made["numeric"][:, place]).any(axis=1))


def _unequal(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    return np.asarray((one != other) & ~(np.isnan(one) & np.isnan(other)))


def _comparable(
    bundle: Bundle, exposures: Iterable[Mapping[str, Any]], skew: Skew
) -> Iterator[Mapping[str, Any]]:
    for exposure in exposures:
        if exposure["user_row"] is None:
            continue
        if exposure["bundle_version"] != bundle.version:
            skew.foreign += 1
        elif any(reason.startswith("feature_store") for reason in exposure["degraded"]):
            skew.degraded += 1
        else:
            yield exposure


def _compare(
    bundle: Bundle,
    tables: Mapping[TableName, _Table],
    session: NetworkSession,
    exposure: Mapping[str, Any],
    skew: Skew,
) -> None:
    encoder = bundle.encoder
    user, ids = exposure["user_id"], exposure["candidates"]
    logged: dict[TableName, _Records] = {
        "users": np.frombuffer(exposure["user_row"], PackedLayout.of(encoder, "users").dtype),
        "items": np.frombuffer(exposure["item_rows"], PackedLayout.of(encoder, "items").dtype),
    }
    made: dict[TableName, _Records] = {"users": tables["users"].of([user]), "items": tables["items"].of(ids)}
    given = orjson.loads(exposure["context"])
    rows = EncodedRows(made["users"]["ids"], made["users"]["numeric"])
    context = encoder.sides["context"].encode({}, 1)
    for feature, value in given.items():
        for side, target in ((encoder.sides["user"], rows), (encoder.sides["context"], context)):
            if feature in side.features:
                side.overwrite(target, feature, slice(None), [value])
    for name, table in tables.items():
        keys = [user] if name == "users" else ids
        table.compare(logged[name], made[name], exposure["exposure_id"], keys)
    answers = [_predicted(session, part, context) for part in (made, logged)]
    for task in session.tasks:
        served = predictions_of(np.asarray(exposure[f"p_{task}"]))
        present = ~np.isnan(served)
        skew.predictions += int(present.sum())
        agree = [np.abs(answer[task] - served)[present] <= TOLERANCE for answer in answers]
        skew.agreeing += int(agree[0].sum())
        skew.same_rows += int(agree[1].sum())


def _predicted(
    session: NetworkSession, records: Mapping[TableName, _Records], context: EncodedRows
) -> dict[str, npt.NDArray[np.float32]]:
    user, items = (EncodedRows(one["ids"], one["numeric"]) for one in (records["users"], records["items"]))
    return session.predict(NetworkInputs(user.beside(context), items, np.zeros(len(items), np.int64)))
