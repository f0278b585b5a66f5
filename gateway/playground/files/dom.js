// Elements, made from texts only: nothing that comes from outside is ever read as HTML.

export const $ = (id) => document.getElementById(id);

/** An element with attributes, properties (those that are functions or booleans) and children. */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) {
    if (typeof value === "function" || typeof value === "boolean") element[attribute] = value;
    else if (value !== undefined && value !== null) element.setAttribute(attribute, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

/** A value as indented JSON; a text as it is. */
export function shown(value) {
  return typeof value === "string" ? value : JSON.stringify(value, null, 2);
}

/** The same on one line, at most so many characters of it. */
export function brief(value, length = 160) {
  const text = (typeof value === "string" ? value : JSON.stringify(value) ?? "").replace(/\s+/g, " ");
  return text.length > length ? `${text.slice(0, length)}…` : text;
}

export function clock(at) {
  const date = typeof at === "number" ? new Date(at * 1000) : new Date(at);
  return Number.isNaN(date.getTime()) ? "" : date.toLocaleTimeString([], { hour12: false });
}

/** Whether a list is scrolled to its end, so that it should stay there. */
export function atEnd(element) {
  return element.scrollHeight - element.scrollTop - element.clientHeight < 80;
}
