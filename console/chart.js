// Counts over time.

import uPlot from "./vendor/uplot.js";
import { h } from "./dom.js";

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** `series`: `{label, colour, of(bucket)}`; `draw(buckets, seconds)` redraws, `end()` lets go of it. */
export function chart(title, series, height = 110) {
  const place = h("div.plot");
  const element = h("figure", h("figcaption", title), place);
  let plot = null;
  let shown = "";
  const options = () => ({
    width: Math.max(240, place.clientWidth), height,
    cursor: { y: false, drag: { x: true, y: false } },
    legend: { live: true },
    scales: { y: { range: (_, low, high) => [0, Math.max(1, high)] } },
    axes: [
      { stroke: css("--muted"), grid: { stroke: css("--line"), width: 1 }, ticks: { stroke: css("--line") } },
      { stroke: css("--muted"), grid: { stroke: css("--line"), width: 1 }, ticks: { stroke: css("--line") }, size: 48 },
    ],
    series: [{}, ...series.map(({ label, colour }) => ({
      label, stroke: css(colour), width: 1.5, points: { show: false }, paths: uPlot.paths.stepped({ align: 1 }),
    }))],
  });
  const resize = new ResizeObserver(() => plot?.setSize({ width: Math.max(240, place.clientWidth), height }));
  resize.observe(place);
  // Other colours need another plot.
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  const again = () => { plot?.destroy(); plot = null; shown = ""; };
  scheme.addEventListener("change", again);

  return {
    element,
    draw(buckets, seconds, minutes) {
      const last = Math.floor(Date.now() / 1_000 / seconds) * seconds;
      const byTime = new Map(buckets.map((bucket) => [Date.parse(bucket.at) / 1_000, bucket]));
      const times = Array.from({ length: minutes }, (_, place) => last - (minutes - 1 - place) * seconds);
      const columns = series.map(({ of }) => times.map((at) => (byTime.has(at) ? of(byTime.get(at)) : 0)));
      const sums = series.map(({ label }, place) => `${label} ${columns[place].reduce((a, b) => Math.max(a, b), 0)}`);
      element.setAttribute("aria-label", `${title}, at most a minute: ${sums.join(", ")}`);
      const text = JSON.stringify([columns, last]);
      if (text === shown) return;
      shown = text;
      if (plot) plot.setData([times, ...columns]);
      else plot = new uPlot(options(), [times, ...columns], place);
    },
    end() {
      resize.disconnect();
      scheme.removeEventListener("change", again);
      plot?.destroy();
    },
  };
}
