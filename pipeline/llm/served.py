"""A vLLM engine in a Ray actor as a generator: what is asked while it works is the next batch."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import cluster
from pipeline.contract import Resources, Source
from pipeline.llm.base import Failure, Reply, Request, Tally
from pipeline.llm.config import Writer


class Served:
    """Hands requests to the actor, all that wait at a time. Replies keep to the JSON schema of their request."""

    def __init__(self, writer: Writer, model: Source, resources: Resources, tally: Tally) -> None:
        self.writer = writer
        self.tally = tally
        settings = ("backend", "temperature", "max_tokens", "max_length", "dtype")
        self.identity: Mapping[str, Any] = {"model": model.key, **{name: getattr(writer, name) for name in settings}}
        self.waiting: list[tuple[Request, asyncio.Future[Reply | Failure]]] = []
        self.serving: asyncio.Task[None] | None = None
        self.start = (model.root, writer, resources)
        self.actor: Any = None

    async def generate(self, request: Request) -> Reply | Failure:
        future: asyncio.Future[Reply | Failure] = asyncio.get_running_loop().create_future()
        self.waiting.append((request, future))
        if self.serving is None:
            self.serving = asyncio.create_task(self._serve())
        return await future

    async def close(self) -> None:
        """The actor goes, and with it the engine."""
        if self.serving is not None:
            self.serving.cancel()
        if self.actor is not None:
            import ray

            ray.kill(self.actor)

    async def _serve(self) -> None:
        """Answer until nobody waits. An engine that fails fails everybody who waits."""
        if self.actor is None:
            self.actor = start_actor(*self.start)
        while self.waiting:
            await asyncio.sleep(0)  # whoever is ready in this moment comes along
            batch, self.waiting = self.waiting, []
            try:
                replies = await self.actor.answer.remote([request for request, _ in batch])
            except Exception as error:
                for _, future in batch:
                    _settle(future, error)
                continue
            for (_, future), reply in zip(batch, replies, strict=True):
                self.tally.sent(reply)
                _settle(future, reply)
        self.serving = None


def _settle(future: asyncio.Future[Reply | Failure], result: Reply | Failure | Exception) -> None:
    """Tell whoever still waits."""
    if future.done():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)


def start_actor(model: Path, writer: Writer, resources: Resources) -> Any:
    """The engine's actor, somewhere on the cluster."""
    cluster.connect()
    import ray

    options = {"num_cpus": resources.cpus, "num_gpus": resources.gpus}
    return ray.remote(Answering).options(**options).remote(model, writer, resources.gpus)


class Answering:
    """The actor: an engine and its tokenizer."""

    def __init__(self, model: Path, writer: Writer, gpus: float) -> None:
        from transformers import AutoTokenizer

        from pipeline.llm.vllm import Engine

        self.writer = writer
        self.tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
        self.engine = Engine(
            model,
            max_length=writer.max_length,
            dtype={"fp32": "float32", "bf16": "bfloat16"}[writer.dtype],
            threads=1 if gpus else cluster.cores(),
            gpus=gpus,
        )

    def answer(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        """Replies in the order of the requests; a conversation that leaves no room for one is a failure."""
        from pipeline.chat import conversation_ids
        from pipeline.llm.vllm import Sampling

        turns = [[(message.role, message.content) for message in request.messages] for request in requests]
        prompts = [conversation_ids(self.tokenizer, turn) for turn in turns]
        fitting = [number for number, ids in enumerate(prompts) if len(ids) < self.writer.max_length]
        sampling = Sampling(self.writer.max_tokens, self.writer.temperature or 0.0)
        completions = self.engine.generate(
            [prompts[number] for number in fitting], sampling, [requests[number].schema for number in fitting]
        )
        said = dict(zip(fitting, completions, strict=True))
        return [self._reply(said.get(number), len(ids)) for number, ids in enumerate(prompts)]

    def _reply(self, completion: Any, tokens: int) -> Reply | Failure:
        if completion is None:
            return Failure("too-long", f"the prompt has {tokens} tokens, max_length is {self.writer.max_length}")
        return Reply(completion.text, completion.finish_reason, completion.prompt_tokens, completion.completion_tokens)
