"use strict";
// Charts on one time axis: the same cursor and the same section of time in all of them.
RF.charts = [];
RF.window = null; // the section of time that is shown, in seconds; null: all of it

(() => {
  const { grid } = RF.data;
  const widthS = grid.width_ms / 1000;
  const times = Array.from({ length: grid.bins }, (_, bin) => grid.origin_ms / 1000 + (bin + 0.5) * widthS);
  const whole = [grid.origin_ms / 1000, grid.origin_ms / 1000 + grid.bins * widthS];
  const sync = "ringfence";
  RF.times = times;

  // One value a bin from a sparse series; null where there is none.
  RF.spread = (bins, values, fill = null) => {
    const full = new Array(grid.bins).fill(fill);
    bins.forEach((bin, at) => { full[bin] = values[at]; });
    return full;
  };
  // One value a bin that holds until the next: `peaks` in their own bins, what was last known after them.
  RF.held = (bins, peaks, lasts) => {
    const full = new Array(grid.bins).fill(0);
    let next = 0, last = 0;
    for (let bin = 0; bin < grid.bins; bin += 1) {
      if (bins[next] === bin) { full[bin] = peaks[next]; last = lasts[next]; next += 1; } else full[bin] = last;
    }
    return full;
  };

  const font = () => `12px ${getComputedStyle(document.body).fontFamily}`;
  const axis = (more) => ({
    stroke: RF.css("--muted"), font: font(), ticks: { stroke: RF.css("--line"), width: 1, size: 5 },
    grid: { stroke: RF.css("--grid"), width: 1 }, ...more,
  });
  // One width for all, so that the same moment lies above itself from chart to chart.
  RF.yAxis = (more) => axis({ size: 66, values: (plot, splits) => splits.map((split) => (split === null ? "" : RF.compact(split))), ...more });

  let passing = false;
  const follow = (plot, key) => {
    if (key !== "x" || passing || plot.status === 0) return;
    const { min, max } = plot.scales.x;
    RF.show(max - min >= (whole[1] - whole[0]) * 0.999 ? null : [min, max], plot);
  };
  RF.show = (section, from) => {
    passing = true;
    RF.window = section;
    const [min, max] = section || whole;
    for (const chart of RF.charts) if (chart.plot && chart.plot !== from) chart.plot.setScale("x", { min, max });
    passing = false;
    document.getElementById("reset").disabled = section === null;
  };

  // A card with a title, a line that says what is seen, a chart, and the same as a table.
  RF.chart = (parent, { id, title, note, height, tools, make, table }) => {
    const holder = RF.el("div", { class: "plot", role: "img" });
    const said = RF.el("p", { class: "note" });
    const figures = RF.el("details", {}, RF.el("summary", {}, "As a table"));
    const card = RF.el("figure", { class: "chart", id: `chart-${id}` },
      RF.el("div", { class: "chart-head" }, RF.el("h3", {}, title), said, tools), holder, table ? figures : null);
    card.style.margin = "0 0 12px";
    parent.append(card);
    const chart = { holder, plot: null, width: 0 };
    const fill = () => {
      figures.querySelector(".scroll")?.remove();
      if (figures.open) figures.append(RF.el("div", { class: "scroll" }, RF.plainTable(table())));
    };
    figures.addEventListener("toggle", fill);
    chart.draw = (printed) => {
      chart.plot?.destroy();
      chart.plot = null;
      holder.replaceChildren();
      const made = make();
      said.textContent = typeof note === "function" ? note() : note || "";
      holder.setAttribute("aria-label", `${title}. ${said.textContent}`);
      if (figures.open) fill();
      if (!made) { holder.append(RF.el("p", { class: "note" }, "Nothing of this kind is in the recording.")); return; }
      const width = printed || holder.clientWidth || 600;
      const narrow = width < 520;
      const { data, ...options } = made;
      const [min, max] = RF.window || whole;
      chart.plot = new uPlot({
        width, height: narrow ? Math.round(height * 0.85) : height,
        tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
        legend: { live: !printed }, padding: [null, options.axes.length > 1 ? 4 : narrow ? 12 : 66, null, null], ...options,
        cursor: { sync: { key: sync, setSeries: false, filters: { pub: (type) => !/^mouse(up|down)|dblclick$/.test(type) } }, drag: { x: true, y: false }, points: { size: 6 }, ...options.cursor },
        scales: { x: { time: true, min, max }, ...options.scales },
        axes: [axis({ space: narrow ? 70 : 90, values: RF.timeTicks }), ...options.axes],
        hooks: { ...options.hooks, setScale: [follow], ready: [(plot) => plot.over.addEventListener("dblclick", () => RF.show(null))] },
      }, data, holder);
      chart.width = width;
    };
    RF.charts.push(chart);
    chart.draw();
    new ResizeObserver(() => {
      const width = holder.clientWidth;
      if (chart.plot && width && Math.abs(width - chart.width) > 1 && !RF.printing) { chart.width = width; chart.plot.setSize({ width, height: chart.plot.height }); }
    }).observe(holder);
    return chart;
  };

  // Clock times; the day where it changes, milliseconds where the section is short.
  RF.timeTicks = (plot, splits, at, space, step) => {
    let day = "";
    return splits.map((seconds) => {
      const ms = seconds * 1000, today = RF.day(ms);
      const clock = step >= 86400 ? "" : step >= 60 ? RF.time(ms).slice(0, 5) : step >= 1 ? RF.time(ms).slice(0, 8) : RF.time(ms);
      const head = today === day ? "" : `\n${today}`;
      day = today;
      return clock ? `${clock}${head}` : today;
    });
  };
  RF.clock = { label: "UTC", value: (plot, seconds) => (seconds === null || seconds === undefined ? "–" : RF.time(seconds * 1000).slice(0, widthS < 1 ? 12 : 8)) };

  // At most `most` rows of a chart's data for its table: a row stands for several bins, `hows` says of each column by what.
  const ways = {
    last: (values) => values.at(-1), highest: (values) => Math.max(...values), lowest: (values) => Math.min(...values),
    total: (values) => values.reduce((sum, value) => sum + value, 0), peak: (values) => values.reduce((most, value) => (Math.abs(value) > Math.abs(most) ? value : most)),
  };
  RF.sampled = (columns, data, hows, most = 24) => {
    const stride = Math.max(1, Math.ceil(grid.bins / most)), rows = [];
    for (let bin = 0; bin < grid.bins; bin += stride) {
      const cells = data.slice(1).map((values, at) => {
        const known = values.slice(bin, bin + stride).filter((value) => value !== null);
        return known.length ? ways[hows[at] || "peak"](known) : null;
      });
      if (cells.some((value) => value !== null)) rows.push([RF.moment((grid.origin_ms + bin * grid.width_ms)).slice(0, 19), ...cells.map(RF.number)]);
    }
    return { caption: `Rows are ${RF.duration(stride * grid.width_ms)} long; those without anything are left out.`, columns: ["from (UTC)", ...columns.map((name, at) => (/^(highest|lowest)$/.test(name) ? name : `${name}, ${hows[at] || "peak"}`))], rows };
  };

  RF.redraw = (printed) => RF.charts.forEach((chart) => chart.draw(printed));
  RF.discard = (chart) => { chart.plot?.destroy(); RF.charts.splice(RF.charts.indexOf(chart), 1); };
  document.getElementById("bin-width").textContent = `${RF.plural(grid.bins, "bin")} of ${RF.duration(grid.width_ms)}`;
  document.getElementById("reset").addEventListener("click", () => RF.show(null));
})();
