// Elements are made one by one: text goes in as text, and never as markup.

export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && typeof value === "boolean") element[name] = value;
    else if (name === "value") element.value = value;
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  add(element, children);
  return element;
}

export function add(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
}

export function fill(element, ...children) {
  element.replaceChildren();
  add(element, children);
  return element;
}

const NUMBER = new Intl.NumberFormat("en", { maximumSignificantDigits: 6, useGrouping: false });
const COUNT = new Intl.NumberFormat("en");

export const count = (n) => COUNT.format(n);
export const plural = (n, word) => `${count(n)} ${word}${n === 1 ? "" : "s"}`;

export function cell(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "number") return String(value);
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e15) return String(value);
  return size !== 0 && (size < 1e-4 || size >= 1e9) ? value.toExponential(4) : NUMBER.format(value);
}

export function time(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds < 0.001) return `${cell(seconds * 1e6)} µs`.replace(/(\d+)\.\d+/, "$1");
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export const moment = (text) => (text ? text.replace("T", " ").replace(/(\.\d+)?(Z|\+00:00)$/, "") : "");

export function table(caption, heads, rows, options = {}) {
  // heads: { label, number, wrap, head }; rows: lists of what a cell holds
  const head = heads.map((each) => h("th", { scope: "col", class: each.number ? "number" : null, "aria-sort": each.sorted }, each.head ?? each.label));
  const body = rows.map((row) => h("tr", {}, row.map((value, i) =>
    h("td", { class: heads[i].number ? "number" : heads[i].wrap ? "wrap" : null }, value instanceof Node || Array.isArray(value) ? value : cell(value)))));
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", {}, h("caption", { class: options.quiet ? "hidden" : null }, caption), h("thead", {}, h("tr", {}, head)), h("tbody", {}, body)));
}

export const state = (name) => h("span", { class: `state ${name}` }, name);

export function facts(pairs) {
  return h("dl", { class: "facts" }, pairs.filter(([, value]) => value !== null && value !== undefined && value !== "").map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}

export function say(text) {
  document.getElementById("live").textContent = text;
}

export function problem(error) {
  return h("p", { class: "error", role: "alert" }, error.message, error.hint ? [h("br"), h("span", { class: "soft" }, error.hint)] : null);
}

export function copyButton(text, what) {
  const button = h("button", { type: "button", "aria-label": `Copy: ${what}`, onclick: async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Select and copy it";
    }
    button.setAttribute("aria-label", `${button.textContent}: ${what}`);
    say(button.textContent);
  } }, "Copy");
  return button;
}

export function save(blob, name) {
  const link = h("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
