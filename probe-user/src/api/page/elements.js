// Elements of the page. Text reaches them through textContent only.

/** Makes an element; children are nodes or strings. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** Writes only what changed, so that focus, selection and screen readers are left in peace. */
export function replace(parent, ...children) {
  const next = make("div", {}, ...children);
  if (next.innerHTML !== parent.innerHTML) parent.replaceChildren(...next.childNodes);
}

export function fact(label, number, bad) {
  return make("span", { class: "fact" },
    make("span", { class: "label" }, label),
    make("span", { class: bad ? "number bad" : "number" }, number));
}

/** Through the style object: the content security policy forbids style attributes in markup. */
export function bar(share) {
  const element = make("span", { class: "bar", "aria-hidden": "true" });
  element.style.width = (100 * share).toFixed(0) + "%";
  return element;
}
