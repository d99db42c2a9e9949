// What a program gets of a line that is pasted into a shell of Windows, by the documented rules of each.

/** The prompt of cmd.exe, then the program's own splitting. */
export function cmd(line, variables) {
  // First of all, and within quotes too; what is no variable stays.
  const expanded = line.replace(/%([^%\n]+)%/g, (whole, name) => variables[name] ?? whole);
  let [commandLine, quoted] = ['', false];
  for (const [part] of expanded.matchAll(/\^\n?[^]|[^]/g)) {
    if (part === '"') quoted = !quoted;
    if (part === '\n' || (!quoted && '&|<>()'.includes(part))) throw new Error(`cmd takes ${JSON.stringify(part)} for itself: ${expanded}`);
    // A caret makes plain what stands behind it, or behind the end of the line; within quotes it is but a letter.
    if (quoted && part.length > 1) throw new Error(`a caret within quotes: ${expanded}`);
    commandLine += part.at(-1);
  }
  return split(commandLine);
}

/** PowerShell; up to 7.2 it hands an argument on as it is, in quotes if it has a space. */
export function powershell(line, { escapes }) {
  const words = [];
  const rest = line.replace(/(?:'((?:[^']|'')*)'|([\w.:/@=-]+))(?:\s*`\n\s*|\s+|$)/gy, (_, text, bare) => {
    words.push(bare ?? text.replaceAll("''", "'"));
    return '';
  });
  if (rest) throw new Error(`PowerShell reads this in ways of its own: ${rest}`);
  const given = (word) => {
    if (word && !/[\s"]/.test(word)) return word;
    return escapes ? `"${word.replace(/(\\*)("|$)/g, (_, slashes, end) => `${slashes}${slashes}${end && '\\"'}`)}"` : /\s/.test(word) ? `"${word}"` : word;
  };
  return split(words.map(given).join(' '));
}

/** A program's command line into its arguments: the rules of CommandLineToArgvW behind the program's name. */
function split(commandLine) {
  const words = [];
  let [word, quoted, begun] = ['', false, false];
  for (const [part, slashes, quote] of commandLine.matchAll(/(\\*)(")|\\+|[^\\"]/g)) {
    if (quote) {
      word += '\\'.repeat(slashes.length / 2);
      begun = true;
      if (slashes.length % 2) word += '"';
      else quoted = !quoted;
    } else if (!quoted && /[ \t]/.test(part)) {
      if (begun) words.push(word);
      [word, begun] = ['', false];
    } else {
      word += part;
      begun = true;
    }
  }
  if (quoted) throw new Error(`a quote is open: ${commandLine}`);
  return begun ? [...words, word] : words;
}
