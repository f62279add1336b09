// Dark or light: as the system has it, unless one was chosen.

import { lasting } from "./kept.js";

const KEPT = "rondo-theme", ORDER = ["auto", "light", "dark"];
const SIGNS = { auto: "◐", light: "☀", dark: "☾" };

export class Theme {
  /** `button`: changes it; `onChange()` is called when the colours are others. */
  constructor(button, onChange) {
    this.button = button;
    this.onChange = onChange;
    this.chosen = ORDER.includes(lasting.get(KEPT)) ? lasting.get(KEPT) : "auto";
    button.addEventListener("click", () => this.next());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#apply());
    this.#apply();
  }

  next() {
    this.chosen = ORDER[(ORDER.indexOf(this.chosen) + 1) % ORDER.length];
    lasting.set(KEPT, this.chosen);
    this.#apply();
  }

  #apply() {
    const dark = this.chosen === "auto" ? matchMedia("(prefers-color-scheme: dark)").matches : this.chosen === "dark";
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    this.button.textContent = SIGNS[this.chosen];
    this.button.setAttribute("aria-label", `Colours: ${this.chosen}`);
    this.button.title = `Colours: ${this.chosen} (t)`;
    this.onChange();
  }
}
