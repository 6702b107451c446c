// The browser of prompts: filters, the list with every arm's verdict, and the prompt that is chosen.

class Browser {
  constructor(root, state, changed) {
    Object.assign(this, { state, changed });
    this.filters = el("form", { class: "filters", role: "search", onsubmit: (event) => event.preventDefault() });
    this.count = el("p", { class: "found", role: "status" });
    this.list = el("ol", {
      class: "list",
      role: "listbox",
      "aria-label": "Prompts",
      onkeydown: (event) => this.onKey(event),
    });
    this.detail = el("div", { class: "detail" });
    this.rows = new Map(DATA.prompts.map((prompt) => [prompt, this.row(prompt)]));
    this.list.append(...this.rows.values());
    const side = el("div", { class: "side" }, this.count, this.legend(), this.list);
    root.replaceChildren(this.filters, el("div", { class: "halves" }, side, this.detail));
    this.drawFilters();
    this.update();
  }

  /** Take over a state that did not come from here, such as a link's. */
  show(state) {
    this.state = state;
    this.drawFilters();
    this.update();
  }

  set(changes, { filters = false } = {}) {
    Object.assign(this.state, changes);
    if (filters) this.drawFilters();
    this.update();
    this.changed(this.state);
  }

  drawFilters() {
    const sources = [...new Set(DATA.prompts.map((prompt) => prompt.source))].sort();
    const search = el("input", {
      type: "search",
      id: "search",
      placeholder: "Search prompts and answers",
      "aria-label": "Search prompts and answers",
    });
    search.value = this.state.q;
    search.addEventListener("input", () => this.set({ q: search.value }));
    const family = picker(
      "Source",
      [["", "every source"], ...sources.map((name) => [name, name])],
      this.state.source,
      (source) => this.set({ source }),
    );
    const add = el("button", { type: "button", onclick: () => this.addCondition() }, "+ condition");
    const clear = el(
      "button",
      {
        type: "button",
        class: "quiet",
        onclick: () => this.set({ q: "", source: "", conditions: [] }, { filters: true }),
      },
      "clear",
    );
    const conditions = this.state.conditions.map((_, place) => this.condition(place));
    this.filters.replaceChildren(search, family, ...conditions, add, clear);
  }

  addCondition() {
    const arm = this.state.arms.find(isArm) ?? ANY;
    this.set({ conditions: [...this.state.conditions, { what: "fails", arm }] }, { filters: true });
    this.filters.querySelector(".condition:last-of-type select")?.focus();
  }

  condition(place) {
    const { what, arm } = this.state.conditions[place];
    const replace = (change) =>
      this.set({ conditions: this.state.conditions.map((old, n) => (n === place ? { ...old, ...change } : old)) });
    const verdicts = { passes: VERDICTS.pass[1], fails: VERDICTS.fail[1] };
    const traits = Object.keys(TRAITS).map((name) => [name, verdicts[name] ?? name.replaceAll("-", " ")]);
    const types = DATA.types.map((type) => [`error/${type}`, type]);
    const arms = [
      [ANY, "any arm"],
      [EVERY, "every arm"],
      ["arms", DATA.arms.map((name) => [name, name])],
    ];
    const remove = () =>
      this.set({ conditions: this.state.conditions.filter((_, n) => n !== place) }, { filters: true });
    return el(
      "span",
      { class: "condition" },
      picker("Arm", arms, arm, (value) => replace({ arm: value })),
      picker(
        "What its answer does",
        [
          ["verdict", traits],
          ["shows", types],
        ],
        what,
        (value) => replace({ what: value }),
      ),
      el("button", { type: "button", class: "quiet", "aria-label": "Remove this condition", onclick: remove }, "×"),
    );
  }

  legend() {
    return el(
      "p",
      { class: "legend hint" },
      ...Object.entries(VERDICTS).map(([name, [, word]]) => el("span", {}, el("i", { class: `cell ${name}` }), word)),
      el("span", {}, "one square per arm, in the order of the table"),
    );
  }

  row(prompt) {
    const cells = prompt.arms.map((number, place) => {
      const kind = verdict(DATA.answers[number]);
      return el("i", { class: `cell ${kind}`, title: `${DATA.arms[place]}: ${VERDICTS[kind][1]}` });
    });
    const passed = prompt.arms.filter((number) => verdict(DATA.answers[number]) === "pass").length;
    return el(
      "li",
      { role: "option", tabindex: -1, "data-id": prompt.id, onclick: () => this.set({ id: prompt.id }) },
      el("span", { class: "strip", role: "img", "aria-label": `${passed} of ${cells.length} arms pass` }, cells),
      el("span", { class: "question" }, plain(prompt.prompt)),
    );
  }

  update() {
    this.found = matching(this.state);
    const shown = new Set(this.found);
    for (const [prompt, row] of this.rows) row.hidden = !shown.has(prompt);
    const part = DATA.prompts.length < DATA.total * DATA.samples ? ` drawn from ${DATA.total.toLocaleString("en")}` : "";
    this.count.replaceChildren(el("strong", {}, this.found.length), ` of ${DATA.prompts.length} ${DATA.samples > 1 ? "answers to prompts" : "prompts"}${part}`);
    this.current = this.found.find((prompt) => prompt.id === this.state.id) ?? this.found[0];
    for (const [prompt, row] of this.rows) {
      row.setAttribute("aria-selected", String(prompt === this.current));
      row.tabIndex = prompt === this.current ? 0 : -1;
    }
    this.reveal();
    this.drawDetail();
  }

  /** Scroll the list, and only the list, until the chosen row is seen. */
  reveal() {
    const row = this.current && this.rows.get(this.current);
    if (!row) return;
    const top = row.offsetTop - this.list.offsetTop;
    if (top < this.list.scrollTop) this.list.scrollTop = top;
    else if (top + row.offsetHeight > this.list.scrollTop + this.list.clientHeight)
      this.list.scrollTop = top + row.offsetHeight - this.list.clientHeight;
  }

  onKey(event) {
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity };
    if (!(event.key in steps) || !this.current) return;
    event.preventDefault();
    this.step(steps[event.key]);
    this.rows.get(this.current).focus({ preventScroll: true });
  }

  step(by) {
    const place = Math.min(Math.max(this.found.indexOf(this.current) + by, 0), this.found.length - 1);
    this.set({ id: this.found[place].id });
  }

  drawDetail() {
    const prompt = this.current;
    if (!prompt) {
      this.detail.replaceChildren(el("p", { class: "empty" }, "No prompt is like this."));
      return;
    }
    const place = this.found.indexOf(prompt);
    const move = (by, label, sign) =>
      el(
        "button",
        { type: "button", "aria-label": label, disabled: !this.found[place + by], onclick: () => this.step(by) },
        sign,
      );
    const meta = el(
      "p",
      { class: "meta" },
      move(-1, "Previous prompt", "‹"),
      move(1, "Next prompt", "›"),
      el("span", {}, `${place + 1} of ${this.found.length}`),
      el("span", {}, prompt.source),
      el("code", {}, prompt.id),
    );
    const text = el("p", { class: "prompt" }, nodesOf(prompt.prompt));
    this.detail.replaceChildren(meta, text, this.chips(prompt), columns(prompt, this.state.arms));
  }

  /** The arms as buttons with their verdicts; pressed ones are shown, the earliest goes when there are too many. */
  chips(prompt) {
    const chip = (arm, label, kind, sign) => {
      const pressed = this.state.arms.includes(arm);
      return el(
        "button",
        {
          type: "button",
          class: `chip ${kind}`,
          "aria-pressed": String(pressed),
          "data-arm": arm,
          onclick: () => this.toggle(arm),
        },
        el("b", {}, sign),
        " ",
        label,
      );
    };
    const arms = DATA.arms.map((arm) => {
      const kind = verdict(answerOf(prompt, arm));
      return chip(arm, arm, kind, VERDICTS[kind][0]);
    });
    return el(
      "div",
      { class: "chips", role: "group", "aria-label": "Arms shown side by side" },
      arms,
      chip(GOOD, "good answer", "good", "≡"),
    );
  }

  toggle(arm) {
    const { arms } = this.state;
    const rest = arms.filter((other) => other !== arm);
    if (!rest.length) return;
    const next = arms.includes(arm) ? rest : [...arms, arm].slice(-MOST_COLUMNS);
    this.set({ arms: next });
    const chips = [...this.detail.querySelectorAll(".chip")];
    chips.find((chip) => chip.dataset.arm === arm)?.focus({ preventScroll: true });
  }
}
