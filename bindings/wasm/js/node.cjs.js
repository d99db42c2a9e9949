// Node, bundled as CommonJS; node.js wraps it, so that `import` and `require` share one module and one EdgeReportError.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { startSync } from './module.js';

startSync(readFileSync(join(__dirname, 'edge_report.wasm')));

export * from './api.js';
