"""The tutorials' helpers for the build: order, figures, and a folder that they may write into."""

import os
import shutil
from pathlib import Path

import numpy  # noqa: F401
import scipy.linalg  # noqa: F401
import threadpoolctl

# Products this small are no quicker on several threads of BLAS, and beside other load far slower. Only libraries that
# are loaded already can be told.
threadpoolctl.threadpool_limits(1)
os.environ["FASTFC_QUIET"] = "1"

DOCS = Path(__file__).resolve().parent
ORDER = ("course", "scikit_learn", "pytorch", "tables", "searches", "reinforcement", "exporting")
SEEN = []


class Order:
    """Sort key of the tutorials."""

    def __init__(self, folder):
        pass

    def __call__(self, name):
        return ORDER.index(Path(name).stem)


def copied(folder):
    """Copy the tutorials, and a finished assignment, into an empty folder, where their files may lie."""
    folder = Path(folder)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(DOCS / "tutorials", folder, ignore=shutil.ignore_patterns("*.toml"))
    shutil.copytree(DOCS.parent / "tests" / "course_package" / "cs231n", folder / "cs231n")
    return str(folder)


def scraped(block, variables, conf):
    """Save the figures that a block has made without pyplot, as fastfc does; each one once."""
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from sphinx_gallery.scrapers import figure_rst

    paths = []
    for value in list(variables["example_globals"].values()):
        figure = value.get_figure(root=True) if isinstance(value, Axes) else value
        if not isinstance(figure, Figure) or any(figure is each for each in SEEN):
            continue
        SEEN.append(figure)
        # Those of pyplot are the next scraper's, which closes them.
        if figure.canvas.manager is None:
            paths.append(next(variables["image_path_iterator"]))
            figure.savefig(paths[-1], dpi=120, bbox_inches="tight")
    return figure_rst(paths, conf["src_dir"])


def reset(conf, name):
    """Between two tutorials: forget the figures, and undo what one of them has installed or patched."""
    import sys

    import fastfc

    SEEN.clear()
    fastfc.unpatch()
    fastfc.uninstall()
    for module in [module for module in sys.modules if module.split(".")[0] == "cs231n"]:
        del sys.modules[module]
