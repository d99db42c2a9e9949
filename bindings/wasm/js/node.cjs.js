// Node, bundled as CommonJS; node.js wraps it, so that `import` and `require` share one module and one EdgeReportError.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { openDirectory } from './files.js';
import { startSync } from './module.js';
import { platform } from './platform.js';

startSync(readFileSync(join(__dirname, 'edge_report.wasm')));
platform.spoolModule = () => readFileSync(join(__dirname, 'edge_report_spool.wasm'));
platform.openDirectory = openDirectory;

export * from './api.js';
