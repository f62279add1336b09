// What a browser keeps for the page, where it lets it: a browser may forbid that, and all goes on without.

/** Give a store of texts by name: one that lasts, or one of this tab alone. */
function kept(which) {
  const of = () => {
    try {
      return window[which];
    } catch {
      return null;
    }
  };
  return {
    get: (name) => {
      try {
        return of()?.getItem(name) ?? null;
      } catch {
        return null;
      }
    },
    set: (name, text) => {
      try {
        of()?.setItem(name, text);
      } catch {
        // full, or forbidden: it is asked for again the next time
      }
    },
  };
}

export const inTab = kept("sessionStorage");
export const lasting = kept("localStorage");
