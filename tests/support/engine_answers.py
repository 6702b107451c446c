"""What the engine alone says, in a process of its own, as JSON: `python engine_answers.py MODEL` reads prompts as ids.

`greedy`: the ids of greedy answers. `unrepeated`: those of some of them without any 3-gram twice. `drawn`: texts drawn
with a seed each, three times: all at once, in two parts, and in the opposite order.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pipeline.llm.vllm import Engine, Sampling

TOKENS = 160
DRAWN = 24
NGRAM = 3


def main() -> None:
    prompts: list[list[int]] = json.load(sys.stdin)
    engine = Engine(Path(sys.argv[1]), max_length=512, dtype="float32", threads=1, no_repeat=True)
    greedy = engine.generate(prompts, Sampling(TOKENS))
    unrepeated = engine.generate(prompts[:DRAWN], Sampling(TOKENS, no_repeat_ngram=NGRAM))
    sampling = Sampling(40, temperature=1.0, top_k=50, min_p=0.01, presence_penalty=0.3, stop=("```",))

    def drawn(places: list[int]) -> dict[int, str]:
        said = engine.generate([prompts[place] for place in places], sampling, seeds=[7 + place for place in places])
        return {place: completion.text for place, completion in zip(places, said, strict=True)}

    places = list(range(DRAWN))
    divided = [drawn(places), {**drawn(places[:5]), **drawn(places[5:])}, drawn(places[::-1])]
    texts = [[found[place] for place in places] for found in divided]
    said = {name: [list(one.ids) for one in found] for name, found in (("greedy", greedy), ("unrepeated", unrepeated))}
    json.dump({**said, "drawn": texts}, sys.stdout)


if __name__ == "__main__":
    main()
