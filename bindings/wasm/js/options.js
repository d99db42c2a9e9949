// Options of calls: a wrong one is an error that names it, never a default that surprises.
import { EdgeReportError } from './error.js';

/** Refuses options with names that nobody knows: misspelt ones would be passed over. */
export function onlyKnown(what, options, names) {
  if (typeof options !== 'object' || !options) throw new TypeError(`${what} takes an object of options`);
  for (const name of Object.keys(options)) {
    if (names.includes(name)) continue;
    const meant = nearest(name, names);
    throw new TypeError(`${what} has no option ${name}; ${meant ? `is ${meant} meant?` : `it has ${names.join(', ')}`}`);
  }
}

/** Refuses what is no number, or none that is `fit`. */
export function onlyNumber(name, value, fit, words) {
  if (typeof value !== 'number') throw new TypeError(`${name} must be ${words}`);
  if (!fit(value)) throw new EdgeReportError('OutOfRange', { detail: `${name} is ${words}` });
}

/** The one of `names` that differs least from `name`, if that is little. */
function nearest(name, names) {
  const wanted = name.toLowerCase();
  const distances = names.map((known) => [known, distance(wanted, known.toLowerCase())]);
  const [best, steps] = distances.sort(([, a], [, b]) => a - b)[0];
  return steps * 3 <= wanted.length ? best : undefined;
}

/** How many letters to add, drop or change to come from one word to the other. */
function distance(one, other) {
  let row = Array.from({ length: other.length + 1 }, (_, column) => column);
  for (const letter of one) {
    let [before, left] = [row[0], row[0] + 1];
    row = row.map((above, column) => {
      if (column === 0) return left;
      left = Math.min(left + 1, above + 1, before + (letter === other[column - 1] ? 0 : 1));
      before = above;
      return left;
    });
  }
  return row.at(-1);
}
