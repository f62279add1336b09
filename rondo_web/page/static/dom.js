// Elements, made without a line of HTML: what a stranger wrote is text, and nothing else.

/** Make an element. `props`: attributes; `on…` are listeners, `class` its class, a null or false one is left out. */
export function el(tag, props = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "class") made.className = value;
    else if (name === "value" || name === "checked") made[name] = value;
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  add(made, children);
  return made;
}

/** Put children into an element: elements, texts, lists of them; null is left out. */
export function add(parent, children) {
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) parent.append(child);
  }
  return parent;
}

/** Put these children in the place of all that an element has. */
export function fill(parent, ...children) {
  parent.replaceChildren();
  return add(parent, children);
}

/** Let what happens often be done once, when `ms` have gone by without it. */
export function debounced(ms, call) {
  let timer = 0;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => call(...given), ms);
  };
}

/** Say a line to a screen reader, and show nothing. */
export function announce(text) {
  document.getElementById("said").textContent = text;
}

/** Have the browser keep a text as a file. */
export function download(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = el("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
