// Browsers, workers and bundlers: the module stands beside this file.
import { start } from './module.js';

await start(fetch(new URL('./edge_report.wasm', import.meta.url)));

export * from './api.js';
