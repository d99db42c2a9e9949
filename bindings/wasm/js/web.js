// Browsers, workers and bundlers: the modules stand beside this file. The second one is fetched for the first durable courier.
import { start } from './module.js';
import { platform } from './platform.js';

platform.spoolModule = () => fetch(new URL('./edge_report_spool.wasm', import.meta.url));
await start(fetch(new URL('./edge_report.wasm', import.meta.url)));

export * from './api.js';
