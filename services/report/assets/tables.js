"use strict";
// Tables that can be searched, filtered, sorted and opened; a page of rows at a time, so that thousands stay quick.
RF.plainTable = ({ caption, columns, rows }) => RF.el("table", { class: "data" },
  caption ? RF.el("caption", {}, caption) : null,
  RF.el("thead", {}, RF.el("tr", {}, columns.map((name, at) => RF.el("th", { scope: "col", class: at ? "num" : null }, name)))),
  RF.el("tbody", {}, rows.map((row) => RF.el("tr", {}, row.map((cell, at) => RF.el(at ? "td" : "th", { scope: at ? null : "row", class: at ? "num" : null }, cell))))));

// columns: {name, of(row) -> sortable value, show(value, row) -> text or node, num, wrap}; filters: {name, of(row)}; detail(row) -> node
RF.table = (parent, { name, rows, columns, filters = [], text, detail, perPage = 25, empty = "None.", sort = null }) => {
  parent.replaceChildren();
  if (!rows.length) { parent.append(RF.el("p", { class: "note" }, empty)); return { search() {} }; }
  const state = { words: "", chosen: filters.map(() => ""), sort, page: 0, open: new Set() };
  const texts = text ? rows.map((row) => text(row).toLowerCase()) : null;
  const counted = RF.el("span", { class: "note", role: "status" });
  const body = RF.el("tbody");
  const pager = RF.el("div", { class: "pager" });

  const search = text ? RF.el("input", { type: "search", "aria-label": `Search ${name}`, placeholder: "Search: words, ids …", size: 24,
    oninput: (event) => { state.words = event.target.value.toLowerCase(); state.page = 0; draw(); } }) : null;
  const selects = filters.map((filter, at) => {
    const values = [...new Set(rows.map(filter.of))].sort();
    return RF.el("label", {}, `${filter.name} `, RF.el("select", { "data-filter": filter.name, onchange: (event) => { state.chosen[at] = event.target.value; state.page = 0; draw(); } },
      RF.el("option", { value: "" }, "all"), values.map((value) => RF.el("option", { value }, RF.words(value)))));
  });
  const heads = columns.map((column, at) => RF.el("th", { scope: "col", class: column.num ? "num" : null },
    RF.el("button", { type: "button", class: "sorter", onclick: () => {
      const down = state.sort && state.sort[0] === at ? !state.sort[1] : Boolean(column.num);
      state.sort = [at, down]; state.page = 0; draw();
    } }, column.name)));

  const shown = () => {
    const words = state.words.split(/\s+/).filter(Boolean);
    let found = rows.map((row, at) => at).filter((at) => filters.every((filter, each) => !state.chosen[each] || filter.of(rows[at]) === state.chosen[each])
      && words.every((word) => texts[at].includes(word)));
    if (state.sort) {
      const [column, down] = state.sort, of = columns[column].of;
      const order = (one, other) => (one === other ? 0 : one === null || one === undefined ? 1 : other === null || other === undefined ? -1 : one < other ? -1 : 1);
      found = found.sort((one, other) => (down ? -1 : 1) * order(of(rows[one]), of(rows[other])) || one - other);
    }
    return found;
  };
  const line = (at) => {
    const row = rows[at], isOpen = state.open.has(at);
    const cells = columns.map((column) => {
      const value = column.of(row), cell = column.show ? column.show(value, row) : RF.full(value);
      return RF.el("td", { class: [column.num ? "num" : "", column.wrap ? "wrap-text" : ""].join(" ").trim() || null, title: column.title ? column.title(row) : null }, cell);
    });
    if (!detail) return [RF.el("tr", {}, cells)];
    const opener = RF.el("button", { type: "button", class: "opener", "aria-expanded": String(isOpen), "aria-label": `Evidence of row ${at + 1}`,
      onclick: () => { if (isOpen) state.open.delete(at); else state.open.add(at); draw(at); } }, isOpen ? "−" : "+");
    const first = RF.el("tr", { "data-row": at }, RF.el("td", {}, opener), cells);
    return isOpen ? [first, RF.el("tr", { class: "detail" }, RF.el("td", { colspan: columns.length + 1 }, RF.el("div", { class: "detail-inner" }, detail(row))))] : [first];
  };
  const draw = (focus) => {
    const found = shown(), perSheet = RF.printing ? 60 : perPage, pages = Math.max(1, Math.ceil(found.length / perSheet));
    state.page = Math.min(state.page, pages - 1);
    const from = state.page * perSheet, part = found.slice(from, from + perSheet);
    body.replaceChildren(...part.flatMap(line));
    heads.forEach((head, at) => head.setAttribute("aria-sort", state.sort && state.sort[0] === at ? (state.sort[1] ? "descending" : "ascending") : "none"));
    counted.textContent = found.length === rows.length ? RF.plural(rows.length, "row") : `${RF.count(found.length)} of ${RF.plural(rows.length, "row")}`;
    pager.replaceChildren(...(pages > 1 ? [
      RF.el("button", { type: "button", class: "button", disabled: state.page === 0, onclick: () => { state.page -= 1; draw(); } }, "Earlier rows"),
      RF.el("span", {}, `${RF.count(from + 1)}–${RF.count(from + part.length)} of ${RF.count(found.length)}`),
      RF.el("button", { type: "button", class: "button", disabled: state.page >= pages - 1, onclick: () => { state.page += 1; draw(); } }, "Later rows")] : []));
    if (focus !== undefined) body.querySelector(`[data-row="${focus}"] .opener`)?.focus();
  };
  parent.append(RF.el("div", { class: "row" }, search, selects, counted),
    RF.el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": name }, RF.el("table", { class: "data" },
      RF.el("thead", {}, RF.el("tr", {}, detail ? RF.el("th", { scope: "col" }, RF.el("span", {}, "")) : null, heads)), body)), pager);
  draw();
  RF.tables = [...(RF.tables || []).filter((each) => each.parent.isConnected && each.parent !== parent), { parent, draw }];
  return { search: (words) => { search.value = words; state.words = words.toLowerCase(); state.page = 0; draw(); } };
};
