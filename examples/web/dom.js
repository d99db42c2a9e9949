// Elements, made without any HTML: what comes from outside is always text.
export const byId = (id) => document.getElementById(id);

/** An element of HTML with attributes, listeners where the value is a function, and children: elements or text. */
export function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** An element of SVG. */
export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS('http://www.w3.org/2000/svg', name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined) continue;
    if (typeof value === 'function') element.addEventListener(name, value);
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** Says it to screen readers, wherever the focus is. */
export function say(text) {
  byId('said').textContent = text;
}

export async function copy(element, text, done) {
  try {
    await navigator.clipboard.writeText(text);
    say(done);
  } catch {
    // Not allowed, or opened from a file: what is selected can be copied by hand.
    getSelection().selectAllChildren(element);
    element.focus();
  }
}

export function save(name, bytes) {
  const url = URL.createObjectURL(new Blob([bytes]));
  el('a', { href: url, download: name }).click();
  URL.revokeObjectURL(url);
}
