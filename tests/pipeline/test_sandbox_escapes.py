"""Hostile code, and what is left of it outside. Each way out is first shown to be one where nothing holds it."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from sandboxes import ROOT, VARIANTS, call, processes_called, run_bare, sandbox, value_of, wait_for

from pipeline.sandbox.run import Limits, execute, passed

SECRET = "hunter2-" + "x" * 8


RARE = ("as a user", "bubblewrap")
"""Variants that take longer, or differ from another one in how they begin alone."""


@pytest.fixture(
    params=[pytest.param(name, marks=[pytest.mark.extensive] if name in RARE else []) for name in VARIANTS],
    scope="module",
)
def variant(request: pytest.FixtureRequest) -> Iterator[str]:
    with sandbox(request.param):
        yield request.param


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
def f():
    found = []
    for folder in ["/tmp", "/home", "/root", "/var", "/work", "/opt", "/mnt", "/srv", "/run"]:
        for place, folders, names in os.walk(folder):
            folders[:] = [name for name in folders if name.startswith((".ray", "kintsugi-theft", "pytest", "test_"))]
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


# The network

CONNECT = """
import socket
def f(address):
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    kind = socket.SOCK_STREAM
    talk = socket.socket(family, kind)
    talk.settimeout(2)
    talk.connect("\\0" + address[1:] if isinstance(address, str) and address[0] == "@" else
                 address if isinstance(address, str) else tuple(address))
    talk.sendall(b"out")
"""


def _listeners(folder: Path) -> Iterator[tuple[object, socket.socket]]:
    loopback = socket.create_server(("127.0.0.1", 0))
    yield ["127.0.0.1", loopback.getsockname()[1]], loopback
    everywhere = socket.create_server(("0.0.0.0", 0))
    yield [_own_address(), everywhere.getsockname()[1]], everywhere
    abstract, path = (socket.socket(socket.AF_UNIX) for _ in range(2))
    abstract.bind(f"\0kintsugi-{os.getpid()}")
    path.bind(str(folder / "s"))
    for listener, address in ((abstract, f"@kintsugi-{os.getpid()}"), (path, str(folder / "s"))):
        listener.listen()
        yield address, listener


def _own_address() -> str:
    """This machine as the net knows it; loopback where it has no other address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def test_no_socket_reaches_anyone(variant: str, tmp_path: Path) -> None:
    for address, listener in _listeners(tmp_path):
        with listener:
            listener.settimeout(5)
            run_bare(f"{CONNECT}\nplain = f\ndef f():\n    return plain({address!r})")
            assert listener.accept()[0].recv(10) == b"out"
            listener.settimeout(0.1)
            assert isinstance(value_of(CONNECT, address), tuple), address
            with pytest.raises(TimeoutError):
                listener.accept()


def test_the_filter_and_the_namespace_each_deny_the_network() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = ["127.0.0.1", listener.getsockname()[1]]
        with sandbox("namespaces"):
            assert value_of(CONNECT, address)[0] == "PermissionError"
        with sandbox("without the filter"):
            assert value_of(CONNECT, address) == ("OSError", "[Errno 101] Network is unreachable")


# Taking everything

NAMED = "import ctypes\ndef name(text):\n    ctypes.CDLL(None).prctl(15, text.encode(), 0, 0, 0)\n"


def test_a_fork_bomb_does_not_go_off() -> None:
    bomb = NAMED + "import os\ndef f():\n    name('kintsugi-bomb')\n    while True:\n        os.fork()"
    with sandbox("namespaces"):
        assert value_of(bomb) == ("PermissionError", "[Errno 1] Operation not permitted")
    assert processes_called("kintsugi-bomb") == []


def test_without_the_filter_a_fork_bomb_is_bounded_and_gone() -> None:
    bomb = (
        NAMED
        + """
import os, time
def f():
    name("kintsugi-bomb")
    for _ in range(40):
        if os.fork() == 0:
            time.sleep(60)
    time.sleep(60)
"""
    )
    with sandbox("without the filter"):
        running = threading.Thread(target=execute, args=(bomb, [call()], Limits(wall_seconds=3)))
        running.start()
        wait_for(lambda: len(processes_called("kintsugi-bomb")) == 41)
        running.join()
        assert processes_called("kintsugi-bomb") == []


DAEMON = (
    NAMED
    + """
import os, signal, time
def f():
    ready, tell = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for number in range(1, 32):
                if number not in (9, 19):
                    signal.signal(number, signal.SIG_IGN)
            name("kintsugi-demon")
            os.write(tell, b"x")
            os.closerange(0, 64)
            time.sleep(60)
        os._exit(0)
    return os.read(ready, 1).decode()
"""
)


@pytest.mark.parametrize("strongest", ["namespaces", "bubblewrap", "without the filter"])
def test_a_daemon_is_gone_when_the_job_is(strongest: str) -> None:
    run_bare(DAEMON)
    [demon] = processes_called("kintsugi-demon")
    os.kill(demon, signal.SIGKILL)
    wait_for(lambda: not processes_called("kintsugi-demon"))
    with sandbox(strongest):
        value = value_of(DAEMON)
        assert value == (
            "x" if strongest == "without the filter" else ("PermissionError", "[Errno 1] Operation not permitted")
        )
        assert processes_called("kintsugi-demon") == []


def test_ignored_signals_do_not_keep_it_alive(variant: str) -> None:
    code = (
        NAMED
        + """
import os, signal, time
def f():
    name("kintsugi-mule")
    for number in range(1, 32):
        if number not in (9, 19):
            signal.signal(number, signal.SIG_IGN)
    os.close(3)
    while True:
        time.sleep(60)
"""
    )
    started = time.monotonic()
    assert execute(code, [call()], Limits(wall_seconds=0.7)).status == "wall-limit"
    assert time.monotonic() - started < 15
    assert processes_called("kintsugi-mule") == []


GREEDY = {
    "at once": "def f():\n    return len(b'x' * 10**10)",
    "bit by bit": "def f():\n    held = []\n    while True:\n        held.append(b'x' * 10**7)",
    "a map": """
import mmap
def f():
    held = []
    while True:
        held.append(mmap.mmap(-1, 10**7))
        held[-1].write(b"x" * 10**7)
""",
    "files": """
def f():
    held = [open(str(number), "wb") for number in range(20)]
    while True:
        for file in held:
            file.write(b"x" * 10**6)
            file.flush()
""",
}
MEASURED = """
import resource, sys
from pipeline.records import FunctionTest
from pipeline.sandbox import launch
from pipeline.sandbox.run import Limits, execute
for code in sys.argv[1:]:
    print(execute(code, [FunctionTest.of("f")], Limits(cpu_seconds=5)).outcomes)
launch.stop()
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
"""


def test_ten_gigabytes_of_memory_are_not_had() -> None:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'support'}"}
    command = [sys.executable, "-c", MEASURED, *GREEDY.values()]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    *outcomes, megabytes = done.stdout.splitlines()
    assert len(outcomes) == len(GREEDY), done
    assert all("MemoryError" in outcome or "OSError" in outcome for outcome in outcomes), outcomes
    assert 100 < int(megabytes) <= 512


def test_a_file_of_ten_gigabytes_is_not_written(variant: str) -> None:
    code = """
import os
def f(sparse):
    file, written = open("big", "wb", buffering=0), 0
    try:
        if sparse:
            file.truncate(10**10)
        while written < 10**10:
            written += file.write(b"x" * 10**6)
    except OSError as error:
        pass
    return [written, os.stat("big").st_size]
"""
    free = shutil.disk_usage("/").free
    for sparse in (False, True):
        written, size = value_of(code, sparse, limits=Limits(cpu_seconds=5))
        assert written > 10**7 or sparse
        assert max(written, size) <= 16 * 2**20
    assert free - shutil.disk_usage("/").free < 10**9


def test_many_files_are_not_made() -> None:
    code = "def f():\n    for number in range(10**5):\n        open(str(number), 'w').close()"
    with sandbox("namespaces"):
        assert value_of(code, limits=Limits(cpu_seconds=5)) == ("OSError", "[Errno 28] No space left on device: '1023'")


@pytest.mark.parametrize(("channels", "status"), [((1, 2), "cpu-limit"), ((3,), "crashed")])
def test_endless_output_is_bounded(channels: tuple[int, ...], status: str) -> None:
    flood = (
        f"import os\ndef f():\n    while True:\n        for to in {channels}:\n            os.write(to, b'x' * 65536)"
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with sandbox("namespaces"):
        execution = execute(flood, [call()])
    assert execution.status == status
    assert len(execution.detail) < 1000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


# The interpreter


def test_the_interpreter_is_not_changed(variant: str) -> None:
    code = """
import os, sys
def attempt(action, *arguments):
    try:
        action(*arguments)
    except OSError:
        return True
    return False
def f(executable, library):
    return [
        attempt(open, executable, "ab"), attempt(open, os.__file__, "ab"),
        attempt(open, library + "/sitecustomize.py", "w"),
        attempt(open, library + "/__pycache__/evil.pyc", "w"), attempt(os.unlink, os.__file__),
        attempt(os.rename, os.__file__, os.__file__ + "x"), attempt(os.chmod, os.__file__, 0o777),
        attempt(os.chmod, "/", 0o777), attempt(os.mkdir, "/usr/x"), attempt(os.mkdir, "/x"), attempt(os.mknod, "/n"),
        attempt(os.link, os.__file__, "/tmp/os.py"), attempt(os.symlink, "/a", "/b"),
    ]
"""
    library = Path(os.__file__).parent
    before = _state(library)
    attempts = value_of(code, str(Path(sys.executable).resolve()), str(library))
    assert attempts == [True] * len(attempts)
    assert _state(library) == before


def _state(library: Path) -> list[object]:
    files = [Path(os.__file__), Path(sys.executable).resolve()]
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    return [*digests, *(file.stat().st_mode for file in files), sorted(path.name for path in library.iterdir())]


def test_privileges_are_gone(variant: str) -> None:
    code = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def f():
    tries = [
        libc.mount(b"none", b"/usr", b"tmpfs", 0, None), libc.chroot(b"/usr"), libc.setuid(0),
        libc.umount2(b"/tmp", 2), libc.umount2(b"/usr/lib", 2), libc.sethostname(b"x", 1),
    ]
    return [tries, os.getresuid(), os.getgroups()]
"""
    tries, users, groups = value_of(code)
    assert (tries, users) == ([-1] * 6, [65534] * 3)
    assert set(groups) <= {65534}


def test_the_kernel_says_the_same_of_the_process() -> None:
    """Seen from outside, while code runs: everything is its own, and it may do nothing."""
    code = NAMED + "import time\ndef f():\n    name('kintsugi-seen')\n    time.sleep(60)"
    with sandbox("namespaces"):
        running = threading.Thread(target=execute, args=(code, [call()], Limits(wall_seconds=5)))
        running.start()
        [process] = wait_for(lambda: processes_called("kintsugi-seen"))
        here, there = Path("/proc/self"), Path(f"/proc/{process}")
        shared = [name for name in ("mnt", "pid", "net", "ipc", "uts", "user") if _same(here, there, f"ns/{name}")]
        facts = dict(line.split(":\t") for line in (there / "status").read_text().splitlines() if ":\t" in line)
        seen = {
            name: facts[name].split()[0] for name in ("NoNewPrivs", "Seccomp", "CapEff", "CapPrm", "CapInh", "CapBnd")
        }
        files = sorted(int(path.name) for path in (there / "fd").iterdir())
        limits = (there / "limits").read_text()
        running.join()
    assert shared == []
    assert seen == {
        "NoNewPrivs": "1",
        "Seccomp": "2",
        **dict.fromkeys(("CapEff", "CapPrm", "CapInh", "CapBnd"), "0" * 16),
    }
    assert files == [0, 1, 2, 3]
    assert "Max file size             16777216" in limits


def _same(here: Path, there: Path, name: str) -> bool:
    return (here / name).readlink() == (there / name).readlink()
