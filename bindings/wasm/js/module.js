// The one instance of the WASM module, and a new one after a trap.
import { EdgeReportError } from './error.js';
import load, * as glue from './glue.js';

let ready = false;
let generation = 0;

/** Compiles and starts the module: from its bytes, a WebAssembly.Module, or, in vain but for the first call, anything. */
export function startSync(source) {
  if (!ready) glue.initSync({ module: source });
  ready = true;
}

/** The same from a Response or URL, too, or a promise of any of these. */
export async function start(source) {
  if (!ready) await load({ module_or_path: source });
  ready = true;
}

/** Counts instances: an object of an older one is lost. */
export function instance() {
  return generation;
}

/** Runs `use` on the module's functions. All that is thrown in it counts as a trap, so what callers give is looked at before. */
export function call(use) {
  if (!ready) throw new EdgeReportError('NotUsable', { detail: 'await init(…) first' });
  try {
    return use(glue);
  } catch (error) {
    if (error instanceof EdgeReportError) throw error;
    // A trap, or a stack that ran out: what the module holds means nothing any more.
    generation += 1;
    glue.__wbg_reset_state();
    throw new EdgeReportError('Internal', { detail: error.message, cause: error });
  }
}
