"""What the engine alone says, in a process of its own, as JSON: `python engine_answers.py MODEL` reads prompts as ids.

`greedy`: the ids of greedy answers. `drawn`: texts drawn with a seed each, three times: all at once, in two parts, and
in the opposite order.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pipeline.llm.vllm import Engine, Sampling

TOKENS = 160
DRAWN = 24


def main() -> None:
    prompts: list[list[int]] = json.load(sys.stdin)
    engine = Engine(Path(sys.argv[1]), max_length=512, dtype="float32", threads=1)
    greedy = engine.generate(prompts, Sampling(TOKENS))
    sampling = Sampling(40, temperature=1.0, top_k=50, min_p=0.01, presence_penalty=0.3, stop=("```",))

    def drawn(places: list[int]) -> dict[int, str]:
        said = engine.generate([prompts[place] for place in places], sampling, seeds=[7 + place for place in places])
        return {place: completion.text for place, completion in zip(places, said, strict=True)}

    places = list(range(DRAWN))
    divided = [drawn(places), {**drawn(places[:5]), **drawn(places[5:])}, drawn(places[::-1])]
    texts = [[found[place] for place in places] for found in divided]
    json.dump({"greedy": [list(one.ids) for one in greedy], "drawn": texts}, sys.stdout)


if __name__ == "__main__":
    main()
