"use strict";
// Puts the page together: theme, instrument, charts, tables.
(() => {
  const { market, rungs, equities, delays, guards, quality, recording, grid, variants, summary } = RF.data;
  const root = document.documentElement, byId = (id) => document.getElementById(id);
  const instrument = byId("instrument"), charts = byId("charts");
  const perSecond = 1000 / grid.width_ms;
  const isAll = () => instrument.value === "all";
  const chosen = () => (isAll() ? null : market.instruments[Number(instrument.value)]);
  const line = (label, stroke, more) => ({ label, stroke, width: 1.6, spanGaps: true, points: { show: false }, value: (plot, value) => RF.number(value), ...more });
  const whole = (values) => values.some((value) => value !== null && value !== 0);

  // -- theme: the system's, until the reader chooses ------------------------------------------------------------
  const system = matchMedia("(prefers-color-scheme: dark)");
  let asked = null;
  const isDark = () => (asked === null ? system.matches : asked === "dark");
  const paint = () => {
    root.dataset.theme = RF.printing ? "light" : isDark() ? "dark" : "light";
    const button = byId("theme");
    button.textContent = isDark() ? "Light" : "Dark";
    button.setAttribute("aria-label", `Switch to ${isDark() ? "light" : "dark"} colours`);
    button.setAttribute("aria-pressed", String(isDark()));
  };
  const repaint = (width) => { paint(); RF.redraw(width); };
  byId("theme").addEventListener("click", () => { asked = isDark() ? "light" : "dark"; repaint(); });
  system.addEventListener("change", () => repaint());
  addEventListener("beforeprint", () => { RF.printing = true; repaint(690); document.querySelector(".identity").open = true; RF.tables.forEach((table) => table.draw()); });
  addEventListener("afterprint", () => { RF.printing = false; repaint(); RF.tables.forEach((table) => table.draw()); });

  // -- what each chart shows ---------------------------------------------------------------------------------------
  const priceData = () => {
    const each = chosen();
    const { mark, index } = each;
    return [RF.times, RF.spread(mark.bin, mark.high), RF.spread(mark.bin, mark.low), RF.spread(mark.bin, mark.last), RF.spread(index.bin, index.last)];
  };
  const hues = ["#3b7dd8", "#d8632b", "#1f9e89", "#b5489a", "#8a8f1c", "#6d5bd0", "#c23b4b", "#5b6b7c"];
  const dashes = [[], [8, 3], [2, 3], [10, 3, 2, 3]];
  const told = (unit) => (plot, value) => (value === null || value === undefined ? "–" : RF.number(Number(value.toPrecision(5))) + unit);
  const traced = (label, at, unit) => line(label, hues[at % hues.length], { dash: dashes[Math.floor(at / 2) % dashes.length], value: told(unit) });
  const marked = market.instruments.filter((each) => each.mark.bin.length > 1 && each.mark.last[0] > 0).slice(0, hues.length);
  const changes = () => (marked.length ? {
    data: [RF.times, ...marked.map((each) => RF.spread(each.mark.bin, each.mark.last.map((mark) => (mark / each.mark.last[0] - 1) * 100)))],
    series: [RF.clock, ...marked.map((each, at) => traced(each.name, at, " %"))],
    axes: [RF.yAxis({ values: (plot, splits) => splits.map((split) => `${RF.compact(split)} %`) })],
  } : null);
  const prices = () => {
    if (isAll()) return changes();
    const each = chosen();
    if (!each || !(each.mark.bin.length || each.index.bin.length)) return null;
    // An option's index is the price of something else: it gets an axis of its own.
    const [mark, index] = [each.mark.last[0], each.index.last[0]], apart = mark > 0 && index > 0 && (index / mark > 3 || mark / index > 3);
    const thin = { width: 0.6, points: { show: false } };
    return {
      data: priceData(),
      series: [RF.clock, line("highest", RF.css("--mark"), thin), line("lowest", RF.css("--mark"), thin), line("mark", RF.css("--mark")), line("index", RF.css("--index"), { dash: [6, 4], show: each.index.bin.length > 0, scale: apart ? "index" : "y" })],
      bands: [{ series: [1, 2], fill: RF.css("--band") }], axes: [RF.yAxis(), ...(apart ? [RF.yAxis({ scale: "index", side: 1, grid: { show: false } })] : [])],
    };
  };
  const rate = (sums) => RF.spread(sums.bin, sums.sum.map((sum) => sum * perSecond));
  const bars = uPlot.paths.bars({ size: [1, 24, 2], align: 0 });
  const everywhere = () => (market.orders.bin.length ? {
    data: [RF.times, rate(market.orders), RF.spread(market.orders.bin, market.orders.sum)],
    series: [RF.clock, line("orders/s", RF.css("--sold"), { fill: RF.css("--sold"), paths: bars, width: 0 }), line("orders in the bin", "transparent", { scale: "n", width: 0 })],
    scales: { n: { range: [0, 1] }, y: { range: (plot, low, high) => [0, high * 1.08 || 1] } }, axes: [RF.yAxis()],
  } : null);
  const cascade = () => {
    if (isAll()) return everywhere();
    const each = chosen();
    if (!each || !each.orders) return null;
    const total = RF.spread(each.count.bin, each.count.sum);
    const sell = rate(each.sold), buy = rate(each.bought).map((value) => (value === null ? null : -value));
    return {
      data: [RF.times, sell, buy, total, RF.spread(each.mark.bin, each.mark.last)],
      series: [RF.clock,
        line("sell orders/s", RF.css("--sold"), { fill: RF.css("--sold"), paths: bars, width: 0 }), line("buy orders/s", RF.css("--bought"), { fill: RF.css("--bought"), paths: bars, width: 0, value: (plot, value) => RF.number(value === null ? null : Math.abs(value)) }),
        line("orders in the bin", "transparent", { scale: "n", width: 0 }), line("mark", RF.css("--mark"), { scale: "mark", dash: [2, 3] })],
      scales: { n: { range: [0, 1] }, y: { range: (plot, low, high) => [Math.min(0, low * 1.08), Math.max(0, high * 1.08) || 1] } },
      axes: [RF.yAxis({ values: (plot, splits) => splits.map((split) => RF.compact(Math.abs(split))) }), RF.yAxis({ scale: "mark", side: 1, grid: { show: false } })],
    };
  };
  const calm = ["healthy", "closed"];
  let withCalm = false;
  const stacked = () => {
    const names = rungs.order.filter((name) => withCalm || !calm.includes(name));
    if (!names.length) return null;
    const counts = names.map((name) => { const each = rungs.series[name]; return RF.held(each.bin, each.high, each.last); });
    const sums = [];
    counts.forEach((values, at) => sums.push(values.map((value, bin) => value + (at ? sums[at - 1][bin] : 0))));
    const steps = uPlot.paths.stepped({ align: 1 });
    // Drawn from the highest sum down, so that each covers what lies below it.
    const order = names.map((name, at) => names.length - 1 - at);
    return {
      data: [RF.times, ...order.map((at) => sums[at])],
      series: [RF.clock, ...order.map((at) => line(RF.words(names[at]), RF.css("--card"), { fill: RF.css(`--s-${names[at]}`), paths: steps, width: 0.6, value: (plot, value, series, bin) => (bin === null || bin === undefined ? "–" : RF.count(counts[at][bin])) }))],
      scales: { y: { range: (plot, low, high) => [0, Math.max(1, high * 1.05)] } }, axes: [RF.yAxis({ incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 1e6] })],
      counted: { names, counts },
    };
  };
  let inShares = true;
  RF.equityOptions = (keys, labels, shares) => {
    const data = keys.map((key) => {
      const path = equities.paths[key], top = shares && path.highest > 0 ? path.highest : 1;
      return RF.spread(path.bin, path.low.map((value) => (shares ? (value / top) * 100 : value)));
    });
    const unit = shares ? " %" : "";
    return {
      data: [RF.times, ...data],
      series: [RF.clock, ...keys.map((key, at) => traced(labels[at], at, unit))],
      scales: { y: { range: (plot, low, high) => { const room = (Math.max(high, 0) - Math.min(low, 0)) * 0.06 || 1; return [Math.min(0, low) - room, Math.max(0, high) + room]; } } },
      axes: [RF.yAxis({ values: (plot, splits) => splits.map((split) => RF.compact(split) + unit) })],
      hooks: { draw: [(plot) => {
        const { ctx } = plot, { left, width } = plot.bbox, zero = Math.round(plot.valToPos(0, "y", true));
        ctx.save();
        ctx.setLineDash([]);
        ctx.strokeStyle = RF.css("--bad");
        ctx.lineWidth = 2 * devicePixelRatio;
        ctx.beginPath(); ctx.moveTo(left, zero); ctx.lineTo(left + width, zero); ctx.stroke();
        ctx.restore();
      }] },
    };
  };
  const worst = () => {
    const keys = equities.drawn.filter((key) => equities.paths[key]).slice(0, 8);
    return keys.length ? RF.equityOptions(keys, keys, inShares) : null;
  };
  const kinds = {
    feed: ["source to broker", "--mark", []], decision: ["mark's age at the decision", "--index", [8, 3]],
    order: ["price to recorded order", "--sold", []], answer: ["recorded order to its answer", "--bought", [2, 3]],
  };
  const known = Object.keys(kinds).filter((name) => delays[name]);
  const slow = () => {
    if (!known.length) return null;
    const data = known.map((name) => { const { bin, high } = delays[name].series; return RF.spread(bin, high.map((value) => Math.max(1, value))); });
    return {
      data: [RF.times, ...data],
      series: [RF.clock, ...known.map((name) => line(kinds[name][0], RF.css(kinds[name][1]), { dash: kinds[name][2], spanGaps: false, paths: name === "feed" ? undefined : () => null, points: { show: name !== "feed", size: 4, fill: RF.css(kinds[name][1]) }, value: (plot, value) => RF.duration(value) }))],
      scales: { y: { distr: 3, range: (plot, low, high) => [1, Math.max(10, (high || 10) * 1.5)] } },
      axes: [RF.yAxis({ splits: (plot, at, low, high) => [0, 1, 2, 3, 4, 5, 6, 7, 8].map((power) => 10 ** power).filter((split) => split <= high * 1.001), values: (plot, splits) => splits.map((split) => (split === null ? "" : RF.duration(split))) })],
    };
  };
  const slowNote = () => known.map((name) => { const each = delays[name].figures; return `${kinds[name][0]}: half within ${RF.duration(each.p50)}, 99 % within ${RF.duration(each.p99)}, all within ${RF.duration(each.max)}`; }).join(". ")
    + `. Drawn: the longest of each bin.${delays.order ? "" : " The recording holds no orders, so how long a worker took is not known."}`;

  // -- guards: a lane for each name, a stroke for each bin in which it fired -----------------------------------------
  const lanes = guards.lanes.slice(0, 24);
  const fired = () => {
    if (!lanes.length) return null;
    const data = lanes.map((lane) => RF.spread(lane.bin, lane.sum));
    const stroke = (plot) => {
      const { ctx } = plot, { left, width, top, height } = plot.bbox, tall = height / lanes.length;
      ctx.save();
      ctx.beginPath(); ctx.rect(left, top, width, height); ctx.clip();
      lanes.forEach((lane, at) => {
        const most = Math.max(...lane.sum), y = plot.valToPos(lanes.length - 1 - at, "y", true);
        ctx.fillStyle = RF.css(lane.name.startsWith("control") ? "--bought" : lane.name.startsWith("refused") ? "--index" : "--sold");
        lane.bin.forEach((bin, each) => {
          const size = tall * (0.3 + 0.5 * Math.log1p(lane.sum[each]) / Math.log1p(most));
          ctx.fillRect(plot.valToPos(RF.times[bin], "x", true) - 1.5 * devicePixelRatio, y - size / 2, 3 * devicePixelRatio, size);
        });
      });
      ctx.restore();
    };
    return {
      data: [RF.times, ...data], legend: { show: false },
      series: [RF.clock, ...lanes.map((lane) => line(lane.name, "transparent", { scale: "none", width: 0 }))],
      scales: { y: { range: [-0.5, lanes.length - 0.5] }, none: { range: [0, 1] } },
      axes: [RF.yAxis({ scale: "y", splits: () => lanes.map((lane, at) => at), values: () => lanes.map((lane, at) => RF.words(lanes[lanes.length - 1 - at].name)), size: (plot) => (plot.width < 520 ? 130 : 190), grid: { show: true } })],
      hooks: { draw: [stroke] },
    };
  };

  // -- other tables -----------------------------------------------------------------------------------------------------
  const meanings = {
    "late price": ["notable", "came later than a second after its source's time", RF.duration],
    "price from the future": ["notable", "its source's clock was ahead of the broker's by more than 250 ms", RF.duration],
    "out of order": ["notable", "older than the one before it: the engine skips it", RF.number],
    silence: ["notable", "no price for longer than the instrument allows (10 s where it does not say)", RF.duration],
    "stuck mark": ["notable", "the same mark for over a minute while ticks kept coming", RF.duration],
    jump: ["notable", "one tick moved further than the instrument allows (5 % where it does not say)", RF.percent],
    "offset gap": ["serious", "records are missing (a compacted topic or a transaction leaves gaps, too)", (value) => RF.plural(value, "offset")],
    "offset repeated": ["serious", "a record came again, or after a later one", (value) => `${RF.plural(value, "offset")} back`],
    "time runs back": ["notable", "the broker's time went back within a partition", RF.duration],
    "id repeated": ["notable", "a fact was told more than once: the engine counts it once", RF.number],
  };
  const drawQuality = () => {
    const holder = byId("quality-table"), parts = [];
    const dead = summary.dead_letters ? `${RF.plural(summary.dead_letters, "record")} refused: see the guards. ` : "No record was refused. ";
    parts.push(RF.el("p", {}, RF.el("span", { class: `badge badge-${quality.findings.length ? "notable" : "fine"}` }, quality.findings.length ? RF.plural(quality.findings.length, "kind of finding", "kinds of findings") : "nothing found"), " ", dead,
      quality.unchecked ? `${RF.count(quality.unchecked)} price ids were not checked one by one.` : ""));
    const rows = quality.findings.flatMap((kind) => kind.worst.map((each) => ({ kind, ...each })));
    const table = RF.el("div");
    parts.push(table, RF.el("details", {}, RF.el("summary", {}, "Partitions that were read"), RF.el("div", { class: "scroll" }, RF.plainTable({
      columns: ["topic and partition", "records", "first offset", "last offset", "first time", "last time"],
      rows: quality.logs.slice(0, 400).map((log) => [`${log.topic}[${log.partition}]`, RF.count(log.records), String(log.first_offset), String(log.last_offset), RF.moment(log.first_ms), RF.moment(log.last_ms)]),
    }))));
    holder.append(...parts);
    RF.table(table, { name: "findings", rows, perPage: 20, empty: "Offsets are without gap or repetition, time runs forward, prices came in time and in order.", columns: [
      { name: "finding", of: (row) => row.kind.kind, show: (value, row) => RF.el("span", {}, RF.el("span", { class: `badge badge-${(meanings[value] || ["notable"])[0]}` }, (meanings[value] || ["notable"])[0]), " ", value) },
      { name: "where", of: (row) => row.where }, { name: "times", num: true, of: (row) => row.count, show: RF.count },
      { name: "worst", num: true, of: (row) => row.worst, show: (value, row) => (meanings[row.kind.kind] || [0, 0, RF.number])[2](value) },
      { name: "worst at", of: (row) => row.at[3], show: (value, row) => `${RF.time(value)}, ${row.at[0]}[${row.at[1]}]@${row.at[2]}` },
      { name: "what it means", wrap: true, of: (row) => (meanings[row.kind.kind] || ["", ""])[1] },
    ] });
  };
  const drawGuards = () => RF.table(byId("guards-table"), {
    name: "guards", rows: guards.lines, empty: "No guard fired: no alarm, no refused record, no operator's control.",
    text: (row) => `${row.name} ${RF.words(row.name)} ${row.subject} ${row.detail}`, filters: guards.lanes.length > 1 ? [{ name: "name", of: (row) => row.name }] : [], columns: [
      { name: "time (UTC)", of: (row) => row.ts_ms, show: (value) => RF.time(value) }, { name: "guard", of: (row) => row.name, show: RF.words },
      { name: "subject", of: (row) => row.subject, show: (value, row) => (row.account ? RF.accountLink(row.account, value) : value) }, { name: "detail", wrap: true, of: (row) => row.detail },
    ],
  });
  const drawDiff = () => {
    const { counts, findings } = RF.data.diff;
    byId("diff-note").textContent = `Each recorded order is proved again from its own evidence, then compared with what this replay decides. ${Object.entries(counts).filter(([, count]) => typeof count === "number" && count).map(([name, count]) => `${RF.words(name)} ${RF.count(count)}`).join(", ")}.`;
    const why = (row) => [...row.differences.map((each) => `${each.field} ${each.recorded} not ${each.computed}`), ...row.missing.map((each) => `missing: ${each}`), ...(row.cause ? [row.detail ? `${RF.words(row.cause)}: ${row.detail}` : RF.words(row.cause)] : [])].join("; ");
    const judged = (row) => (row.is_good ? "explained" : "not explained");
    RF.table(byId("diff-table"), {
      name: "recorded orders", rows: findings, empty: "Nothing differs: each recorded order is proved and the same.",
      text: (row) => `${row.order_id} ${row.account}|${row.bucket} ${row.instrument} ${row.proof} ${row.replay} ${why(row)}`,
      filters: [{ name: "judgement", of: judged }, { name: "replay", of: (row) => row.replay || "sent again" }], columns: [
        { name: "time (UTC)", of: (row) => row.ts_ms, show: (value) => RF.time(value) },
        { name: "bucket", of: (row) => `${row.account}|${row.bucket}`, show: (value, row) => RF.accountLink(row.account, value) },
        { name: "instrument", of: (row) => row.instrument }, { name: "try", num: true, of: (row) => row.attempt },
        { name: "judgement", of: judged, show: (value, row) => RF.el("span", { class: `badge badge-${row.is_good ? "fine" : "serious"}` }, value) },
        { name: "by its evidence", of: (row) => row.proof || "", show: (value) => (value ? RF.words(value) : "–") },
        { name: "in this replay", of: (row) => row.replay || "", show: (value) => (value ? RF.words(value) : "sent again") },
        { name: "why", wrap: true, of: why },
      ],
    });
  };
  const drawVariants = () => {
    const rows = ["orders", "liquidated_buckets", "negative_buckets", "lowest_equity", "lowest_equity_bucket", "deficit", "dead_letters", "state_hash"];
    const tell = (key, value) => (value === null || value === undefined ? "none" : key === "deficit" ? Object.entries(value).map(([asset, each]) => `${RF.amount(each)} ${asset}`).join(", ") || "none"
      : key === "state_hash" ? `${value.slice(0, 12)}…` : key.includes("equity") && !key.includes("bucket") ? RF.amount(value) : typeof value === "number" ? RF.count(value) : String(value));
    const first = variants[0].summary;
    const cell = (key, each, at) => {
      const value = each.summary[key], base = first[key], said = tell(key, value);
      if (!at || JSON.stringify(value) === JSON.stringify(base)) return said;
      const more = typeof value === "number" ? ` (${value > base ? "+" : "−"}${RF.count(Math.abs(value - base))})` : key === "state_hash" ? " (differs)" : "";
      return RF.el("strong", {}, said + more);
    };
    const changes = (each) => Object.entries(each.changes || {}).map(([key, value]) => `${key}=${value}`).join(", ") || "as recorded";
    const money = (each) => (each.notional ? Object.entries(each.notional).map(([asset, held]) => `${RF.amount(held)} ${asset}`).join(", ") || "none" : "not told");
    const differs = (each) => (each.first_difference === null ? "nowhere" : `${each.first_ms === null ? "" : `${RF.time(each.first_ms)}, `}${each.first_difference}`);
    byId("variants-table").append(RF.el("div", { class: "scroll" }, RF.plainTable({
      caption: "Bold: differs from the first run.", columns: ["", ...variants.map((each) => each.name)],
      rows: [["what was changed", ...variants.map(changes)], ["notional of its orders", ...variants.map(money)], ...rows.map((key) => [RF.words(key), ...variants.map((each, at) => cell(key, each, at))]),
        ["decisions first differ", ...variants.map((each, at) => (at ? differs(each) : "–"))]],
    })));
  };

  // -- the page ------------------------------------------------------------------------------------------------------------
  const check = (words, isOn, change) => RF.el("label", {}, RF.el("input", { type: "checkbox", checked: isOn, onchange: (event) => change(event.target.checked) }), ` ${words}`);
  if (market.instruments.length > 1) instrument.append(RF.el("option", { value: "all" }, "all instruments"));
  market.instruments.forEach((each, at) => instrument.append(RF.el("option", { value: at }, `${each.name}${each.orders ? ` (${RF.plural(each.orders, "order")})` : ""}`)));
  if (!market.instruments.length) { instrument.disabled = true; instrument.append(RF.el("option", {}, "no prices")); }
  byId("span").textContent = recording.last_ms ? ` · ${RF.moment(recording.first_ms).slice(0, 19)} to ${RF.moment(recording.last_ms).slice(0, 19)} UTC (${RF.duration(recording.last_ms - recording.first_ms)})` : "";
  document.querySelectorAll("[data-amount]").forEach((each) => { each.textContent = RF.brief(each.dataset.amount); each.title = each.dataset.amount; });
  paint();

  RF.tables = RF.tables || [];
  const settled = () => (chosen() && chosen().settlement_asset) || "the settlement asset";
  const tabled = (made, columns, hows) => (made ? RF.sampled(columns, made.data, hows) : { columns: [], rows: [] });
  const byInstrument = [
    RF.chart(charts, { id: "prices", title: "Mark and index", height: 260, make: prices,
      note: () => (isAll() ? `Change of the mark since the first of the recording, ${RF.plural(marked.length, "instrument")}, those with most orders first; choose one for its prices.`
        : chosen() ? `${chosen().name}, ${chosen().kind}: ${RF.plural(chosen().ticks, "tick")}. The band is from the lowest to the highest mark of a bin.` : "") + (market.left_out ? ` ${RF.plural(market.left_out, "more price id")} not shown.` : ""),
      table: () => (isAll() ? tabled(changes(), marked.map((each) => each.name), marked.map(() => "last")) : tabled(prices() && { data: priceData() }, ["highest", "lowest", "mark", "index"], ["highest", "lowest", "last", "last"])) }),
    RF.chart(charts, { id: "cascade", title: "Liquidation cascade", height: 220, make: cascade,
      note: () => (isAll() ? "Orders each second, all instruments." : chosen() ? `Notional of orders for ${chosen().name} each second, in ${settled()}: sells upward, buys downward; the mark on the right.` : ""),
      table: () => (isAll() ? tabled(cascade(), ["orders/s", "orders"], ["peak", "total"]) : tabled(cascade(), ["sell/s", "buy/s (negative)", "orders", "mark"], ["peak", "peak", "total", "last"])) }),
  ];
  const statusChart = RF.chart(charts, { id: "statuses", title: "Buckets by status", height: 220, make: () => { const made = stacked(); if (made) delete made.counted; return made; },
    note: () => `The most of each status in a bin, stacked${withCalm ? "" : "; healthy and closed buckets are left out"}.`,
    tools: check("with healthy and closed", false, (on) => { withCalm = on; statusChart.draw(); }),
    table: () => { const made = stacked(); return made ? RF.sampled(made.counted.names.map(RF.words), [RF.times, ...made.counted.counts], []) : { columns: [], rows: [] }; } });
  const equityChart = RF.chart(charts, { id: "equity", title: "Equity of the worst buckets", height: 260, make: worst,
    note: () => `The lowest of each bin, ${inShares ? "as a share of the bucket's highest equity" : "in the valuation asset"}; the red line is zero.`,
    tools: check("as amounts", false, (on) => { inShares = !on; equityChart.draw(); }),
    table: () => ({ columns: ["bucket", "lowest equity", "highest equity", "left", "lowest at", "orders"],
      rows: equities.worst.map((row) => [RF.el("span", {}, RF.accountLink(row.account, `${row.account}|${row.bucket}`)), RF.number(row.lowest), RF.number(row.highest), RF.percent(row.left), RF.time(row.lowest_ms), RF.count(row.orders)]) }) });
  RF.chart(charts, { id: "delays", title: "Latency and lag", height: 210, make: slow, note: slowNote,
    table: () => ({ columns: ["delay", "number", "half within", "99 % within", "longest"], rows: known.map((name) => { const each = delays[name].figures; return [kinds[name][0], RF.count(each.count), RF.duration(each.p50), RF.duration(each.p99), RF.duration(each.max)]; }) }) });
  RF.chart(byId("guards-chart"), { id: "guards", title: "By name over time", height: 70 + 28 * Math.max(1, lanes.length), make: fired,
    note: () => (lanes.length ? `A taller stroke: more often in that bin.${guards.lanes.length > lanes.length ? ` ${guards.lanes.length - lanes.length} more names are in the table.` : ""}` : ""),
    table: () => ({ columns: ["name", "times"], rows: guards.lanes.map((lane) => [RF.words(lane.name), RF.count(lane.total)]) }) });
  instrument.addEventListener("change", () => byInstrument.forEach((chart) => chart.draw()));
  RF.drawOrders();
  RF.drawAccounts();
  drawGuards();
  if (RF.data.diff) drawDiff();
  if (variants.length > 1) drawVariants();
  drawQuality();
  document.querySelectorAll("[data-account]").forEach((each) => each.addEventListener("click", () => RF.choose(each.dataset.account, true)));
  root.dataset.ready = "yes";
})();
