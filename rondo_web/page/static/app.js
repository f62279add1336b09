// The page: which view is shown, what all views share, and the keys.

import { AskError, keepToken, lives } from "./api.js";
import { CompareView } from "./compare.js";
import { el, fill } from "./dom.js";
import { HomeView } from "./home.js";
import { LifeView } from "./life.js";
import { EMPTY, Navigation, format } from "./state.js";
import { Theme } from "./theme.js";

const TICK_MS = 1000;
const FEW = 100; // lives that are asked for at first

class App {
  constructor() {
    this.most = FEW;
    this.main = document.getElementById("main");
    this.path = document.getElementById("path");
    this.alert = document.getElementById("trouble");
    this.help = document.getElementById("help");
    this.theme = new Theme(document.getElementById("theme"), () => this.view?.repaint());
    document.getElementById("keys").addEventListener("click", () => this.help.showModal());
    this.nav = new Navigation((view, before) => this.#change(view, before));
    document.addEventListener("keydown", (event) => this.#onKey(event));
  }

  /** The server's time, in ms: that of the browser may be another. */
  now = () => Date.now() + (this.offset ?? 0);
  lives = () => this.known.lives;
  place = () => this.known.place;

  async lookAgain() {
    try {
      this.known = await lives(this.most, this.nav.view);
      this.offset = this.known.now_ms - Date.now();
      this.trouble(null);
    } catch (error) {
      if (!this.known) throw error;
      this.trouble(error);
    }
  }

  /** Say what is wrong, above everything; null: nothing any more. */
  trouble(error) {
    this.alert.hidden = error === null;
    const text = error?.message ?? "";
    if (this.alert.textContent !== text) this.alert.textContent = text;
  }

  async start() {
    try {
      await this.lookAgain();
    } catch (error) {
      if (error instanceof AskError && error.status === 401) return this.#askToken();
      if (error.status === 400) return this.#refuse(error);
      this.trouble(error);
      setTimeout(() => this.start(), 2000);
      return undefined;
    }
    await this.#show();
    let count = 0;
    const beat = async () => {
      count += 1;
      if (!document.hidden) await Promise.resolve(this.view.tick(count)).catch((error) => this.trouble(error));
      setTimeout(beat, TICK_MS);
    };
    setTimeout(beat, TICK_MS);
    return undefined;
  }

  /** Say that the address asks for lives that there are not, and lead to all of them. */
  #refuse(error) {
    this.refused = true;
    fill(this.main, el("p", { class: "message error", role: "alert" }, error.message), el("p", { class: "message" }, el("a", { href: format(EMPTY) }, "All lives")));
    this.main.setAttribute("aria-busy", "false");
  }

  #askToken() {
    const input = el("input", { type: "password", id: "token", autocomplete: "off", required: true, "aria-label": "Token" });
    const form = el("form", { class: "token", onsubmit: (event) => { event.preventDefault(); keepToken(input.value.trim()); this.start(); } },
      el("h1", {}, "This server wants a token"), el("p", {}, "It is in the file that rondo serve was given as --token-file; this tab keeps it until it is closed."),
      el("div", {}, input, el("button", { class: "primary", type: "submit" }, "Open")));
    fill(this.main, form);
    input.focus();
  }

  #kindOf(view) {
    const only = this.known.directory ? null : "";
    const store = view.life ?? only;
    if (store === null) return ["home"];
    return view.with !== null && this.known.directory ? ["compare", store, view.with] : ["life", store];
  }

  async #change(view, before) {
    if (!this.known && this.refused) {
      this.refused = false;
      return this.start();
    }
    if (!this.known) return undefined;
    if (JSON.stringify(this.#kindOf(view)) === JSON.stringify(this.#kindOf(before))) this.view.update(view, before);
    else await this.#show();
    return undefined;
  }

  async #show() {
    this.view?.destroy();
    const [kind, first, second] = this.#kindOf(this.nav.view);
    const view = (this.view = kind === "home" ? new HomeView(this) : kind === "life" ? new LifeView(this, first) : new CompareView(this, first, second));
    this.main.setAttribute("aria-busy", "true");
    try {
      await view.start();
      this.trouble(null);
    } catch (error) {
      if (error.name === "AbortError" || view !== this.view) return;
      fill(view.element, el("p", { class: "message error", role: "alert" }, error.message), el("p", { class: "message" }, el("a", { href: format(EMPTY) }, "All lives")));
    }
    if (view !== this.view) return;
    fill(this.main, view.element);
    scrollTo(0, 0);
    this.main.setAttribute("aria-busy", "false");
    document.title = `${view.title} · rondo`;
    fill(this.path, this.known.directory ? el("a", { href: format(EMPTY) }, this.place()) : null, kind === "home" ? null : [this.known.directory ? el("span", { "aria-hidden": "true" }, "/") : null, el("span", { "aria-current": "page" }, view.title)]);
  }

  #onKey(event) {
    const { target, key } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || this.help.open) return;
    if (target.matches("input:not([type=checkbox]), select, textarea")) {
      if (key === "Escape") target.blur();
      return;
    }
    const ranges = this.view?.ranges;
    const act = {
      "/": () => document.getElementById("search")?.focus(),
      e: () => document.getElementById("expression")?.focus(),
      "?": () => this.help.showModal(),
      t: () => this.theme.next(),
      h: () => this.known?.directory && this.nav.go(EMPTY),
      l: () => this.nav.go({ from: null, to: null }),
      Escape: () => this.nav.go({ from: null, to: null }),
      "+": () => ranges?.zoom(0.5),
      "-": () => ranges?.zoom(2),
      ArrowLeft: () => event.shiftKey && !target.closest(".plot") && ranges?.pan(-0.5),
      ArrowRight: () => event.shiftKey && !target.closest(".plot") && ranges?.pan(0.5),
    }[key];
    if (!act || (key.startsWith("Arrow") && !event.shiftKey)) return;
    event.preventDefault();
    act();
  }
}

new App().start();
