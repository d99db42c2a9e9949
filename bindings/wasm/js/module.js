// The compiled module, and its instances: one for the calls that keep nothing, and one for each courier, so that what goes wrong in one
// touches no other.
import { glue } from './edge_report.glue.js';
import { EdgeReportError } from './error.js';

let compiled;
/** For calls that keep nothing. After a trap a new one takes its place. */
let shared;

/** Compiles the module: from its bytes, a WebAssembly.Module, or, in vain but for the first call, anything. */
export function startSync(source) {
  compiled ??= source instanceof WebAssembly.Module ? source : new WebAssembly.Module(source);
}

/** The same from a Response or URL, too, or a promise of any of these. */
export async function start(source) {
  compiled ??= await compile(source);
}

export async function compile(source) {
  let given = await source;
  if (typeof given === 'string' || given instanceof URL || given instanceof globalThis.Request) given = await fetch(given);
  if (typeof Response === 'function' && given instanceof Response) {
    if (!given.ok) throw new EdgeReportError('NotUsable', { detail: `${given.url} gives ${given.status}` });
    given = await given.arrayBuffer();
  }
  return given instanceof WebAssembly.Module ? given : WebAssembly.compile(given);
}

/** An instance of its own for a courier in memory. */
export function ownInstance() {
  return instantiate(glue, compiled);
}

export function instantiate(make, module) {
  if (!module) throw new EdgeReportError('NotUsable', { detail: 'await init(…) first' });
  const instance = make();
  instance.initSync({ module });
  return instance;
}

/** Runs `use` on the functions that keep nothing. All that is thrown in it counts as a trap, so what callers give is looked at before. */
export function call(use) {
  const wasm = (shared ??= ownInstance());
  try {
    return use(wasm);
  } catch (error) {
    if (error instanceof EdgeReportError) throw error;
    // What the instance holds means nothing any more. The next call makes one: here the stack may be at its end.
    shared = undefined;
    throw new EdgeReportError('Internal', { detail: error.message, cause: error });
  }
}

/** 96 KiB of arguments, twice the stack that a courier's calls take (measured with V8), or a RangeError. */
const STACK = new Array(12_288).fill(0);

/** Throws where the caller has used up the stack: in the midst of a courier's call that would cost what the courier knows. */
export function needStack() {
  Reflect.apply(nothing, undefined, STACK);
}

function nothing() {}
