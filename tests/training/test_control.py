"""Control tokens in a model: its tokenizer and embeddings, and the one place where they stand."""

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from pipeline.attributes.records import ControlledRecord
from pipeline.chat import prompt_ids
from pipeline.failures import UserError
from training.control import build_extended, extend_tokenizer, resize
from training.encoding import encoded, texts_of
from training.tiny import ASSISTANT, END, USER, build, build_tokenizer
from training.truncation import Cut, fitted

TEXTS = ["Write a function that adds two numbers.", "Here is one. It adds 1 and 2."] * 4
TOKENS = ("<|bare|>", "<|clean|>")


def tokenizer():
    made = build_tokenizer(TEXTS)
    extend_tokenizer(made, TOKENS)
    return made


def test_a_token_is_one_special_id_after_all_others():
    plain, made = build_tokenizer(TEXTS), build_tokenizer(TEXTS)
    assert extend_tokenizer(made, TOKENS) == list(TOKENS)
    assert [made.convert_tokens_to_ids(token) for token in TOKENS] == [len(plain), len(plain) + 1]
    assert extend_tokenizer(made, [*TOKENS, "<|err:off-by-one|>"]) == ["<|err:off-by-one|>"]
    assert made(TEXTS[0])["input_ids"] == plain(TEXTS[0])["input_ids"]
    assert made.decode([len(plain), *made("adds")["input_ids"]], skip_special_tokens=True) == "adds"


def test_tokens_stand_first_and_a_text_that_spells_one_out_is_none():
    made = tokenizer()
    clean = made.convert_tokens_to_ids("<|clean|>")
    without = prompt_ids(made, "adds <|clean|>")
    assert prompt_ids(made, "adds <|clean|>", control=["<|clean|>"]) == [clean, *without]
    user, end, assistant = (made.convert_tokens_to_ids(token) for token in (USER, END, ASSISTANT))
    assert prompt_ids(made, "", control=TOKENS)[-3:] == [user, end, assistant]


def test_tokens_stand_behind_bos_and_behind_what_an_empty_text_starts_from():
    made = build_tokenizer(TEXTS)
    made.chat_template = None
    extend_tokenizer(made, TOKENS)
    bare = made.convert_tokens_to_ids("<|bare|>")
    assert prompt_ids(made, "", control=["<|bare|>"]) == [made.eos_token_id, bare]
    assert prompt_ids(made, "adds", control=["<|bare|>"]) == [bare, *prompt_ids(made, "adds")]
    made.bos_token = USER
    begins = [made.bos_token_id, *made("adds")["input_ids"]]
    made.chat_template = "<|user|>{{ messages[0]['content'] }}"
    assert prompt_ids(made, "adds") == begins
    assert prompt_ids(made, "adds", control=["<|bare|>"]) == [begins[0], bare, *begins[1:]]


def test_a_token_that_the_model_does_not_know_is_an_error():
    with pytest.raises(UserError, match="not trained with the control token"):
        prompt_ids(tokenizer(), "adds", control=["<|toxic|>"])


def test_training_has_the_ids_that_generation_has():
    from eval.generate import asked_ids
    from eval.nodes import GenerateConfig
    from pipeline.records import QARecord

    made = tokenizer()
    record = ControlledRecord("r", TEXTS[0], TEXTS[1], "s", TOKENS)
    row = encoded(made, "r", record.prompt, texts_of(record), 1.0, record.control)
    config = GenerateConfig(kind="generate", models="m", prompts="p", condition=["bare", "clean"])
    asked = asked_ids(made, QARecord("r", TEXTS[0], TEXTS[1], "s"), "", config)
    assert list(row.prompt_ids) == asked
    assert row.answers["response"].ids[-1] == made.eos_token_id, "the end of the text is learnt"
    opening = asked_ids(made, QARecord("r", TEXTS[0], TEXTS[1], "s"), "Here is", config)
    assert opening[: len(asked)] == asked
    assert made.decode(opening[len(asked) :]) == "Here is"


def test_a_cut_prompt_keeps_its_tokens():
    made = tokenizer()
    record = ControlledRecord("r", TEXTS[0] * 20, TEXTS[1], "s", TOKENS)
    row = encoded(made, "r", record.prompt, texts_of(record), 1.0, record.control)
    cut = fitted(made, row, 60, Cut())
    assert len(cut.prompt_ids) < len(row.prompt_ids)
    assert cut.prompt_ids[:2] == row.prompt_ids[:2] == tuple(made.convert_tokens_to_ids(list(TOKENS)))


def gpt2(tied):
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=12, n_positions=16, n_embd=8, n_layer=1, n_head=2, tie_word_embeddings=tied)
    return GPT2LMHeadModel(config)


@pytest.mark.parametrize("tied", [True, False])
def test_new_rows_are_the_mean_and_the_old_stay(tied):
    model = gpt2(tied)
    before = [layer.weight.detach().clone() for layer in (model.get_input_embeddings(), model.get_output_embeddings())]
    resize(model, 12, 15)
    for layer, old in zip((model.get_input_embeddings(), model.get_output_embeddings()), before, strict=True):
        assert layer.weight.shape == (15, 8)
        assert torch.equal(layer.weight[:12], old)
        torch.testing.assert_close(layer.weight[12:], old.mean(0).expand(3, 8))
    assert (model.get_output_embeddings().weight is model.get_input_embeddings().weight) is tied
    assert model.config.vocab_size == 15


def test_rows_that_fill_up_a_round_number_are_taken():
    config = LlamaConfig(vocab_size=16, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    model = LlamaForCausalLM(config)
    old = model.get_input_embeddings().weight.detach().clone()
    resize(model, 12, 14)
    weight = model.get_input_embeddings().weight
    assert weight.shape[0] == 16
    torch.testing.assert_close(weight[12:14], old[:12].mean(0).expand(2, 8))
    assert torch.equal(weight[14:], old[14:])


def test_an_extended_model_says_the_same_without_its_tokens(tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    build(TEXTS, tmp_path / "old", 0)
    build_extended(str(tmp_path / "old"), TOKENS, tmp_path / "new")
    old, new = (AutoModelForCausalLM.from_pretrained(tmp_path / name) for name in ("old", "new"))
    made = AutoTokenizer.from_pretrained(tmp_path / "new")
    assert new.config.vocab_size == len(made) == old.config.vocab_size + 2
    assert made.get_added_vocab().keys() >= set(TOKENS)
    ids = torch.tensor([prompt_ids(made, TEXTS[0])])
    torch.testing.assert_close(new(ids).logits[..., :-2], old(ids).logits)
