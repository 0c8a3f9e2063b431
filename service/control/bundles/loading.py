"""Loading: from a bundle's folder to a bundle in service, each part proven. Decides nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from model.bundle import Bundle, load_bundle
from model.encoding import Encoder
from model.errors import FulcrumError
from service.control.bundles.catalog import Model
from service.control.snapshot import ActiveBundle
from service.features.store import FeatureStore
from service.inference.engine import Engine


class NoRowsError(FulcrumError):
    """The feature store lacks this bundle's rows: publishing them, not another bundle, mends it."""


class UnfitError(FulcrumError):
    """What the bundle holds cannot serve here: trying again does not help, other files do."""


@dataclass(frozen=True)
class Loader:
    """How bundles are loaded here.

    Attributes:
        open_store: the feature store with the rows of an encoder, FulcrumError where it lacks them; the flag
            says whether a store that does not answer now will do.
        load_engine: the network, checked on the bundle's parity sample and warm.
        try_elsewhere: loads a bundle where it can do no harm first; UnfitError where its content is at fault,
            FulcrumError where the try failed.
    """

    open_store: Callable[[Encoder, bool], FeatureStore]
    load_engine: Callable[[Bundle], Engine]
    try_elsewhere: Callable[[Model], None] = lambda _model: None

    def load(self, path: Path) -> ActiveBundle:
        """Verify and load everything, for a service that has nothing else to serve.

        Raises:
            FulcrumError: the bundle cannot serve here; says why.
        """
        bundle = load_bundle(path)
        return self.complete(bundle, self.open(bundle, first=True))

    def open(self, bundle: Bundle, first: bool = False) -> FeatureStore:
        """The rows of a verified bundle. The first may begin without them while the store is away: default
        features are better than no service, whereas another bundle can wait.

        Raises:
            NoRowsError: the store lacks them.
        """
        try:
            return self.open_store(bundle.encoder, first)
        except FulcrumError as error:
            raise NoRowsError(str(error)) from error

    def complete(self, bundle: Bundle, store: FeatureStore) -> ActiveBundle:
        """Load the network of a verified bundle with rows."""
        return ActiveBundle(bundle, self.load_engine(bundle), store)
