// Fingers on a plot: one moves the time axis, two pull it apart; up and down stays with the page.

const SLACK_PX = 8; // a tap trembles
const DOUBLE_MS = 350;

export function touch(over, board) {
  const fingers = new Map(); // id -> place from the left, px
  let anchors = null; // finger -> time that stays below it
  let perPixel = 0;
  let from = 0;
  let moved = false;
  let tapped = -Infinity;
  let frame = 0;
  over.style.touchAction = "pan-y";

  /** From here on: whenever a finger comes or goes. */
  const begin = () => {
    const [t0, t1] = board.window();
    perPixel = (t1 - t0) / over.clientWidth;
    anchors = new Map([...fingers].map(([id, x]) => [id, t0 + x * perPixel]));
    [from] = fingers.values();
  };
  const place = (e) => e.clientX - over.getBoundingClientRect().left;

  over.addEventListener("pointerdown", (e) => {
    if (e.pointerType !== "touch") return;
    if (!fingers.size) moved = false;
    fingers.set(e.pointerId, place(e));
    moved ||= fingers.size > 1;
    over.setPointerCapture(e.pointerId);
    begin();
  });
  over.addEventListener("pointermove", (e) => {
    if (!fingers.has(e.pointerId)) return;
    fingers.set(e.pointerId, place(e));
    if (!moved && Math.abs(place(e) - from) < SLACK_PX) return;
    moved = true;
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      const [[a, xa], [b, xb] = []] = fingers;
      if (a === undefined) return;
      if (b !== undefined && Math.abs(xa - xb) > SLACK_PX) {
        const scale = (anchors.get(a) - anchors.get(b)) / (xa - xb);
        if (scale > 0) perPixel = scale;
      }
      const t0 = anchors.get(a) - xa * perPixel;
      board.setRange(t0, t0 + over.clientWidth * perPixel);
    });
  });
  for (const name of ["pointerup", "pointercancel"]) {
    over.addEventListener(name, (e) => {
      if (!fingers.delete(e.pointerId)) return;
      if (fingers.size) {
        begin();
      } else if (!moved && name === "pointerup") {
        if (e.timeStamp - tapped < DOUBLE_MS) board.goLive();
        tapped = e.timeStamp;
      }
    });
  }
}
