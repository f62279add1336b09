// Fingers on a chart: one drawn across it chooses a span, two spread or pinch what is shown. Up and down is the page's.

const SLOP = 8, LEAST = 12; // px: from where it is no tap, and how wide a span is meant

/**
 * Zoom a plot of uPlot by touch. `preview(from, to)`: while two fingers move; `zoom(from, to)`: when they let go, in
 * the units of its axis.
 */
export function zoomByTouch(plot, { preview, zoom }) {
  const { over } = plot, fingers = new Map();
  let pinched = null;
  const place = (event) => event.clientX - over.getBoundingClientRect().left;
  const select = (left, width) => plot.setSelect({ left, top: 0, width, height: width ? over.clientHeight : 0 }, false);

  const span = () => {
    const [one, other] = [...fingers.values()];
    const perPixel = (pinched[1] - pinched[0]) / (other.now - one.now);
    if (!(perPixel > 0) || Math.abs(other.now - one.now) < 2 * LEAST) return null;
    const from = pinched[0] - one.now * perPixel;
    return [from, from + over.clientWidth * perPixel];
  };

  const end = (event) => {
    const finger = fingers.get(event.pointerId);
    if (!finger) return;
    const asked = event.type === "pointercancel" ? null : pinched ? span() : chosen(finger);
    fingers.delete(event.pointerId);
    select(0, 0);
    if (asked) zoom(...asked);
    else if (pinched) preview(null);
    fingers.clear();
    pinched = null;
  };

  const chosen = ({ began, now }) => {
    const [from, to] = [Math.min(began, now), Math.max(began, now)].map((each) => Math.max(0, Math.min(over.clientWidth, each)));
    return to - from < LEAST ? null : [plot.posToVal(from, "x"), plot.posToVal(to, "x")];
  };

  over.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "mouse" || fingers.size === 2) return;
    fingers.set(event.pointerId, { began: place(event), now: place(event) });
    over.setPointerCapture(event.pointerId);
    if (fingers.size < 2) return;
    select(0, 0);
    pinched = [...fingers.values()].map((each) => plot.posToVal(each.now, "x"));
  });
  over.addEventListener("pointermove", (event) => {
    const finger = fingers.get(event.pointerId);
    if (!finger) return;
    finger.now = place(event);
    if (pinched) {
      const asked = span();
      if (asked) preview(...asked);
    } else if (Math.abs(finger.now - finger.began) > SLOP) {
      const from = Math.max(0, Math.min(finger.began, finger.now));
      select(from, Math.min(over.clientWidth, Math.max(finger.began, finger.now)) - from);
    }
  });
  over.addEventListener("pointerup", end);
  over.addEventListener("pointercancel", end);
}
