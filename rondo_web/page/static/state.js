// The view as the address has it: everything after # says what is shown, so a copied address shows the same again.

import { compact, parseDuration } from "./format.js";

/**
 * What is shown. `life`: a store's name, "" of the only one, null: none; `with`: the one it is compared with;
 * `range`: a duration that ends now, or with the life; `from`, `to`: instants in ms; `q`: expressions;
 * `last`, `job`: of which lives the list and its expressions are, the newest so many, those of one job; null: all;
 * `of`: "all", if they are asked of all lives, null: of that one; `find`: what the list or the charts are searched for; `read`: how charts are read, by metric.
 */
export function parse(hash) {
  const given = new URLSearchParams(hash.replace(/^#/, ""));
  const number = (name) => (/^\d{1,15}$/.test(given.get(name) ?? "") ? Number(given.get(name)) : null);
  const from = number("from"), to = number("to");
  const whole = from !== null && to !== null && to > from;
  const read = {};
  for (const pair of given.getAll("read")) {
    const at = pair.lastIndexOf(":");
    if (at > 0) read[pair.slice(0, at)] = pair.slice(at + 1);
  }
  return {
    life: given.get("life"),
    with: given.get("with"),
    range: parseDuration(given.get("range") ?? "") ?? (given.get("range") === "all" ? "all" : null),
    from: whole ? from : null,
    to: whole ? to : null,
    last: number("last") || null,
    job: given.get("job") || null,
    of: given.get("of") === "all" ? "all" : null,
    q: given.getAll("q").filter((each) => each.trim()).slice(0, 20),
    find: given.get("find") ?? "",
    read,
  };
}

/** Give the address of a view, as `parse` reads it. */
export function format(view) {
  const said = new URLSearchParams();
  if (view.life !== null) said.set("life", view.life);
  if (view.with !== null) said.set("with", view.with);
  if (view.from !== null) {
    said.set("from", Math.round(view.from));
    said.set("to", Math.round(view.to));
  } else if (view.range) said.set("range", view.range === "all" ? "all" : compact(view.range));
  for (const each of view.q) said.append("q", each);
  if (view.last) said.set("last", view.last);
  if (view.job) said.set("job", view.job);
  if (view.of) said.set("of", view.of);
  if (view.find) said.set("find", view.find);
  for (const [metric, how] of Object.entries(view.read)) said.append("read", `${metric}:${how}`);
  return `#${said}`;
}

export const EMPTY = parse("");

/** The view now, who is told of its change, and the ways to change it. */
export class Navigation {
  constructor(onChange) {
    this.view = parse(location.hash);
    this.onChange = onChange;
    addEventListener("popstate", () => this.#take(parse(location.hash)));
    addEventListener("hashchange", () => this.#take(parse(location.hash)));
  }

  /** Show something else. `replace`: without a step in the browser's history. */
  go(change, { replace = false } = {}) {
    const next = { ...this.view, ...change };
    const address = format(next);
    if (address === format(this.view)) return;
    if (replace) history.replaceState(null, "", address);
    else history.pushState(null, "", address);
    this.#take(next);
  }

  #take(next) {
    const before = this.view;
    if (format(next) === format(before)) return;
    this.view = next;
    this.onChange(next, before);
  }
}
