"use strict";
// Words and numbers for people. Everything is put into the page as text: records are written by others.
const RF = { data: JSON.parse(document.getElementById("data").textContent) };

// An element with attributes, listeners ("on…") and children; strings become text.
RF.el = (tag, attributes, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  for (const child of children.flat()) if (child !== null && child !== undefined) element.append(child);
  return element;
};

RF.count = (number) => Number(number).toLocaleString("en-GB");
RF.plural = (number, one, many) => `${RF.count(number)} ${number === 1 ? one : many || `${one}s`}`;

// A decimal string, grouped and cut for reading; the whole of it belongs into a title.
RF.amount = (text) => {
  if (text === null || text === undefined || text === "") return "–";
  const [, sign, whole, fraction] = /^(-?)(\d+)(?:\.(\d+))?$/.exec(String(text)) || [];
  if (whole === undefined) return String(text);
  const places = whole.length > 4 ? 2 : whole !== "0" ? 4 : 8;
  const kept = (fraction || "").slice(0, places).replace(/0+$/, "");
  const lost = !kept && whole === "0" && /[1-9]/.test(fraction || "");
  return `${sign ? "−" : ""}${whole.replace(/\B(?=(\d{3})+$)/g, ",")}${kept ? `.${kept}` : ""}${lost ? "…" : ""}`;
};
RF.brief = (text) => RF.amount(/^-?0(\.|$)/.test(text) ? text : String(text).replace(/(\.\d\d)\d+$/, "$1"));
RF.full = (text) => (text === null || text === undefined ? "–" : String(text));
RF.number = (value) => (value === null || value === undefined ? "–" : Math.abs(value) >= 1e15 ? value.toExponential(3)
  : value.toLocaleString("en-GB", { maximumSignificantDigits: Math.abs(value) >= 1e5 ? 9 : 6 }));
RF.compact = (value) => (Math.abs(value) < 1e5 ? RF.number(value) : value.toLocaleString("en-GB", { notation: "compact", maximumSignificantDigits: 4 }));
RF.percent = (share) => (share === null || share === undefined ? "–" : `${(share * 100).toLocaleString("en-GB", { maximumSignificantDigits: 3 })} %`);

const two = (number) => String(number).padStart(2, "0");
RF.time = (ms) => {
  const at = new Date(ms);
  return `${two(at.getUTCHours())}:${two(at.getUTCMinutes())}:${two(at.getUTCSeconds())}.${String(at.getUTCMilliseconds()).padStart(3, "0")}`;
};
RF.day = (ms) => new Date(ms).toISOString().slice(0, 10);
RF.moment = (ms) => `${RF.day(ms)} ${RF.time(ms)}`;
RF.duration = (ms) => {
  if (ms === null || ms === undefined) return "–";
  const size = Math.abs(ms);
  if (size < 1000) return `${Number(ms.toFixed(size < 10 && ms % 1 ? 1 : 0))} ms`;
  if (size < 120e3) return `${(ms / 1e3).toLocaleString("en-GB", { maximumSignificantDigits: 4 })} s`;
  if (size < 7200e3) return `${(ms / 60e3).toFixed(1)} min`;
  return `${(ms / 3600e3).toFixed(1)} h`;
};
RF.words = (name) => String(name).replaceAll("_", " ");
RF.place = (cause) => (cause[0] === "timer" ? `timer at ${RF.time(cause[2])}` : `${cause[0]}[${cause[1]}]@${cause[2]}`);
RF.css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
// A status with its colour beside its name: the name says it, the colour only helps to find it.
RF.chip = (status) => {
  const chip = RF.el("span", { class: "chip" }, RF.words(status));
  chip.style.setProperty("--chip", `var(--s-${status}, var(--muted))`);
  return chip;
};
