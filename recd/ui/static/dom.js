// Elements in one expression, and pieces of the page by their id.

export const byId = (id) => document.getElementById(id);

/** A new element: properties (attributes where they have a dash, `data-…`, `aria-…`, `role`), then children. */
export function el(tag, props = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined) continue;
    if (name.includes("-") || name === "role" || name === "for") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter((c) => c !== null && c !== undefined));
  return made;
}

/** Set a text only where it changed: a screen reader need not say it again. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** The children of `parent` are the elements that `make` and `update` give for `items`, by their key. */
export function keyed(parent, items, keyOf, make, update) {
  const there = new Map([...parent.children].map((c) => [c.dataset.key, c]));
  let before = null;
  for (const item of items) {
    const key = keyOf(item);
    let child = there.get(key);
    if (!child) {
      child = make(item);
      child.dataset.key = key;
    }
    there.delete(key);
    const place = before ? before.nextSibling : parent.firstChild;
    if (child !== place) parent.insertBefore(child, place);
    update?.(child, item);
    before = child;
  }
  for (const gone of there.values()) gone.remove();
}
