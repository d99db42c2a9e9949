// The file `owner`: which process has a spool open. Node has no `flock`, so this is its lock; docs/spool-directory.md is the contract.
import fs from 'node:fs';
import { EdgeReportError } from './error.js';

const NAME = 'owner';
const STALE = 'owner.stale';
/** More than any owner file has. */
const LONGEST = 1024;
/** One without its text is looked at again: somebody may be writing it. If nothing comes, its writer was cut off. */
const LOOKS = 5;
const BETWEEN_LOOKS_MS = 20;
/** Somebody else may replace the owner while this process does. */
const TRIES = 100;

/** The directories that are open here, for systems that do not tell when a process started. */
const openHere = new Set();

/** Writes the owner file, unless a process that runs has one there. */
export function take(directory) {
  const self = describe(process.pid);
  let looks = LOOKS;
  for (let tries = 0; tries < TRIES; tries++) {
    if (write(directory, self)) {
      openHere.add(directory.path);
      return;
    }
    const text = directory.read(NAME, LONGEST);
    if (text === undefined) continue;
    const owner = parse(text);
    if (!owner && looks > 0) {
      looks -= 1;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, BETWEEN_LOOKS_MS);
      continue;
    }
    if (owner && runs(owner, directory)) throw inUse(directory, owner.pid);
    if (!putAside(directory, text)) throw inUse(directory);
  }
  throw inUse(directory);
}

/** Removes this process' owner file. */
export function giveBack(directory) {
  openHere.delete(directory.path);
  try {
    const owner = parse(directory.read(NAME, LONGEST) ?? '');
    if (owner?.pid === process.pid && !differ(owner.start_time, describe(process.pid).start_time)) directory.remove(NAME);
  } catch {
    // It is stale when this process has ended.
  }
}

function write(directory, self) {
  let fd;
  try {
    fd = directory.create(NAME);
  } catch (error) {
    if (error.code === 'EEXIST') return false;
    throw error;
  }
  try {
    fs.writeSync(fd, `${JSON.stringify(self)}\n`);
    return true;
  } catch (error) {
    directory.remove(NAME);
    throw error;
  } finally {
    fs.closeSync(fd);
  }
}

/** Removes a stale owner; `false` if somebody else was quicker, and had written a new one. */
function putAside(directory, text) {
  try {
    directory.rename(NAME, STALE);
  } catch (error) {
    if (error.code === 'ENOENT') return true;
    throw error;
  }
  // Removing it by its name could remove that new one. What is renamed can be looked at, and only one can rename it.
  const isStale = [undefined, text].includes(directory.read(STALE, LONGEST));
  if (!isStale && !directory.has(NAME)) directory.rename(STALE, NAME);
  else directory.remove(STALE);
  return isStale;
}

function parse(text) {
  try {
    const { pid, start_time = null, boot_id = null } = JSON.parse(text);
    return Number.isInteger(pid) && pid >= 0 ? { pid, start_time, boot_id } : undefined;
  } catch {
    return undefined;
  }
}

/** Whether this very process runs. One that has the id and start of this one is this one: a spool is open here once. */
function runs(owner, directory) {
  if (differ(owner.boot_id, bootId())) return false;
  const start = startTime(owner.pid);
  if (start === undefined || differ(owner.start_time, start)) return false;
  return owner.pid !== process.pid || start !== null || openHere.has(directory.path);
}

/** What is not known is no difference. */
function differ(one, other) {
  return one !== null && other !== null && one !== other;
}

function describe(pid) {
  return { pid, start_time: startTime(pid) ?? null, boot_id: bootId() };
}

function bootId() {
  return told('/proc/sys/kernel/random/boot_id')?.trim() ?? null;
}

/** `undefined` if there is no such process, `null` if the system does not tell. */
function startTime(pid) {
  const stat = ['linux', 'android'].includes(process.platform) ? told(`/proc/${pid}/stat`) : undefined;
  if (stat === undefined) return isThere(pid) ? null : undefined;
  // Behind the name of the program, which may have spaces and brackets of its own.
  const fields = stat.slice(stat.lastIndexOf(')') + 1).trim().split(/\s+/);
  // It holds nothing any more, though its parent has not asked for it yet.
  if (['Z', 'X', 'x'].includes(fields[0])) return undefined;
  return Number(fields[19]);
}

function isThere(pid) {
  try {
    return pid > 0 && pid < 2 ** 31 && process.kill(pid, 0);
  } catch (error) {
    // Others' processes are there, too.
    return error.code === 'EPERM';
  }
}

function told(path) {
  try {
    return fs.readFileSync(path, 'latin1');
  } catch {
    return undefined;
  }
}

function inUse(directory, pid) {
  const by = pid === undefined ? '' : pid === process.pid ? ' by this process' : ` by process ${pid}`;
  return new EdgeReportError('SpoolInUse', { detail: `${directory.path} is in use${by}: only one process at a time can have it open` });
}
