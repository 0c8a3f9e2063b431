"""Census-Income (KDD) of the UCI repository: the public benchmark of the PLE paper (section 5.1).

Any of the official `census-income.data` and `census-income.test` files (comma-separated, without a header),
or parquet of the same columns. Every row is a person, who is user and item at once, so that persons can be
ranked. Adds `person` (its number among the rows read), `part` (data or test) and `fold` (0 to 9, by person).
"""

from __future__ import annotations

from pathlib import Path

import polars as pl

from model.errors import FulcrumError
from model.frozen import Frozen
from model.schema import Schema
from training.datasets.reader import reader
from training.datasets.source import LogSource, fingerprint, matching
from training.datasets.table_files import read_table

# fmt: off
COLUMNS = (
    "age", "class_worker", "det_ind_code", "det_occ_code", "education", "wage_per_hour", "hs_college",
    "marital_stat", "major_ind_code", "major_occ_code", "race", "hisp_origin", "sex", "union_member",
    "unemp_reason", "full_or_part_emp", "capital_gains", "capital_losses", "stock_dividends",
    "tax_filer_stat", "region_prev_res", "state_prev_res", "det_hh_fam_stat", "det_hh_summ",
    "instance_weight", "mig_chg_msa", "mig_chg_reg", "mig_move_reg", "mig_same", "mig_prev_sunbelt",
    "num_emp", "fam_under_18", "country_father", "country_mother", "country_self", "citizenship",
    "own_or_self", "vet_question", "vet_benefits", "weeks_worked", "year", "income_50k",
)
# fmt: on
_NUMBERS = (
    *("age", "wage_per_hour", "capital_gains", "capital_losses", "stock_dividends"),
    *("num_emp", "weeks_worked", "year"),
)
_FOLDS = 10


@reader("census-income", needs="census-income.data or .test")
def read_census_income(_schema: Schema, folder: Path, _options: Frozen) -> LogSource:
    """Read the persons.

    Raises:
        FulcrumError: no such file, or other columns.
    """
    paths = matching(
        folder, [f"census-income.{part}{end}" for part in ("data", "test") for end in ("", ".*")]
    )
    if not paths:
        raise FulcrumError(f"data folder {folder}: no census-income.data or .test (or parquet) in it")
    persons = pl.concat([_read(path) for path in paths], how="vertical_relaxed")
    number = pl.int_range(pl.len())
    # Knuth's multiplicative hash spreads neighbours, which surveys may have made alike, over the folds.
    fold = (number * 2_654_435_761) % 2**32 * _FOLDS // 2**32
    return LogSource(persons.with_columns(person=number, fold=fold), (), fingerprint(paths))


def _read(path: Path) -> pl.DataFrame:
    if path.suffix == ".parquet":
        persons = read_table(path)
    else:
        try:
            persons = pl.read_csv(path, has_header=False, new_columns=list(COLUMNS), infer_schema=False)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise FulcrumError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from error
    missing = [name for name in COLUMNS if name not in persons.columns]
    if missing:
        raise FulcrumError(
            f"{path}: expected the {len(COLUMNS)} columns of Census-Income; {missing[0]!r} is absent"
        )
    text = [name for name in COLUMNS if name not in _NUMBERS and name != "instance_weight"]
    persons = persons.select(
        pl.col(name).cast(pl.String).str.strip_chars() if name in text else name for name in COLUMNS
    )
    return persons.with_columns(
        *(
            pl.col(name).cast(pl.String).str.strip_chars().cast(pl.Float64)
            for name in (*_NUMBERS, "instance_weight")
        ),
        part=pl.lit("test" if ".test" in path.name else "data"),
    )
