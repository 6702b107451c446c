"""Made-up questions and answers about Python in the manner of Glaive's: prose, lists, headings and fenced code.

`rows(150_000)` gives that many different ones within a minute; answers have 200 to 400 tokens, counted as words and
signs. What is asked stands in `glaive_tasks.txt`; layout, wording, names and numbers are drawn from the seed and the
row's index, so that row 7 is the same however many rows are wanted.

PYTHONPATH=.:tests/support python tests/support/glaive_like.py 3
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from pipeline.records import QARecord

FEWEST, MOST = 200, 400
"""Tokens of an answer."""

GAPS = 30
"""A gap counts as three tokens until it is filled, so a text with gaps seems longer by up to this."""

ASKING = (
    "Write a Python function `{f}` that {ask}.", "How can I write a Python function that {ask}?",
    "Create a function in Python that {ask}. Please explain how it works.", "I need Python code that {ask}.",
    "Can you show me how to implement something that {ask} in Python?", "Develop a Python solution that {ask}.",
    "Please write `{f}` in Python: it {ask}. Mention the complexity, too.", "Implement a program that {ask}.",
)  # fmt: skip
OPENINGS = (
    "Sure! Here is `{f}`, which {what}.", "Certainly! The code below {what}.",
    "You can solve this with `{f}`. It {what}.", "Here is a solution that {what}.",
    "To do this, you can write `{f}`. The code {what}.", "The implementation below {what}.",
    "One way to do this in Python is the following. The code {what}.", "Of course. The solution {what}.",
)  # fmt: skip
PLANS = ("The idea is as follows:", "It works in these steps:", "The plan:", "The approach has these steps:")
PLAN_HEADINGS = ("Approach", "How it works", "Steps", "Algorithm", "Idea")
CODE_HEADINGS = ("Code", "Implementation", "Solution", "Python code")
EXPLAINED = (
    "Some details are worth a look.",
    "A few remarks on the code:",
    "Let me explain the details.",
    "In detail:",
)
NOTE_HEADINGS = ("Notes", "Details", "Remarks", "Explanation", "Things to know")
COST_HEADINGS = ("Complexity", "Performance", "Running time")
USES = ("You can call it like this:", "Example usage:", "Here is how to use it:", "A quick example:", "To try it, run:")
ADVICE = (
    "I recommend a few unit tests for empty and single inputs before you rely on it in production.",
    "It is a good idea to add type hints if your project uses a type checker such as mypy.",
    "You may want to add a doctest with the example, so that it is checked whenever the tests run.",
    "If you call it very often, measure it with `timeit` on data of realistic size.",
    "The names are chosen for clarity; feel free to adapt them to the conventions of your project.",
    "No package outside the standard library is needed, so it runs on every recent version of Python.",
    "For larger inputs, consider whether a library such as NumPy or pandas already offers what you want.",
    "Note that the code does not check the types of its arguments, so pass what it expects.",
    "If you want to reuse it elsewhere, save it in a module of its own and import it from there.",
    "Should you need logging, the `logging` module is a better choice than calls of `print`.",
    "The code favours readability; a shorter version is possible but harder to follow.",
    "When you change it later, keep the tests close to the code so that mistakes show up early.",
    "You can paste it into an interactive session to see how it behaves with your own data.",
    "To make it more general, turn the fixed values into parameters with sensible defaults.",
)
CLOSINGS = (
    "Let me know if you have any questions about the code!", "I hope this helps!", "Happy coding!", "",
    "Feel free to ask if anything is unclear.", "Tell me if you would like a version with more options.",
)  # fmt: skip

_TOKEN = re.compile(r"\w+|[^\w\s]")
_COMMENT = re.compile(r"^ +#.*\n", re.MULTILINE)
_DOCSTRING = re.compile(r'^ +""".*"""\n', re.MULTILINE)


@dataclass
class Task:
    """One question with everything that can be said about it; texts hold the gaps {f}, {x}, {d}, {k} and {j}."""

    ask: Sequence[str] = ()
    what: Sequence[str] = ()
    cost: Sequence[str] = ()
    names: Sequence[str] = ()
    inputs: Sequence[str] = ()
    code: str = ""
    use: str = ""
    steps: list[str] = field(default_factory=list)
    facts: list[Sequence[str]] = field(default_factory=list)


def rows(count: int, seed: int = 0, first: int = 0) -> Iterator[QARecord]:
    """Rows `first` to `first + count` of this seed."""
    for index in range(first, first + count):
        yield row(index, seed)


def row(index: int, seed: int = 0) -> QARecord:
    """One question and its good answer."""
    random = Random(f"glaive-like:{seed}:{index}")
    task = TASKS[random.randrange(len(TASKS))]
    prompt = random.choice(ASKING).replace("{ask}", random.choice(task.ask))
    answer = "\n\n".join(part for part in _parts(task, random) if part)
    gaps = {
        "{f}": random.choice(task.names),
        "{x}": random.choice(task.inputs),
        "{d}": str(random.randint(2, 9)),
        "{k}": str(random.randint(10, 99)),
        "{j}": str(random.randint(100, 999)),
    }
    for gap, text in gaps.items():
        prompt, answer = prompt.replace(gap, text), answer.replace(gap, text)
    return QARecord(f"glaive-like-{seed}-{index:06d}", prompt, answer, "glaive-like")


def tokens(text: str) -> int:
    """Words and signs, about what a tokenizer makes of such a text."""
    return len(_TOKEN.findall(text))


def _parts(task: Task, random: Random) -> list[str]:
    """Opening, plan, code, remarks, example and closing, in one of several layouts; to be joined by blank lines."""
    headed = random.random() < 0.4
    mark = random.choice(("##", "###"))
    opening = random.choice(OPENINGS).replace("{what}", random.choice(task.what))
    code = f"```{random.choice(('python', 'python', 'python', 'py', 'Python'))}\n{_code(task, random)}```"
    facts = [random.choice(variants) for variants in task.facts]
    random.shuffle(facts)
    cost = random.choice(task.cost)
    plan = _plan(task, random)
    parts = [opening]
    if headed:
        parts += [f"{mark} {random.choice(PLAN_HEADINGS)}", plan, f"{mark} {random.choice(CODE_HEADINGS)}", code]
        parts += [f"{mark} {random.choice(NOTE_HEADINGS)}", _listed(facts, random, random.random() < 0.6)]
        parts += [f"{mark} {random.choice(COST_HEADINGS)}", cost]
    else:
        parts += [random.choice(PLANS), plan] if random.random() < 0.6 else []
        parts += [code]
        parts += _remarks(facts, cost, random)
    if random.random() < 0.6:
        parts += [random.choice(USES), f"```python\n{task.use}\n```"]
    return _filled([*parts, random.choice(CLOSINGS)], random)


def _filled(parts: list[str], random: Random) -> list[str]:
    """Advice before the closing line, until the answer has the length that is drawn for it."""
    advice = list(ADVICE)
    random.shuffle(advice)
    wanted = random.randint(FEWEST + GAPS, MOST - 10)
    size = sum(map(tokens, parts))
    lines: list[str] = []
    while advice and size < wanted and (len(lines) < 9 or size < FEWEST + GAPS):
        lines.append(advice.pop())
        size += tokens(lines[-1])
    return [*parts[:-1], " ".join(lines[:3]), " ".join(lines[3:]), parts[-1]]


def _code(task: Task, random: Random) -> str:
    code = task.code
    if random.random() < 0.3:
        code = _COMMENT.sub("", code)
    return _DOCSTRING.sub("", code) if random.random() < 0.4 else code


def _plan(task: Task, random: Random) -> str:
    if random.random() < 0.7:
        dot = random.choice((".", ".", ")"))
        return "\n".join(f"{number}{dot} {step}" for number, step in enumerate(task.steps, 1))
    return "\n".join(f"- {step}" for step in task.steps)


def _listed(facts: list[str], random: Random, as_list: bool) -> str:
    mark = random.choice(("-", "*"))
    return "\n".join(f"{mark} {fact}" for fact in facts) if as_list else " ".join(facts)


def _remarks(facts: list[str], cost: str, random: Random) -> list[str]:
    if random.random() < 0.4:
        return [random.choice(EXPLAINED), _listed(facts, random, True), cost]
    if random.random() < 0.5:
        return [" ".join(facts), cost]
    return [f"{facts[0]} {facts[1]}", f"{cost} {' '.join(facts[2:])}"]


def _tasks() -> tuple[Task, ...]:
    text = Path(__file__).with_name("glaive_tasks.txt").read_text(encoding="utf-8")
    return tuple(_task(part.strip("\n")) for part in text.split("\n===\n"))


def _task(text: str) -> Task:
    """A task as it stands in the file: lines of `key: text | other wording`, and the code up to `what:`."""
    head, code = text.split("\ncode:\n")
    code, rest = code.split("\nwhat: ")
    task = Task(code=code + "\n")
    for line in [*head.splitlines(), *f"what: {rest}".splitlines()]:
        key, value = line.split(": ", 1)
        if key in ("ask", "what", "cost"):
            setattr(task, key, value.split(" | "))
        elif key in ("f", "x"):
            setattr(task, {"f": "names", "x": "inputs"}[key], value.split())
        elif key == "use":
            task.use = value
        else:
            {"step": task.steps.append, "fact": lambda text: task.facts.append(text.split(" | "))}[key](value)
    return task


TASKS = _tasks()

if __name__ == "__main__":
    for made in rows(int(sys.argv[1])):
        sys.stdout.write(f"# {made.id}: {made.prompt}\n\n{made.response}\n\n{'=' * 120}\n")
