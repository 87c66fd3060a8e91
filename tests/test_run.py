"""``fastfc run`` and ``fastfc.install``: code of the course, unedited, with fastfc as its cs231n."""

import os
import signal
import subprocess
import sys
import textwrap
import types
from pathlib import Path

import pytest

import fastfc
from fastfc.classifiers import fc_net
from fastfc.course import install as course_install

ROOT = Path(fastfc.__file__).parents[1]
MODULES = sorted(set(course_install._MODULES) | set(course_install._PACKAGES))


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def installed():
    fastfc.install()
    yield
    fastfc.uninstall()


def write(name, text):
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(text))


def python(*argv, **environment):
    """A finished Python process; NumPy's backend is enough here, and starts at once."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "FASTFC_BACKEND": "reference", **environment}
    return subprocess.run([sys.executable, *argv], capture_output=True, text=True, env=env, timeout=120)


def run(*argv, **environment):
    return python("-m", "fastfc", "run", *argv, **environment)


def output(process):
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    return process.stdout


def both(*argv):
    """The same program under plain python and under fastfc run."""
    plain, ours = python(*argv), run(*argv)
    assert ours.returncode == plain.returncode
    assert ours.stdout == plain.stdout
    assert ours.stderr == plain.stderr
    return ours


# --------------------------------------------------------------------------- as with plain python


def test_what_a_script_sees_of_itself():
    write(
        "folder/script.py",
        """\
        import sys
        print(__name__, __file__, __spec__, __package__, sys.argv, sys.path, sys.flags, sys.warnoptions)
        print(sys.modules["__main__"].__dict__ is globals(), sorted(globals()))
        if __name__ == "__main__":
            print("main")
        """,
    )
    for arguments in ([], ["--help"], ["a", "-m", "--", "--legacy", "-x"]):
        assert "main" in both("folder/script.py", *arguments).stdout


def test_what_a_module_sees_of_itself():
    write("package/__init__.py", "")
    write("package/tool.py", "import sys; print(__name__, __package__, sys.argv, sys.path, __spec__.name)")
    assert both("-m", "package.tool", "-m", "b").stdout.startswith("__main__ package ")


def test_options_of_the_interpreter_reach_the_program():
    write("script.py", "import sys; print(sys.flags.optimize, sys.warnoptions); assert False")
    process = python("-O", "-W", "error", "-m", "fastfc", "run", "script.py")
    assert output(process) == "1 ['error']\n"


@pytest.mark.parametrize(
    "ending",
    ["sys.exit()", "sys.exit(7)", "sys.exit('a reason')", "raise SystemExit(True)", "1 / 0", "import nothing", "def"],
)
def test_endings(ending):
    write("script.py", f"import sys\n\n\ndef end():\n    print('here')\n    {ending}\n\n\nend()\n")
    both("script.py")


def test_a_script_that_is_not_there():
    assert both("absent.py").returncode == 2
    assert both("-m", "absent").returncode == 1


def test_tracebacks_through_the_course_show_no_more_than_through_fastfc():
    text = """\
        from {package}.layers import batchnorm_forward
        def norm():
            batchnorm_forward([[1.0]], [1.0], [1.0], dict(mode="never"))
        norm()
        """
    write("script.py", text.format(package="cs231n"))
    ours = run("script.py")
    write("script.py", text.format(package="fastfc"))
    plain = python("script.py")
    assert ours.stderr.replace("cs231n", "fastfc") == plain.stderr
    assert plain.stderr.endswith('ValueError: Invalid forward batchnorm mode "never"\n')


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c():
    write("script.py", "import os, signal\nprint('here', flush=True)\nos.kill(os.getpid(), signal.SIGINT)\n")
    assert both("script.py").returncode == -signal.SIGINT


def test_another_sitecustomize_still_runs():
    write("site/sitecustomize.py", "import sys\nsys.from_site = 'the other one'\n")
    write("script.py", "import sys, sitecustomize, cs231n; print(sys.from_site, sitecustomize.__file__)")
    process = run("script.py", PYTHONPATH=os.pathsep.join([str(ROOT), str(Path("site").resolve())]))
    assert output(process) == f"the other one {Path('site/sitecustomize.py').resolve()}\n"


def test_options_that_keep_the_environment_out():
    process = python(
        "-E",
        "-c",
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); import fastfc.cli; "
        "sys.exit(fastfc.cli.main(['run', 'script.py']))",
    )
    assert process.returncode == 2
    assert process.stderr == "fastfc: error: run: does not work under python's options -E, -I and -S\n"


# ------------------------------------------------------------------------------ cs231n is fastfc


def test_a_program_of_the_course(tmp_path):
    """A training with a checkpoint, from the imports to the pickle."""
    write(
        "script.py",
        """\
        import pickle
        import numpy as np
        from cs231n.classifiers.fc_net import *
        from cs231n.solver import Solver
        from cs231n import optim

        class MyNet(FullyConnectedNet):
            pass

        if __name__ == "__main__":
            np.random.seed(0)
            X, y = np.random.randn(20, 4), np.arange(20) % 3
            solver = Solver(MyNet([5], 4, 3), dict(X_train=X, y_train=y, X_val=X, y_val=y),
                            update_rule="adam", num_epochs=1, batch_size=10, verbose=False, checkpoint_name="run")
            solver.train()
            with open("run_epoch_1.pkl", "rb") as file:
                checkpoint = pickle.load(file)
            print(type(checkpoint["model"]) is MyNet, checkpoint["update_rule"] is optim.adam)
            print(MyNet.__module__, FullyConnectedNet.__module__)
        """,
    )
    assert output(run("script.py")) == "True True\n__main__ fastfc.classifiers.fc_net\n"


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_child_processes_see_it_too(method):
    if method == "forkserver" and os.name != "posix":
        pytest.skip("no forkserver here")
    write(
        "script.py",
        f"""\
        import multiprocessing, subprocess, sys
        from cs231n.layers import relu_forward
        def work(x):
            return relu_forward([float(x)])[0].tolist(), relu_forward.__module__
        if __name__ == "__main__":
            with multiprocessing.get_context({method!r}).Pool(1) as pool:
                print(pool.map(work, [-1, 2]))
            print(subprocess.check_output([sys.executable, "other.py"], text=True), end="")
        """,
    )
    write("other.py", "import cs231n.optim; print(cs231n.optim.__name__)")
    # A package of the person's beside the script changes nothing about that.
    write("cs231n/__init__.py", "")
    write("cs231n/layers.py", "1 / 0")
    expected = [([0.0], "fastfc.layers"), ([2.0], "fastfc.layers")]
    assert output(run("script.py")) == f"{expected}\nfastfc.optim\n"


def test_a_package_beside_the_script_gives_what_fastfc_does_not_have():
    write("cs231n/__init__.py", "")
    write("cs231n/layers.py", "1 / 0")
    write("cs231n/fast_layers.py", "from cs231n.layers import relu_forward\nname = __name__")
    write("cs231n/classifiers/__init__.py", "")
    write("cs231n/classifiers/cnn.py", "from ..layers import *\nfrom ..fast_layers import name\n")
    write(
        "script.py",
        """\
        import cs231n, fastfc
        from cs231n.classifiers.cnn import affine_forward, name
        from cs231n import fast_layers, layers
        from cs231n.classifiers.fc_net import FullyConnectedNet
        print(name, layers is fastfc.layers, affine_forward.__module__, fast_layers.relu_forward is layers.relu_forward)
        print(FullyConnectedNet is fastfc.FullyConnectedNet, cs231n.__file__ == fastfc.__file__)
        try:
            import cs231n.rnn_layers
        except ModuleNotFoundError as error:
            print(error.name, "answered by fastfc" in str(error))
        """,
    )
    assert output(run("script.py")).splitlines() == [
        "cs231n.fast_layers True fastfc.layers True",
        "True False",
        "cs231n.rnn_layers True",
    ]


def test_legacy():
    write(
        "script.py",
        """\
        from cs231n.classifiers.fc_net import *
        out, _ = dropout_forward(np.ones(1000), {"mode": "train", "p": 0.1, "seed": 0})
        print((out == 0).mean() < 0.5, FullyConnectedNet([5], dropout=0.1).dropout_param["p"])
        """,
    )
    assert output(run("--legacy", "2017", "script.py")) == "True 0.1\n"
    process = run("script.py")
    assert process.stdout == "False 0.1\n"
    assert "script.py:3: DeprecationWarning: dropout=0.1 is taken as the probability to KEEP" in process.stderr


# -------------------------------------------------------------------------------------- install


def test_every_name_is_the_same_module(installed):
    for name in MODULES:
        names = {}
        exec(f"import {name} as module", names)
        assert names["module"] is sys.modules[name.replace("cs231n", "fastfc")]
        assert names["module"].__spec__.name == name.replace("cs231n", "fastfc")
    from cs231n.classifiers.fc_net import FullyConnectedNet

    assert FullyConnectedNet is fc_net.FullyConnectedNet


def test_install_twice_and_undo(installed):
    before = list(sys.meta_path)
    fastfc.install()
    assert sys.meta_path == before
    __import__("cs231n.layers")
    fastfc.uninstall()
    fastfc.uninstall()
    assert not [name for name in sys.modules if name.startswith("cs231n")]
    assert len(sys.meta_path) == len(before) - 1
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'cs231n'$"):
        __import__("cs231n.layers")


def test_other_modules_are_none_of_its_business(installed):
    assert course_install._finder.find_spec("cs231nx", None) is None
    assert course_install._finder.find_spec("json", None) is None
    with pytest.raises(ModuleNotFoundError, match=r"'cs231n\.params'"):
        __import__("cs231n.params")
    with pytest.raises(ModuleNotFoundError, match=r"'cs231n\.fast_layers': cs231n is answered by fastfc") as caught:
        __import__("cs231n.fast_layers")
    assert caught.value.name == "cs231n.fast_layers"


def test_too_late(monkeypatch):
    """Classes of two packages would mix."""
    theirs = types.ModuleType("cs231n.layers")
    theirs.__file__ = "/home/me/cs231n/layers.py"
    monkeypatch.setitem(sys.modules, "cs231n.layers", theirs)
    before = list(sys.meta_path)
    with pytest.raises(ImportError, match=r"cs231n\.layers has been imported from /home/me/cs231n/layers\.py already"):
        fastfc.install(legacy="2017")
    assert sys.meta_path == before
    assert fastfc.course.years.default_legacy() is None


def test_install_for_2017(monkeypatch):
    monkeypatch.setattr("fastfc.course.years._default", None)
    with pytest.raises(ValueError, match=r"^legacy: expected '2017'"):
        fastfc.install(legacy="2018")
    assert course_install._finder not in sys.meta_path
    fastfc.install(legacy="2017")
    try:
        assert fastfc.FullyConnectedNet([5], dropout=0.1).dropout_param == {"mode": "train", "p": 0.1, "legacy": "2017"}
    finally:
        fastfc.uninstall()


def test_notebook_extension():
    shell = object()
    fastfc.load_ipython_extension(shell)
    try:
        __import__("cs231n.solver")
        assert sys.modules["cs231n.solver"].Solver is fastfc.Solver
    finally:
        fastfc.unload_ipython_extension(shell)
    assert "cs231n.solver" not in sys.modules
