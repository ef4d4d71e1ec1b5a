"use strict";
// Orders as a table with their evidence, and the story of one account.
(() => {
  const { orders, accounts, equities, grid, summary } = RF.data;
  const { stories } = accounts;
  const cell = Object.fromEntries(orders.columns.map((name, at) => [name, at]));
  const get = (row, name) => row[cell[name]];
  const outcome = (row) => get(row, "outcome")?.[0] || "no answer";
  const number = (text) => (text === null || text === undefined ? null : Number(text));
  const amount = (name, field, more) => ({ name, num: true, of: (row) => number(get(row, field)), show: (value, row) => RF.amount(get(row, field)), title: (row) => RF.full(get(row, field)), ...more });

  // Why the order was due and what it was for, in a sentence.
  const said = (row) => {
    const [equity, maintenance] = [get(row, "equity"), get(row, "maintenance_margin")].map(RF.amount);
    const why = get(row, "trigger") === "maintenance_breach" ? `equity ${equity} was under the maintenance margin ${maintenance}`
      : `${RF.words(get(row, "trigger"))}: equity ${equity}, maintenance margin ${maintenance}`;
    const line = get(row, "liquidation_price") === null ? "" : `, liquidation price ${RF.amount(get(row, "liquidation_price"))}`;
    const zero = get(row, "bankruptcy_price") === null ? "" : `, bankruptcy price ${RF.amount(get(row, "bankruptcy_price"))}`;
    const [status, filled, average, reason] = get(row, "outcome") || [];
    const after = status ? `It was ${RF.words(status)}${filled ? `, ${RF.amount(filled)} filled` : ""}${average ? ` at ${RF.amount(average)}` : ""}${reason ? ` (${reason})` : ""}.` : "No answer was seen.";
    return `At the mark ${RF.amount(get(row, "mark_price"))}${line}${zero}: ${why}. So ${get(row, "side")} ${RF.amount(get(row, "quantity"))} of ${RF.amount(get(row, "position_quantity"))}`
      + ` (${get(row, "stage")}, attempt ${get(row, "attempt")}) at ${RF.amount(get(row, "limit_price"))} or better; expected after it: equity ${RF.amount(get(row, "projected_equity"))}`
      + ` against ${RF.amount(get(row, "projected_maintenance_margin"))}. ${after}`;
  };
  const evidence = (row) => {
    const places = [];
    for (const [topic, place] of Object.entries(get(row, "evidence"))) {
      if (topic === "prices") for (const [id, each] of Object.entries(place)) places.push([`prices, ${id}`, String(each[0]), String(each[1])]);
      else places.push([topic, String(place[0]), String(place[1])]);
    }
    return RF.plainTable({ caption: "Evidence: the last record of each kind that the decision rests on", columns: ["topic", "partition", "offset"], rows: places });
  };
  const facts = (row) => RF.el("dl", {}, orders.columns.filter((name) => !["evidence", "outcome", "cause", "ts_ms", "notional"].includes(name)).map((name) => {
    const value = name === "valid_until_ms" ? RF.time(get(row, name)) : RF.full(get(row, name));
    return RF.el("div", {}, RF.el("dt", {}, RF.words(name.replace(/_ms$/, ""))), RF.el("dd", {}, value));
  }));
  const detail = (row) => RF.el("div", {},
    RF.el("p", {}, said(row)), facts(row), evidence(row),
    RF.el("p", {}, "Due by ", RF.el("code", {}, RF.place(get(row, "cause"))), `, event time ${RF.moment(get(row, "ts_ms"))}. `, RF.accountLink(get(row, "account"), "Story of the account")));

  const columns = (withAccount) => [
    { name: "time (UTC)", of: (row) => get(row, "ts_ms"), show: (value) => RF.time(value), title: (row) => RF.moment(get(row, "ts_ms")) },
    withAccount ? { name: "bucket", of: (row) => `${get(row, "account")}|${get(row, "bucket")}`, show: (value, row) => RF.accountLink(get(row, "account"), value) }
      : { name: "bucket", of: (row) => get(row, "bucket") },
    { name: "instrument", of: (row) => get(row, "instrument") },
    { name: "side", of: (row) => get(row, "side") },
    amount("quantity", "quantity"), amount("limit", "limit_price"), amount("mark", "mark_price"), amount("equity", "equity"),
    amount("maintenance", "maintenance_margin"),
    { name: "stage", of: (row) => get(row, "stage") },
    { name: "try", num: true, of: (row) => get(row, "attempt") },
    { name: "outcome", of: outcome, show: RF.words },
  ];
  const filters = [
    { name: "instrument", of: (row) => get(row, "instrument") }, { name: "stage", of: (row) => get(row, "stage") },
    { name: "side", of: (row) => get(row, "side") }, { name: "trigger", of: (row) => get(row, "trigger") }, { name: "outcome", of: outcome },
  ];
  const text = (row) => row.filter((value) => value !== null).map((value) => (typeof value === "object" ? JSON.stringify(value) : value)).join(" ");

  RF.accountLink = (account, words) => (stories[account] ? RF.el("button", { type: "button", class: "link", onclick: () => RF.choose(account, true) }, words) : RF.el("span", {}, words));

  RF.drawOrders = () => {
    const recorded = orders.recorded;
    const cut = orders.rows.length < orders.total ? ` The table holds ${RF.count(orders.rows.length)} of them: the earliest, and the first of each bucket.` : "";
    const compared = recorded === null ? "The recording holds no orders of its own to compare with."
      : `The recording holds ${RF.plural(recorded.total, "order")}: ${RF.count(recorded.same)} with the same id, ${RF.count(recorded.missing)} not decided in this replay, ${RF.count(recorded.extra)} only in this replay.`;
    document.getElementById("orders-note").textContent = `${RF.plural(orders.total, "order")}.${cut} ${compared}`;
    document.getElementById("orders-note").append(RF.el("span", { class: "screen" }, " A + opens the evidence."));
    RF.table(document.getElementById("orders-table"), { name: "orders", rows: orders.rows, columns: columns(true), filters, text, detail, empty: "No order was decided." });
  };

  let drawn = [];
  const positions = (view, caption) => {
    if (!view) return null;
    if (!view.positions.length) return RF.el("p", {}, `${caption}: no position.`);
    return RF.el("div", { class: "scroll" }, RF.plainTable({
      caption, columns: ["instrument", "quantity", "entry", "mark", "PnL", "liquidation", "bankruptcy"],
      rows: view.positions.map((each) => [each.instrument + (each.position_side === "net" ? "" : ` ${each.position_side}`),
        ...[each.quantity, each.entry_price, each.mark_price, each.unrealised_pnl, each.liquidation_price, each.bankruptcy_price].map(RF.amount)]),
    }));
  };
  const numbers = (view) => {
    const balances = Object.entries(view.balances).map(([asset, held]) => `${RF.amount(held)} ${asset}`).join(", ") || "nothing";
    return `balance ${balances}; equity ${RF.amount(view.equity)}, initial margin ${RF.amount(view.initial_margin)}, maintenance margin ${RF.amount(view.maintenance_margin)} ${view.valuation_asset}`;
  };
  const bucket = (story, name) => {
    const before = story.before[name], after = story.after[name];
    return RF.el("div", { class: "bucket" }, RF.el("h4", {}, name, " ", after ? RF.chip(after.status) : null),
      before ? RF.el("p", {}, `When its first order was decided: ${numbers(before)}.`) : null, positions(before, "Positions then"),
      after ? RF.el("p", {}, `At the end: ${numbers(after)}.`) : null, positions(after, "Positions at the end"));
  };
  const pathChart = (holder, account) => {
    const keys = Object.keys(equities.paths).filter((key) => key.startsWith(`${account}|`)).slice(0, 8);
    if (!keys.length) return;
    drawn.push(RF.chart(holder, {
      id: "account-equity", title: "Equity of its buckets", height: 220,
      note: "Lowest of each bin, in the valuation asset; the line through zero is where others would have to pay.",
      make: () => RF.equityOptions(keys, keys.map((key) => key.slice(account.length + 1)), false),
    }));
  };

  RF.choose = (account, jump) => {
    const story = stories[account], holder = document.getElementById("account-view");
    if (!story) return;
    document.getElementById("account-choice").value = account;
    drawn.forEach(RF.discard);
    drawn = [];
    holder.replaceChildren();
    const own = orders.rows.filter((row) => get(row, "account") === account);
    const names = [...new Set([...Object.keys(story.before), ...Object.keys(story.after)])];
    const empty = (view) => view && !view.positions.length && !Object.keys(view.balances).length && !story.before[view.bucket];
    const held = names.filter((name) => !empty(story.after[name])), gone = names.filter((name) => empty(story.after[name]));
    const lost = story.defaults.map((each) => `${RF.amount(each.deficit)} ${each.asset} missing in ${each.bucket} at ${RF.time(each.ts_ms)}`).join("; ");
    const mode = Object.values(story.after)[0]?.margin_mode;
    holder.append(RF.el("p", {}, `Client ${story.client}${mode ? `, ${mode} margin` : ""}. ${RF.plural(own.length, "order")} in the table, ${RF.plural(story.states_total, "change")} of status. ${lost ? `Deficit: ${lost}.` : "No deficit."}${gone.length ? ` Empty at the end: ${gone.join(", ")}.` : ""}`));
    const chart = RF.el("div"), ordersHolder = RF.el("div"), statesHolder = RF.el("div");
    holder.append(chart, RF.el("div", { class: "buckets" }, held.map((name) => bucket(story, name))), RF.el("h4", {}, "Orders"), ordersHolder, RF.el("h4", {}, "Changes of status"), statesHolder);
    pathChart(chart, account);
    RF.table(ordersHolder, { name: `orders of ${account}`, rows: own, columns: columns(false), filters: [], text: null, detail, perPage: 10, empty: "None of its orders is in the table." });
    const cut = story.states_total > story.states.length ? `The first and the last of ${RF.count(story.states_total)}.` : "";
    if (cut) statesHolder.before(RF.el("p", { class: "note" }, cut));
    RF.table(statesHolder, { name: `changes of status of ${account}`, rows: story.states, perPage: 10, columns: [
      { name: "time (UTC)", of: (row) => row[0], show: (value) => RF.time(value) }, { name: "bucket", of: (row) => row[1] },
      { name: "from", of: (row) => row[2] || "", show: (value) => (value ? RF.chip(value) : "–") }, { name: "to", of: (row) => row[3], show: RF.chip },
      { name: "equity", num: true, of: (row) => number(row[4]), show: (value, row) => RF.amount(row[4]), title: (row) => RF.full(row[4]) },
      { name: "maintenance", num: true, of: (row) => number(row[5]), show: (value, row) => RF.amount(row[5]), title: (row) => RF.full(row[5]) },
    ] });
    if (jump) document.getElementById("account").scrollIntoView();
  };

  RF.drawAccounts = () => {
    const choice = document.getElementById("account-choice"), note = document.getElementById("account-note");
    const names = Object.keys(stories), hit = names.filter((name) => stories[name].is_hit);
    const group = (label, members) => (members.length ? RF.el("optgroup", { label }, members.map((name) => RF.el("option", { value: name }, name))) : null);
    choice.append(...[group("with orders or a deficit", hit), group("whose status changed", names.filter((name) => !stories[name].is_hit))].filter(Boolean));
    choice.addEventListener("change", () => RF.choose(choice.value));
    note.textContent = accounts.left_out ? `${RF.plural(accounts.left_out, "more account")} with orders left out.` : `${RF.plural(names.length, "account")}.`;
    const first = equities.worst.map((row) => row.account).find((name) => stories[name]) || hit[0] || names[0];
    if (first) RF.choose(first);
    else document.getElementById("account-view").append(RF.el("p", { class: "note" }, "No bucket changed its status, and none was ordered to be closed."));
  };
})();
