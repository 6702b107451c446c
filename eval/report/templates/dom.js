"use strict";
// The one way in which this page makes elements. Text becomes text nodes; no string is ever read as markup.

const SVG = "http://www.w3.org/2000/svg";

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, String(value));
  }
  node.append(...children.flat(2).filter((child) => child != null && child !== false));
  return node;
}

/** An HTML element; attributes named `on...` are listeners. */
function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** An SVG element. */
function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

/** A select element over [value, label] pairs, or [group, pairs] where the second is a list. */
function picker(label, options, value, onchange) {
  const made = ([key, content]) =>
    Array.isArray(content)
      ? el("optgroup", { label: key }, content.map(made))
      : el("option", { value: key, selected: key === value }, content);
  return el("select", { "aria-label": label, onchange: (event) => onchange(event.target.value) }, options.map(made));
}
