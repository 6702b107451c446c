// Training curves: one plot, a choice of metric, a legend that hides lines, figures under the pointer.

const HEIGHT = 320,
  MARGIN = { top: 12, right: 14, bottom: 34, left: 56 };
const SMOOTHING = 0.75;

const nameOf = (chart) => `${chart.stage}: ${chart.metric}`;

function niceTicks(low, high, count) {
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
  const ticks = [];
  for (let n = Math.ceil(low / step - 1e-9); n * step <= high + step * 1e-9; n++) ticks.push(n * step);
  return ticks;
}

const figure = (value) =>
  value === 0
    ? "0"
    : Math.abs(value) < 0.001 || Math.abs(value) >= 1e5
      ? value.toExponential(1)
      : String(+value.toPrecision(3));

/** Exponential moving average without the pull towards the first value. */
function smoothed(values) {
  let sum = 0,
    weight = 0;
  return values.map((value) => {
    if (value === null) return null;
    sum = SMOOTHING * sum + (1 - SMOOTHING) * value;
    weight = SMOOTHING * weight + (1 - SMOOTHING);
    return sum / weight;
  });
}

class Curves {
  constructor(root, charts, state, changed) {
    Object.assign(this, { charts, state, changed, hidden: new Set(), smooth: true });
    this.bar = el("div", { class: "curve-bar" });
    this.plot = el("div", { class: "plot-area" });
    this.legend = el("div", { class: "chips", role: "group", "aria-label": "Lines shown" });
    root.replaceChildren(this.bar, this.plot, this.legend);
    new ResizeObserver(() => this.draw()).observe(this.plot);
    this.update();
  }

  show(state) {
    this.state = state;
    this.update();
  }

  update() {
    this.chart =
      this.charts.find((chart) => nameOf(chart) === this.state.chart) ??
      this.charts.find((chart) => chart.metric === "eval/rewards/accuracies") ??
      this.charts.find((chart) => chart.metric === "rewards/margins") ??
      this.charts[0];
    const groups = [...new Set(this.charts.map((chart) => chart.group))];
    const options = groups.map((group) => [
      group,
      this.charts.filter((chart) => chart.group === group).map((chart) => [nameOf(chart), chart.metric]),
    ]);
    const choose = (name) => {
      this.state.chart = name;
      this.update();
      this.changed(this.state);
    };
    const smooth = el("input", {
      type: "checkbox",
      checked: this.smooth,
      onchange: (event) => {
        this.smooth = event.target.checked;
        this.draw();
      },
    });
    this.bar.replaceChildren(
      picker("Metric", options, nameOf(this.chart), choose),
      ...(this.chart.metric.startsWith("eval/") ? [] : [el("label", {}, smooth, " smoothed")]),
      el("span", { class: "hint" }, `${this.chart.stage} training, by step`),
    );
    this.legend.replaceChildren(...this.chart.lines.map((line) => this.key(line)));
    this.draw();
  }

  /** Figures on held-out rows are means over all of these already. */
  get smoothing() {
    return this.smooth && !this.chart.metric.startsWith("eval/");
  }

  key(line) {
    const toggle = (event) => {
      if (!this.hidden.delete(line.arm)) this.hidden.add(line.arm);
      event.currentTarget.setAttribute("aria-pressed", String(!this.hidden.has(line.arm)));
      this.draw();
    };
    return el(
      "button",
      {
        type: "button",
        class: `chip line c${line.arm % 10}`,
        "aria-pressed": String(!this.hidden.has(line.arm)),
        onclick: toggle,
      },
      el("i"),
      DATA.arms[line.arm],
    );
  }

  draw() {
    const width = this.plot.clientWidth;
    const lines = this.chart.lines.filter((line) => !this.hidden.has(line.arm));
    const values = lines.flatMap((line) => line.values).filter((value) => value !== null);
    if (!width || !values.length) {
      this.plot.replaceChildren();
      return;
    }
    this.scales(width, lines, values);
    const picture = svg(
      "svg",
      {
        width,
        height: HEIGHT,
        role: "img",
        "aria-label": `${nameOf(this.chart)} of ${lines.map((line) => DATA.arms[line.arm]).join(", ")}`,
      },
      this.grid(width),
      lines.map((line) => this.line(line)),
    );
    this.cursor = svg("line", { class: "cursor", y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom, visibility: "hidden" });
    this.readout = el("div", { class: "readout", hidden: true });
    picture.append(this.cursor);
    picture.addEventListener("pointermove", (event) => this.point(event, lines, width));
    picture.addEventListener("pointerleave", () => {
      this.readout.hidden = true;
      this.cursor.setAttribute("visibility", "hidden");
    });
    this.plot.replaceChildren(picture, this.readout);
  }

  scales(width, lines, values) {
    const steps = lines.flatMap((line) => line.steps);
    this.steps = [0, Math.max(...steps)];
    const low = Math.min(...values),
      high = Math.max(...values),
      pad = (high - low) * 0.05 || Math.abs(high) * 0.1 || 1;
    this.values = [low >= 0 && low < high - low ? 0 : low - pad, high + pad];
    const [left, right, top, bottom] = [MARGIN.left, width - MARGIN.right, MARGIN.top, HEIGHT - MARGIN.bottom];
    this.x = (step) => left + ((step - this.steps[0]) / (this.steps[1] - this.steps[0] || 1)) * (right - left);
    this.y = (value) => bottom - ((value - this.values[0]) / (this.values[1] - this.values[0])) * (bottom - top);
    this.stepAt = (x) => this.steps[0] + ((x - left) / (right - left)) * (this.steps[1] - this.steps[0]);
  }

  grid(width) {
    const rows = niceTicks(...this.values, 5).map((tick) => [
      svg("line", {
        class: tick === 0 ? "zero" : "grid",
        x1: MARGIN.left,
        x2: width - MARGIN.right,
        y1: this.y(tick),
        y2: this.y(tick),
      }),
      svg("text", { x: MARGIN.left - 8, y: this.y(tick) + 4, "text-anchor": "end" }, figure(tick)),
    ]);
    const marks = niceTicks(...this.steps, Math.max(2, Math.min(8, width / 90))).map((tick) =>
      svg("text", { x: this.x(tick), y: HEIGHT - 14, "text-anchor": "middle" }, figure(tick)),
    );
    return svg("g", { class: "axes" }, rows.flat(), marks);
  }

  line(line) {
    const path = (values) =>
      values
        .map((value, n) =>
          value === null
            ? ""
            : `${n && values[n - 1] !== null ? "L" : "M"}${this.x(line.steps[n]).toFixed(1)} ${this.y(value).toFixed(1)}`,
        )
        .join("");
    const shape = line.arm >= 10 ? " dashed" : "";
    const drawn = [svg("path", { class: "strong", d: path(this.smoothing ? smoothed(line.values) : line.values) })];
    if (this.smoothing) drawn.unshift(svg("path", { class: "faint", d: path(line.values) }));
    return svg("g", { class: `line c${line.arm % 10}${shape}` }, drawn);
  }

  point(event, lines, width) {
    const x = event.clientX - this.plot.getBoundingClientRect().left,
      step = this.stepAt(x);
    const nearest = (line) =>
      line.steps.reduce((best, at, n) => (Math.abs(at - step) < Math.abs(line.steps[best] - step) ? n : best), 0);
    const rows = lines
      .map((line) => {
        const place = nearest(line),
          values = this.smoothing ? smoothed(line.values) : line.values;
        return [line, values[place], line.steps[place]];
      })
      .filter(([, value]) => value !== null)
      .sort((a, b) => b[1] - a[1]);
    const at = this.x(rows[0]?.[2] ?? step);
    this.cursor.setAttribute("x1", at);
    this.cursor.setAttribute("x2", at);
    this.cursor.setAttribute("visibility", "visible");
    this.readout.replaceChildren(
      el("b", {}, `step ${Math.round(rows[0]?.[2] ?? step)}`),
      ...rows.map(([line, value]) =>
        el("span", { class: `line c${line.arm % 10}` }, el("i"), DATA.arms[line.arm], el("em", {}, figure(value))),
      ),
    );
    this.readout.classList.toggle("left", x > width / 2);
    this.readout.hidden = false;
  }
}
