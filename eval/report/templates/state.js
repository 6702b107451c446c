// What is shown: kept in the address after '#', so that every view can be linked to. And which prompts match it.

const DATA = JSON.parse(document.getElementById("data").textContent);
const ANY = "*any",
  EVERY = "*every",
  GOOD = "*good";
const MOST_COLUMNS = 4;

/** What can be asked of one answer. */
const TRAITS = {
  passes: (answer) => answer.passed === 1,
  fails: (answer) => answer.passed !== null && answer.passed < 1,
  unjudged: (answer) => answer.passed === null,
  "does-not-compile": (answer) => answer.compiles === 0,
  erring: (answer) => answer.errors.length > 0,
  "no-known-error": (answer) => answer.errors.length === 0,
};

function hasTrait(answer, what) {
  if (!what.startsWith("error/")) return TRAITS[what](answer);
  const type = DATA.types.indexOf(what.slice("error/".length));
  return answer.errors.some(([number]) => number === type);
}

const isTrait = (what) => Object.hasOwn(TRAITS, what) || DATA.types.includes(what.replace(/^error\//, ""));
const isArm = (arm) => DATA.arms.includes(arm);
const answerOf = (prompt, arm) =>
  arm === GOOD ? DATA.answers[prompt.good] : DATA.answers[prompt.arms[DATA.arms.indexOf(arm)]];
const textOf = (answer) => answer.body.map(([, pieces]) => plain(pieces)).join("");
const plain = (pieces) => pieces.map((piece) => (typeof piece === "string" ? piece : piece[1])).join("");

function meets(prompt, { what, arm }) {
  if (isArm(arm)) return hasTrait(answerOf(prompt, arm), what);
  const answers = prompt.arms.map((number) => DATA.answers[number]);
  return arm === EVERY ? answers.every((a) => hasTrait(a, what)) : answers.some((a) => hasTrait(a, what));
}

/** The text that a search looks through: id, prompt, every answer. */
function searched(prompt) {
  prompt.searched ??= [prompt.id, plain(prompt.prompt), ...new Set(prompt.arms.map((n) => textOf(DATA.answers[n])))]
    .join("\n")
    .toLowerCase();
  return prompt.searched;
}

function matching(state) {
  const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
  return DATA.prompts.filter(
    (prompt) =>
      (!state.source || prompt.source === state.source) &&
      state.conditions.every((condition) => meets(prompt, condition)) &&
      words.every((word) => searched(prompt).includes(word)),
  );
}

/** The arms shown at first: the ends of the scale and the best mended arm. */
function usualArms() {
  const passes = (arm) => DATA.prompts.filter((prompt) => TRAITS.passes(answerOf(prompt, arm))).length;
  const of = (kind) => DATA.arms.filter((_, place) => DATA.kinds[place] === kind);
  const best = of("mended")
    .sort((a, b) => passes(b) - passes(a))
    .slice(0, 1);
  const usual = [...of("corrupted").slice(0, 1), ...best, ...of("reference").slice(0, 1)];
  return usual.length ? usual : DATA.arms.slice(0, 3);
}

/** The state that an address names. Whatever it names that is not there is left out. */
function readState(hash) {
  const query = new URLSearchParams(hash.replace(/^#/, ""));
  const conditions = query.getAll("if").map((text) => {
    const colon = text.indexOf(":");
    return { what: text.slice(0, colon), arm: text.slice(colon + 1) };
  });
  const arms = query.getAll("arm").filter((arm) => isArm(arm) || arm === GOOD);
  return {
    q: query.get("q") ?? "",
    source: query.get("source") ?? "",
    conditions: conditions.filter(({ what, arm }) => isTrait(what) && (isArm(arm) || arm === ANY || arm === EVERY)),
    arms: arms.length ? [...new Set(arms)].slice(0, MOST_COLUMNS) : usualArms(),
    id: query.get("id") ?? "",
    chart: query.get("chart") ?? "",
  };
}

function writeState(state) {
  const pairs = [
    ...["q", "source"].filter((key) => state[key]).map((key) => [key, state[key]]),
    ...state.conditions.map(({ what, arm }) => ["if", `${what}:${arm}`]),
    ...state.arms.map((arm) => ["arm", arm]),
    ...["id", "chart"].filter((key) => state[key]).map((key) => [key, state[key]]),
  ];
  return "#" + pairs.map((pair) => pair.map(encodeURIComponent).join("=")).join("&");
}
