"""Tables as people have them: numbers, categories, booleans and dates, with values missing. Needs ``fastfc[tabular]``.

>>> from fastfc.tabular import fit_table
>>> model = fit_table("customers.csv", target="bought")  # doctest: +SKIP
>>> model.predict("new_customers.csv")  # doctest: +SKIP
"""

from fastfc.tabular._fit import fit_table
from fastfc.tabular._model import TableModel, load_table_model

__all__ = ["TableModel", "fit_table", "load_table_model"]
