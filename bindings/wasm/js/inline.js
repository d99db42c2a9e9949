// The module inside of the code, for where a second file is a burden.
import { startSync } from './module.js';
import { base64 } from './edge_report.base64.js';

startSync(Uint8Array.from(atob(base64), (char) => char.charCodeAt(0)));

export * from './api.js';
