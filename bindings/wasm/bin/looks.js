// What a text looks like that is no report, for people who pasted the wrong thing.

/** So much is looked at. */
const MOST = 64 * 1024;
/** Bytes at the beginning, as characters. */
const BYTES = [
  ['bom', /^\xef\xbb\xbf/],
  ['utf16', /^(\xff\xfe|\xfe\xff|[ -~]\0|\0[ -~])/],
  ['image', /^(\x89PNG|\xff\xd8\xff|GIF8|RIFF....WEBP)/s],
  ['compressed', /^(\x1f\x8b|PK\x03\x04|\x28\xb5\x2f\xfd)/],
];
/** Words that cannot begin JSON, and JSON that is something else. */
const TEXTS = [
  ['html', /^<(!doctype|html|head|body|\?xml)/i],
  ['response', /^HTTP\/\d/],
  ['curl', /^(\$ )?curl(\.exe)?\s/],
  ['lines', /^\{.*\}[ \t]*\r?\n\{.*\}\s*$/s],
  ['object', /^(const |let |var |export |module\.|[({]*\s*(jobs|message_id)\s*:|\{\s*')/],
  ['job', /^\{\s*"(job_id|status|create_time)"\s*:/],
  ['jobs', /^\[/],
];

/** What bytes look like that are not valid as a report; nothing if that is not known. */
export function looksLike(bytes) {
  const start = Array.from(bytes.subarray(0, 64), (byte) => String.fromCharCode(byte)).join('');
  const found = BYTES.find(([, pattern]) => pattern.test(start));
  if (found) return found[0];
  // What comes later does not change what it looks like.
  const looked = new TextDecoder().decode(bytes.subarray(0, MOST)).trimStart();
  // A line that is cut is not looked at.
  const text = (bytes.length > MOST && looked.slice(0, looked.lastIndexOf('\n') + 1)) || looked;
  const name = TEXTS.find(([, pattern]) => pattern.test(text))?.[0];
  return name === 'lines' && !text.split('\n').every((line) => line.trim() === '' || /^\{.*\}\s*$/.test(line)) ? undefined : name;
}
