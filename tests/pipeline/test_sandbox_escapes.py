"""Hostile code that wants out, wants what is not for it, or lies about what came of it.

Each way out and each theft is first shown to be one where nothing holds it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from sandboxes import ROOT, VARIANTS, call, run_bare, value_of

from pipeline.sandbox.run import Limits, execute, passed

SECRET = "hunter2-" + "x" * 8


# Getting out: each way would leave a file

WAYS_OUT = {
    "posix.system": "import posix\ndef f():\n    return posix.system('echo out > {marker}')",
    "os reloaded": """
import importlib, os, sys
del sys.modules["os"]
import os
importlib.reload(os)
def f():
    return os.system("echo out > {marker}")
""",
    "a program": "import subprocess\ndef f():\n    return subprocess.run(['touch', '{marker}']).returncode",
    "a program without fork": """
import os
def f():
    os.waitpid(os.posix_spawn("/usr/bin/touch", ["touch", "{marker}"], {{}}), 0)
""",
    "the C library": "import ctypes\ndef f():\n    return ctypes.CDLL(None).system(b'echo out > {marker}')",
    "a plain file": "def f():\n    return open('{marker}', 'w').write('out')",
    "a path of dots": "def f():\n    return open('../../../../../..{marker}', 'w').write('out')",
    "a symlink": """
import os, tempfile
def f():
    link = tempfile.mkdtemp() + "/link"
    os.symlink("{folder}", link)
    open(link + "/marker", "w").write("out")
""",
    "the root of another process": """
import os
def f():
    for process in (os.getppid(), 1, "self"):
        try:
            open(f"/proc/{{process}}/root{marker}", "w").write("out")
        except OSError:
            pass
""",
}


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("outside")


@cache
def _leads_out(code: str, marker: Path) -> bool:
    """Whether the code leaves its file where nothing holds it."""
    run_bare(code)
    found = marker.exists()
    marker.unlink(missing_ok=True)
    return found


@pytest.mark.parametrize("way", WAYS_OUT)
def test_no_way_leads_out(way: str, variant: str, outside: Path) -> None:
    marker = outside / "marker"
    code = WAYS_OUT[way].format(marker=marker, folder=outside)
    assert _leads_out(code, marker), "the way is none, so the test shows nothing"
    execute(code, [call()])
    assert list(outside.iterdir()) == []


# Reading what is not for it

THEFTS = {
    "home": "def f():\n    return open('HOME/secret').read()",
    "Ray's token": "def f():\n    return open('HOME/.ray/auth_token').read()",
    "the parent's environment": "def f():\n    return open('/proc/%d/environ' % PARENT).read()",
    "anyone's environment": """
import glob
def f():
    found = []
    for path in glob.glob("/proc/*/environ"):
        try:
            found.append(open(path, errors="replace").read())
        except OSError:
            pass
    return [text for text in found if "KINTSUGI_SECRET" in text]
""",
    "our environment": """
import ctypes, os
def f():
    getenv = ctypes.CDLL(None).getenv
    getenv.restype = ctypes.c_char_p
    return [dict(os.environ), str(getenv(b"KINTSUGI_SECRET"))]
""",
    "open files": """
import os
def f():
    found = []
    for number in range(3, 256):
        try:
            found.append(str(os.pread(number, 1000, 0)))
        except OSError:
            pass
    return found
""",
    "a search of everything": """
import os
LIKELY = (".ray", "kintsugi-theft", "pytest", "popen-", "test_")
def f():
    found = []
    for folder in ["/tmp", "/home", "/root", "/var", "/work", "/opt", "/mnt", "/srv", "/run"]:
        for place, folders, names in os.walk(folder):
            folders[:] = [name for name in folders if name.startswith(LIKELY)]
            for name in names:
                if name in ("secret", "auth_token"):
                    found.append(open(os.path.join(place, name)).read())
    return found
""",
}
VICTIM = """
import json, os, sys
from sandboxes import VARIANTS, call, sandbox
from pipeline.sandbox.run import execute
home, thefts = sys.argv[1], json.loads(sys.argv[2])
thefts = {theft: code.replace("PARENT", str(os.getpid())) for theft, code in thefts.items()}
inherited = os.open(home + "/secret", os.O_RDONLY)
os.set_inheritable(inherited, True)
def bare(code):
    names = {}
    exec(code, names)
    return str(names["f"]())
said = {"bare": {theft: bare(code) for theft, code in thefts.items()}}
for variant in json.loads(sys.argv[3]):
    with sandbox(variant):
        said[variant] = {theft: str(execute(code, [call()])) for theft, code in thefts.items()}
print(json.dumps(said))
"""
HERE = [name for name in VARIANTS if name != "bubblewrap" or shutil.which("bwrap")]


@pytest.fixture(scope="module")
def robbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """What each theft brings in a process that has secrets everywhere: without a sandbox, and in each variant."""
    home = tmp_path_factory.mktemp("kintsugi-theft")
    (home / ".ray").mkdir()
    for name in ("secret", ".ray/auth_token"):
        (home / name).write_text(SECRET)
    environment = {**os.environ, "KINTSUGI_SECRET": SECRET, "HOME": str(home)}
    environment["PYTHONPATH"] = f"{ROOT}:{ROOT / 'tests' / 'support'}"
    codes = {theft: code.replace("HOME", str(home)) for theft, code in THEFTS.items()}
    command = [sys.executable, "-c", VICTIM, str(home), json.dumps(codes), json.dumps(HERE)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


@pytest.mark.parametrize("theft", THEFTS)
def test_no_secret_is_read(theft: str, robbed: dict[str, dict[str, str]]) -> None:
    assert SECRET in robbed["bare"][theft], "nothing is stolen, so the test shows nothing"
    for name in HERE:
        assert "status='completed'" in robbed[name][theft]
        assert SECRET not in robbed[name][theft], name


def test_the_users_files_are_not_there(variant: str) -> None:
    code = "import os\ndef f(path):\n    return os.path.exists(path)"
    theirs = ["/etc/passwd", "/etc/shadow", "/etc/hosts", "/sys", "/dev/shm", "/proc/self", "/usr/bin", "/home", "/var"]
    for path in (__file__, pytest.__file__, str(Path.home() / ".bashrc"), *theirs):
        assert value_of(code, path) is False, path
    assert value_of(code, os.__file__) is True


def test_installed_packages_are_not_there(variant: str) -> None:
    code = """
import os, sys
def f(places):
    return [place for place in places if os.path.isdir(place) and os.listdir(place)]
"""
    library = Path(os.__file__).parent
    assert (library / "site-packages").is_dir()
    places = [library / "site-packages", Path("/usr/lib/python3/dist-packages"), Path("/lib/python3/dist-packages")]
    assert value_of(code, [str(place) for place in places]) == []


# The verdict

LIES = {
    "equal to everything": "class Same:\n    def __eq__(self, other): return True\ndef f(x):\n    return Same()",
    "an int equal to everything": """
class Same(int):
    def __eq__(self, other): return True
    def __hash__(self): return 0
def f(x):
    return Same(5)
""",
    "a str equal to everything": """
class Same(str):
    def __eq__(self, other): return True
def f(x):
    return Same("5")
""",
    "json patched": """
import json, json.encoder, json.decoder
json.dumps = json.JSONEncoder.encode = json.encoder.encode_basestring_ascii = lambda *a, **k: '{"value": 2}'
json.loads = lambda *a, **k: [2]
json.encoder.c_make_encoder = None
def f(x):
    return 3
""",
    "os.write patched": "import os\nos.write = lambda *a: 10**6\ndef f(x):\n    return 3",
    "builtins patched": "import builtins\nbuiltins.all = builtins.any = lambda *a: True\ndef f(x):\n    return 3",
    "modules gone": "import sys\nsys.modules.clear()\ndef f(x):\n    return 3",
    "an early end": "import os\nos._exit(0)",
    "an early end of the call": "import os\ndef f(x):\n    os._exit(0)",
    "frames": """
import gc, sys
def look(value, depth=0):
    if isinstance(value, dict):
        for key in list(value):
            if key in ("expected", "passed", "status", "verdict"):
                value[key] = True
def f(x):
    frame = sys._getframe()
    while frame:
        look(frame.f_locals), look(frame.f_globals)
        for name, value in list(frame.f_locals.items()):
            if name in ("report", "calls", "job"):
                frame.f_locals[name] = None
        frame = frame.f_back
    for value in gc.get_objects():
        look(value)
    return 3
""",
    "the reporter called": """
import sys
def f(x):
    frame = sys._getframe()
    while frame:
        for name in ("report",):
            if callable(frame.f_locals.get(name)):
                for line in ({"passed": True}, {"value": 3}, {"done": True}, {"status": "completed"}):
                    frame.f_locals[name](line)
        frame = frame.f_back
    return 3
""",
    "the exit status": "import atexit, os\natexit.register(os._exit, 0)\ndef f(x):\n    raise SystemExit(0)",
}


@pytest.mark.parametrize("lie", LIES)
def test_no_lie_passes(lie: str, variant: str) -> None:
    tests = [call(1, expected=2)]
    assert passed(execute("def f(x):\n    return x + 1", tests), tests)
    assert not passed(execute(LIES[lie], tests), tests)
    assert passed(execute("def f(x):\n    return x + 1", tests), tests), "the next program suffers"


def test_what_is_expected_is_nowhere_to_be_found(variant: str) -> None:
    code = """
import gc, sys
def f(half):
    wanted = half + half[::-1]
    texts = [value for value in gc.get_objects() if isinstance(value, (dict, list, tuple))]
    frame = sys._getframe().f_back
    while frame:
        texts += [frame.f_locals, frame.f_globals]
        frame = frame.f_back
    return sum(1 for text in texts if wanted in repr(text))
"""
    test = call("abcdefgh", expected="abcdefghhgfedcba")
    execution = execute(code, [test], Limits(cpu_seconds=20, wall_seconds=60))
    assert [outcome.value for outcome in execution.outcomes] == ["0"], execution


def test_a_job_leaves_nothing_to_the_next(variant: str) -> None:
    spoil = """
import builtins, json, os, random, sys
def f():
    json.dumps = builtins.len = None
    sys.modules["math"] = None
    random.left = "here"
    os.environ["LEFT"] = "here"
    open("left", "w").write("here")
    open("/tmp/left", "w").write("here")
    return True
"""
    look = """
import json, math, os, random
def f():
    return [len("ab"), json.dumps(1), math.floor(1.5), hasattr(random, "left"), dict(os.environ), os.listdir("."),
            os.listdir("/tmp"), os.getcwd()]
"""
    for _ in range(2):
        assert value_of(spoil) is True
        assert value_of(look) == [2, "1", 1, False, {}, [], [], "/tmp"]
