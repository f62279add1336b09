// The box for an expression: a combobox that completes PromQL, and recalls what was asked before.

import { Completion } from "./completion.js";
import { debounced, el, fill } from "./dom.js";
import { inTab } from "./kept.js";

const HISTORY = "rondo-expressions", MAX_HISTORY = 50;

const asked = () => {
  try {
    return JSON.parse(inTab.get(HISTORY) ?? "[]");
  } catch {
    return [];
  }
};

export class ExpressionBox {
  /** `onRun(expression)`; `labels()`: see Completion; `scope`: an element that says which lives are asked. */
  constructor({ onRun, labels, scope = null }) {
    this.completion = new Completion(labels);
    this.onRun = onRun;
    this.found = [];
    this.chosen = -1;
    this.asks = 0;
    this.recalled = -1;
    const look = debounced(60, () => this.#complete());
    this.list = el("ul", { id: "completions", role: "listbox", "aria-label": "Completions", hidden: true });
    this.input = el("input", {
      id: "expression", type: "text", role: "combobox", "aria-autocomplete": "list", "aria-expanded": "false", "aria-controls": "completions",
      autocomplete: "off", autocapitalize: "off", spellcheck: "false", placeholder: "PromQL: sum by (route) (rate(http_requests_total[1m]))",
      "aria-label": "Expression in PromQL", oninput: look, onkeydown: (event) => this.#onKey(event), onfocus: look, onblur: () => this.#close(),
    });
    this.element = el("form", { class: "expression", role: "search", "aria-label": "Ask", onsubmit: (event) => { event.preventDefault(); this.#run(); } },
      el("div", { class: "combo" }, this.input, this.list), scope,
      el("button", { class: "primary", type: "submit" }, "Chart"));
  }

  /** Put an expression into the box, to be gone on with. */
  edit(text) {
    this.input.value = text;
    this.input.focus();
    this.#close();
  }

  #run() {
    const text = this.input.value.trim();
    if (!text) return;
    inTab.set(HISTORY, JSON.stringify([text, ...asked().filter((each) => each !== text)].slice(0, MAX_HISTORY)));
    this.recalled = -1;
    this.#close();
    this.input.value = "";
    this.onRun(text);
  }

  async #complete() {
    const ask = (this.asks += 1);
    if (document.activeElement !== this.input) return;
    if (!this.input.value) return this.#close();
    let answer;
    try {
      answer = await this.completion.at(this.input.value, this.input.selectionStart);
    } catch {
      return this.#close();
    }
    if (ask !== this.asks) return undefined;
    this.context = answer.context;
    const whole = answer.found.length === 1 && answer.found[0].text === answer.context.typed;
    this.#show(whole ? [] : answer.found);
    return undefined;
  }

  #show(found) {
    const before = this.found[this.chosen]?.text;
    this.found = found;
    this.chosen = -1;
    fill(this.list, ...found.map((each, index) =>
      el("li", { id: `completion-${index}`, role: "option", "aria-selected": "false", onmousedown: (event) => { event.preventDefault(); this.#take(index); } },
        el("span", { class: `sort ${each.kind}` }, each.kind), el("span", { class: "name" }, each.shown), each.help ? el("span", { class: "what" }, each.help) : null)));
    this.list.hidden = !found.length;
    this.input.setAttribute("aria-expanded", String(found.length > 0));
    this.input.removeAttribute("aria-activedescendant");
    const again = found.findIndex((each) => each.text === before); // an answer that came late takes back no choice
    if (again >= 0) this.#choose(again);
  }

  #close() {
    this.asks += 1;
    this.#show([]);
  }

  #choose(index) {
    const options = this.list.children;
    options[this.chosen]?.setAttribute("aria-selected", "false");
    this.chosen = (index + options.length) % options.length;
    options[this.chosen].setAttribute("aria-selected", "true");
    options[this.chosen].scrollIntoView({ block: "nearest" });
    this.input.setAttribute("aria-activedescendant", options[this.chosen].id);
  }

  #take(index) {
    const { text, back = 0, over = 0 } = this.found[index];
    const caret = this.input.selectionStart;
    this.input.setRangeText(text, this.context.from, caret + over, "end");
    const end = this.input.selectionStart - back;
    this.input.setSelectionRange(end, end);
    this.#close();
    if (back) this.#complete();
  }

  #onKey(event) {
    const open = !this.list.hidden;
    const { key } = event;
    if (key === "ArrowDown" && open) this.#choose(this.chosen + 1);
    else if (key === "ArrowUp" && open) this.#choose(this.chosen - 1);
    else if ((key === "ArrowUp" || key === "ArrowDown") && (this.recalled >= 0 || !this.input.value)) {
      const before = asked();
      this.recalled = Math.max(-1, Math.min(before.length - 1, this.recalled + (key === "ArrowUp" ? 1 : -1)));
      this.input.value = before[this.recalled] ?? "";
    } else if ((key === "Enter" || key === "Tab") && open && this.chosen >= 0) this.#take(this.chosen);
    else if (key === " " && event.ctrlKey) this.#complete();
    else if (key === "Escape" && open) this.#close();
    else if (key === "Escape") this.input.blur();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
