// Elements. What comes from the network gets onto the page as text or as the
// value of an attribute, never as markup.

/** id returns the element of that id. */
export const id = (name) => document.getElementById(name);

/** element makes one with attributes and children, of which strings are text. */
export function element(tag, attributes = {}, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
  e.append(...children);
  return e;
}

/** setText changes the text of e if it is another. */
export function setText(e, text) {
  if (e.textContent !== text) e.textContent = text;
}

/** arrange makes children those of parent, in order. It moves as little as it
 * can, and keeps the focus on an element that it moves. */
export function arrange(parent, children) {
  const focused = parent.contains(document.activeElement) ? document.activeElement : null;
  const wanted = new Set(children);
  for (const child of [...parent.children]) {
    if (!wanted.has(child)) child.remove();
  }
  let next = parent.firstElementChild;
  for (const child of children) {
    if (child === next) next = next.nextElementSibling;
    else parent.insertBefore(child, next);
  }
  if (focused !== null && focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
}

let announced = null;

/** announce has a screen reader say text when it has said all else. */
export function announce(text) {
  clearTimeout(announced);
  // Set a moment later, so that of several in a row only the last is said.
  announced = setTimeout(() => setText(id("announce"), text), 500);
}
