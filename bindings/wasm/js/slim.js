// Without the module: bring your own bytes, WebAssembly.Module, Response, URL, or a promise of one.
export { start as init, startSync as initSync } from './module.js';
export * from './api.js';
