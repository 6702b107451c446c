// Plots of one figure against another: what training bought for its cost, and reward margin against KL.

const PLANE = { height: 340, top: 30, right: 18, bottom: 44, left: 56 };

/** The ends of an axis around values, with a little room. */
function extent(values, atZero) {
  const low = Math.min(...values),
    high = Math.max(...values),
    pad = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
  return [atZero && low >= 0 ? 0 : low - pad, high + pad];
}

class Plane {
  /**
   * `views` are the choices: {name, x, y, series: [{arm, points: [{x, y, low, high, said}]}], levels, frontier, percent}.
   * A series of several points is a line whose last point is its end.
   */
  constructor(root, label, views) {
    Object.assign(this, { label, views, view: views[0], hidden: new Set() });
    this.bar = el("div", { class: "curve-bar" });
    this.plot = el("div", { class: "plot-area" });
    this.legend = el("div", { class: "chips", role: "group", "aria-label": "Arms shown" });
    root.replaceChildren(this.bar, this.plot, this.legend);
    new ResizeObserver(() => this.draw()).observe(this.plot);
    this.update();
  }

  update() {
    const choose = (name) => {
      this.view = this.views.find((view) => view.name === name);
      this.update();
    };
    const names = this.views.map((view) => [view.name, view.name]);
    this.bar.replaceChildren(
      names.length > 1 ? picker(this.label, names, this.view.name, choose) : el("span", {}, this.view.name),
    );
    this.legend.replaceChildren(...this.view.series.map(({ arm }) => this.key(arm)));
    this.draw();
  }

  key(arm) {
    const toggle = (event) => {
      if (!this.hidden.delete(arm)) this.hidden.add(arm);
      event.currentTarget.setAttribute("aria-pressed", String(!this.hidden.has(arm)));
      this.draw();
    };
    const pressed = String(!this.hidden.has(arm));
    const name = `chip line c${arm % 10}`;
    return el("button", { type: "button", class: name, "aria-pressed": pressed, onclick: toggle }, el("i"), DATA.arms[arm]);
  }

  draw() {
    const width = this.plot.clientWidth;
    const shown = this.view.series.filter(({ arm }) => !this.hidden.has(arm));
    const points = shown.flatMap((one) => one.points);
    if (!width || !points.length) {
      this.plot.replaceChildren();
      return;
    }
    this.scales(width, points);
    const names = shown.map(({ arm }) => DATA.arms[arm]).join(", ");
    const about = { width, height: PLANE.height, role: "img", "aria-label": `${this.view.y} against ${this.view.x}: ${names}` };
    const parts = [this.grid(width), this.levels(width), this.frontier(points), shown.map((one) => this.series(one))];
    this.plot.replaceChildren(svg("svg", about, ...parts.flat(2)));
  }

  scales(width, points) {
    const ys = points.flatMap(({ y, low, high }) => [y, low ?? y, high ?? y]);
    const levels = this.view.levels.map((level) => level.y);
    const [x0, x1] = extent(points.map(({ x }) => x), true);
    const [y0, y1] = this.view.percent ? [0, 1] : extent([...ys, ...levels], false);
    const right = width - PLANE.right,
      bottom = PLANE.height - PLANE.bottom;
    this.ends = { x: [x0, x1], y: [y0, y1] };
    this.x = (value) => PLANE.left + ((value - x0) / (x1 - x0)) * (right - PLANE.left);
    this.y = (value) => bottom - ((value - y0) / (y1 - y0)) * (bottom - PLANE.top);
  }

  grid(width) {
    const shown = (value) => (this.view.percent ? `${Math.round(value * 100)}%` : figure(value));
    const rows = niceTicks(...this.ends.y, 5).map((tick) => [
      svg("line", { class: "grid", x1: PLANE.left, x2: width - PLANE.right, y1: this.y(tick), y2: this.y(tick) }),
      svg("text", { x: PLANE.left - 8, y: this.y(tick) + 4, "text-anchor": "end" }, shown(tick)),
    ]);
    const count = Math.max(2, Math.min(8, width / 110));
    const marks = niceTicks(...this.ends.x, count).map((tick) =>
      svg("text", { x: this.x(tick), y: PLANE.height - 26, "text-anchor": "middle" }, compact(tick)),
    );
    const middle = (PLANE.left + width - PLANE.right) / 2;
    const name = svg("text", { x: middle, y: PLANE.height - 8, "text-anchor": "middle" }, this.view.x);
    const other = svg("text", { x: 10, y: 17 }, this.view.y);
    return svg("g", { class: "axes" }, rows.flat(), marks, name, other);
  }

  levels(width) {
    return this.view.levels.map(({ kind, y }) =>
      svg("line", { class: `level ${kind}`, x1: PLANE.left, x2: width - PLANE.right, y1: this.y(y), y2: this.y(y) }),
    );
  }

  /** The best that has been had for at most this much. */
  frontier(points) {
    if (!this.view.frontier) return [];
    let best = -Infinity;
    const kept = [...points].sort((a, b) => a.x - b.x || b.y - a.y).filter(({ y }) => y > best && ((best = y), true));
    const steps = kept.map(({ x, y }, n) => `${n ? `H${this.x(x)}V` : `M${this.x(x)} `}${this.y(y)}`);
    return [svg("path", { class: "frontier", d: `${steps.join("")}H${this.x(this.ends.x[1])}` })];
  }

  series({ arm, points }) {
    const place = ({ x, y }) => `${this.x(x).toFixed(1)} ${this.y(y).toFixed(1)}`;
    const last = points.at(-1);
    const whiskers = points
      .filter(({ low }) => low != null)
      .map(({ x, low, high }) =>
        svg("line", { class: "whisker", x1: this.x(x), x2: this.x(x), y1: this.y(low), y2: this.y(high) }),
      );
    const path = points.length > 1 ? svg("path", { d: `M${points.map(place).join("L")}` }) : null;
    const said = `${DATA.arms[arm]}: ${last.said}`;
    const dot = svg("circle", { cx: this.x(last.x), cy: this.y(last.y), r: 5 }, svg("title", {}, said));
    return svg("g", { class: `line c${arm % 10}${arm >= 10 ? " dashed" : ""}` }, ...whiskers, path, dot);
  }
}

/** 1500 as 1.5k. */
const compact = (value) =>
  Math.abs(value) >= 1e6
    ? `${+(value / 1e6).toPrecision(3)}M`
    : Math.abs(value) >= 1e4
      ? `${+(value / 1e3).toPrecision(3)}k`
      : figure(value);

const share = (value) => `${(100 * value).toFixed(1)}%`;

function efficiencyViews({ arms, floor, ceiling }) {
  const levels = [
    ["floor", floor],
    ["ceiling", ceiling],
  ].filter(([, y]) => y !== null);
  const view = (name, key) => ({
    name,
    x: name,
    y: "pass rate",
    percent: true,
    frontier: true,
    levels: levels.map(([kind, y]) => ({ kind, y })),
    series: arms
      .filter((one) => one[key] !== null)
      .map(({ arm, rate, ci, [key]: x }) => ({
        arm,
        points: [{ x, y: rate, low: ci?.[0], high: ci?.[1], said: `${share(rate)} for ${compact(x)} ${name}` }],
      })),
  });
  return [view("training tokens", "tokens"), view("training seconds", "seconds")].filter((one) => one.series.length);
}

function rewardViews(paths) {
  const view = (on) => ({
    name: on,
    x: "KL from the reference, nats per answer",
    y: "reward margin",
    levels: [],
    series: paths
      .filter((path) => path.on === on)
      .map(({ arm, steps, kl, margin }) => ({
        arm,
        points: kl.map((x, n) => ({
          x,
          y: margin[n],
          said: `step ${Math.round(steps[n])}, KL ${figure(x)}, margin ${figure(margin[n])}`,
        })),
      })),
  });
  return [...new Set(paths.map((path) => path.on))].map(view);
}

function planes() {
  for (const [id, label, views] of [
    ["efficiency-plot", "Cost", efficiencyViews(DATA.efficiency)],
    ["rewards-plot", "Measured on", rewardViews(DATA.paths)],
  ]) {
    const root = document.getElementById(id);
    if (root && views.length) new Plane(root, label, views);
  }
}
