// Brings the page to life: the state comes from the address, and every change goes back into it.

planes();
{
  const state = readState(location.hash);
  const changed = (now) => history.replaceState(null, "", writeState(now));
  const [ground, room] = ["curves", "browser"].map((id) => document.getElementById(id));
  const curves = ground ? new Curves(ground, DATA.charts, state, changed) : { show() {} };
  const browser = room ? new Browser(room, state, changed) : { state, show() {} };
  const isState = () => location.hash.includes("=");
  const isChartOnly = ({ q, source, id, conditions, chart }) => chart && !q && !source && !id && !conditions.length;
  const go = (to) => document.getElementById(isChartOnly(to) || !room ? "training" : "prompts")?.scrollIntoView();

  // A link inside the page names the part of the state it is about; the rest stays as it is.
  window.addEventListener("hashchange", () => {
    if (!isState()) return;
    const next = readState(location.hash);
    if (!next.chart) next.chart = browser.state.chart;
    browser.show(next);
    curves.show(next);
    go(next);
  });
  // The same link once more changes no address, and still leads there.
  document.addEventListener("click", (event) => {
    if (event.target.closest('a[href*="="]')) setTimeout(() => go(browser.state));
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, select, textarea");
    if (event.key !== "/" || typing || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    document.getElementById("search")?.focus();
  });
  if (isState()) go(state);
}
