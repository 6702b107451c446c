// One prompt in full: its text, and the answers of the chosen arms side by side.

const [GOOD_ONE, BAD_ONE] = DATA.judged ? ["judged right", "judged wrong"] : ["passes", "fails"];
const VERDICTS = { pass: ["✓", GOOD_ONE], fail: ["✗", BAD_ONE], unjudged: ["?", "not judged"] };

const verdict = (answer) => (answer.passed === null ? "unjudged" : answer.passed === 1 ? "pass" : "fail");

/** Text nodes of styled pieces; bad places are marked, and where something is missing a wedge stands. */
function nodesOf(pieces, explanations = []) {
  return pieces.map((piece) => {
    if (typeof piece === "string") return piece;
    const [style, text, mark] = piece;
    if (mark === undefined) return el("span", { class: style }, text);
    const title = explanations[mark] ?? "";
    if (!text) return el("mark", { class: "missing", title, role: "img", "aria-label": `missing here: ${title}` });
    return el("mark", { class: style || null, title }, text);
  });
}

/** Prose without the blank lines around it, which the layout gives. */
function trimmed(pieces) {
  const kept = [...pieces];
  if (typeof kept[0] === "string") kept[0] = kept[0].replace(/^\s*\n/, "");
  if (typeof kept.at(-1) === "string") kept.push(kept.pop().trimEnd());
  return kept.filter((piece) => piece !== "");
}

function bodyOf(answer) {
  const explanations = (answer.errors ?? []).map(([type, said]) => `${DATA.types[type]}: ${said}`);
  const parts = answer.body.map(([kind, pieces]) =>
    kind === "code"
      ? el("pre", { tabindex: 0, "aria-label": "code" }, el("code", {}, nodesOf(pieces, explanations)))
      : el("p", { class: "prose" }, nodesOf(trimmed(pieces), explanations)),
  );
  if (answer.cut)
    parts.push(el("p", { class: "hint" }, `${answer.cut.toLocaleString("en")} more characters are not shown.`));
  return parts;
}

function errorsOf(answer) {
  const items = [
    ...answer.errors.map(([type, said]) =>
      el("li", { class: "error" }, el("b", {}, DATA.types[type]), " ", nodesOf(inline(said))),
    ),
    ...answer.others.map(([metric, value, said]) =>
      el("li", {}, el("b", {}, metric), ` ${+value.toPrecision(4)} ${said}`),
    ),
    ...answer.open.map(([by, said]) => el("li", { class: "hint" }, `Not judged (${by}): ${said}`)),
  ];
  const unjudged = answer.unjudged.map(([type]) => DATA.types[type]);
  if (unjudged.length) {
    const reasons = new Set(answer.unjudged.map(([, said]) => said));
    items.push(el("li", { class: "hint" }, `Not judged: ${unjudged.join(", ")} (${[...reasons].join("; ")})`));
  }
  return items.length ? el("ul", { class: "errors" }, items) : null;
}

/** Text with `code` in it as pieces. */
const inline = (text) => text.split(/(`[^`]+`)/).map((part, place) => (place % 2 ? ["i", part] : part));

/** Every test's call with what it gave; where that is not what was expected, this too. */
function testsOf(prompt, answer) {
  if (!prompt.tests.length) return null;
  const rows = prompt.tests.map(([call, expected], place) => {
    const [met, got] = answer.results[place] ?? [null, ""];
    const [state, label] = met === null ? ["unrun", "not run"] : met ? ["met", "passed"] : ["unmet", "failed"];
    const gave = met === null ? " was not run" : [" gives ", el("code", {}, got)];
    const wanted = met ? null : [", expected ", el("code", {}, expected)];
    const sign = el("i", { class: "sign", role: "img", "aria-label": label });
    return el("li", { class: state }, sign, el("span", {}, el("code", {}, call), gave, wanted));
  });
  const passed = prompt.tests.filter((_, place) => answer.results[place]?.[0]).length;
  return el(
    "details",
    { open: passed < prompt.tests.length },
    el("summary", {}, `${passed} of ${prompt.tests.length} tests pass`),
    el("ul", { class: "tests" }, rows),
  );
}

function column(prompt, arm, twin) {
  const answer = answerOf(prompt, arm);
  if (arm === GOOD) {
    const body = answer ? bodyOf(answer) : [el("p", { class: "hint" }, "The data has no good answer.")];
    return el(
      "article",
      { class: "answer good" },
      el("header", {}, el("h4", {}, "good answer"), el("small", {}, "from the data")),
      body,
    );
  }
  const [sign, word] = VERDICTS[verdict(answer)];
  const badge = el("span", { class: `badge ${verdict(answer)}` }, `${sign} ${word}`);
  const remarks = [
    twin && `same answer as ${twin}`,
    answer.finish === "length" && "stopped at its longest",
    answer.compiles === 0 && "does not compile",
  ].filter(Boolean);
  const told = verdict(answer) === "pass" || answer.results.some(([met]) => !met);
  const why = told || !answer.why ? null : el("p", { class: "why" }, answer.why);
  const head = el(
    "header",
    {},
    el("h4", {}, arm),
    badge,
    remarks.map((remark) => el("small", {}, remark)),
  );
  return el(
    "article",
    { class: `answer ${DATA.kinds[DATA.arms.indexOf(arm)]}` },
    head,
    bodyOf(answer),
    why,
    errorsOf(answer),
    testsOf(prompt, answer),
  );
}

/** The chosen arms' answers; one that equals a column further left says so. */
function columns(prompt, arms) {
  const number = (arm) => (arm === GOOD ? -1 : prompt.arms[DATA.arms.indexOf(arm)]);
  const made = arms.map((arm, place) => {
    const twin = arms.slice(0, place).find((other) => arm !== GOOD && number(other) === number(arm));
    return column(prompt, arm, twin);
  });
  return el("div", { class: `columns n${made.length}` }, made);
}
