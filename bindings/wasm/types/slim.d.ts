import type { Bytes } from './index.js';
export * from './index.js';

/** Where the module comes from. */
export type ModuleSource = Bytes | WebAssembly.Module | Response | URL | Request | string;

/** Loads the module, once; before any other call. Calling it again changes nothing. */
export function init(source: ModuleSource | Promise<ModuleSource>): Promise<void>;

/** The same at once, where the bytes or the compiled module are at hand. */
export function initSync(source: Bytes | WebAssembly.Module): void;
