// Segments as files in one directory, as Rust's spool has them, and with the spares that it keeps for a full disk.
import fs from 'node:fs';
import { EdgeReportError } from './error.js';
import { Directory, StorageError } from './directory.js';
import { giveBack, take } from './owner.js';

/** Bytes written at a time to a new segment. */
const FILL = new Uint8Array(64 * 1024);
/** How many files of a log are kept open: the one written to, and those read. */
const HANDLES = 4;
/** One for the segment that has notes alone, and one for what takes its place before that is discarded. */
const SPARES = 2;
const SPARE = 4096;
/** How many names there are for spares, as something else may have one. */
const NAMES = 2 * SPARES;
/** Where a segment's header has the ids of those that it stands for. */
const SOURCES_AT = 32;
const SOURCES_LEN = 16;
/** A longer file than this, and than all of the spool, never was a segment. */
const LONGEST = 2 ** 30;
/** What a segment is called while it is being made. */
const NEW = '.new';

/** A courier that was forgotten leaves its directory to others. */
const forgotten = new FinalizationRegistry((release) => release());

/** Opens the place of a spool: its two logs. */
export function openDirectory(place, limits) {
  try {
    return openLogs(place, limits);
  } catch (error) {
    throw error instanceof StorageError ? new EdgeReportError('Storage', { detail: error.message, cause: error }) : error;
  }
}

function openLogs(place, limits) {
  const directory = new Directory(place);
  try {
    take(directory);
  } catch (error) {
    directory.close();
    throw error;
  }
  const logs = Object.entries(limits).map(([prefix, [segment, , total]]) => new Files(directory, prefix, segment, total));
  const release = releaseOf(directory, logs);
  try {
    // A process that was cut off may have made or removed files, and nobody has synced that yet.
    directory.sync();
  } catch (error) {
    release();
    throw error;
  }
  const kept = new Kept(directory.path, logs, release);
  forgotten.register(kept, release, kept);
  return kept;
}

/** What gives the directory back, once. It must know nothing of who keeps it, or nothing is ever forgotten. */
function releaseOf(directory, logs) {
  let isOpen = true;
  return () => {
    if (!isOpen) return;
    isOpen = false;
    logs.forEach((log) => log.closeAll());
    giveBack(directory);
    directory.close();
  };
}

/** A directory that is open. */
class Kept {
  #logs;
  #release;

  constructor(name, logs, release) {
    this.name = name;
    this.#logs = logs;
    this.#release = release;
    [this.live, this.dead] = logs;
  }

  restart() {
    this.#logs.forEach((log) => log.closeAll());
  }

  removeLeftovers() {
    this.#logs.forEach((log) => log.removeLeftovers());
  }

  close() {
    forgotten.unregister(this);
    this.#release();
  }
}

/** The segments are the files `PREFIX-00000001.seg` and so on; all others are left alone. */
class Files {
  #directory;
  #prefix;
  #segmentBytes;
  #longest;
  #lengthUnit;
  /** Descriptors by id; the one used last comes last. */
  #handles = new Map();

  constructor(directory, prefix, segmentBytes, maxBytes) {
    this.#directory = directory;
    this.#prefix = prefix;
    this.#segmentBytes = segmentBytes;
    this.#longest = Math.max(maxBytes, LONGEST);
    this.#lengthUnit = Math.min(SPARE, segmentBytes / 2);
  }

  list() {
    const found = this.#segments().map(([id, name]) => [id, this.#directory.len(name)]);
    return found.filter(([, len]) => len <= this.#longest).flat();
  }

  create(id, len) {
    const name = this.#name(id);
    let fd;
    try {
      fd = this.#make(name, len);
    } catch (error) {
      fd = this.#useSpare(name, len);
      if (fd === undefined) throw error;
    }
    this.#keep(id, fd);
  }

  read(id, offset, buffer) {
    this.#with(id, 'read', (fd) => {
      for (let done = 0; done < buffer.length;) {
        const count = fs.readSync(fd, buffer, done, buffer.length - done, offset + done);
        if (count === 0) throw new Error('it is shorter than it was');
        done += count;
      }
    });
  }

  write(id, offset, bytes) {
    this.#with(id, 'write', (fd) => writeAll(fd, bytes, offset));
  }

  /** A file that was removed or replaced meanwhile keeps nothing. */
  sync(id) {
    this.#with(id, 'sync', (fd) => {
      fs.fdatasyncSync(fd);
      if (this.#directory.isThere(this.#name(id), fd)) return;
      this.#close(id);
      throw Object.assign(new Error('it was removed or replaced while it was open'), { code: 'ENOENT' });
    });
  }

  discard(id) {
    this.#close(id);
    // After an error it is tried again: without spares the same reports would be sent again after each start.
    this.#turnToSpare(this.#name(id));
    this.#directory.sync();
    this.#cutSpares();
  }

  /** Removes what a crash left of segments that were being made, or discarded. The directory was synced since. */
  removeLeftovers() {
    for (const name of this.#directory.names()) {
      if (name.endsWith(NEW) && this.#id(name.slice(0, -NEW.length)) !== undefined) this.#directory.remove(name);
    }
    this.#cutSpares();
  }

  closeAll() {
    for (const id of [...this.#handles.keys()]) this.#close(id);
  }

  #name(id) {
    return `${this.#prefix}-${String(id).padStart(8, '0')}.seg`;
  }

  #id(name) {
    const id = Number(/^[a-z]+-(\d{8,10})\.seg$/.exec(name)?.[1]);
    return id < 2 ** 32 && this.#name(id) === name ? id : undefined;
  }

  #segments() {
    const names = this.#directory.names().map((name) => [this.#id(name), name]);
    return names.filter(([id]) => id !== undefined);
  }

  #with(id, action, use) {
    const fd = this.#handles.get(id) ?? this.#directory.open(this.#name(id), action);
    this.#keep(id, fd);
    try {
      use(fd);
    } catch (error) {
      throw new StorageError(action, `${this.#name(id)} in ${this.#directory.path}`, error);
    }
  }

  #keep(id, fd) {
    this.#handles.delete(id);
    this.#handles.set(id, fd);
    if (this.#handles.size > HANDLES) this.#close(this.#handles.keys().next().value);
  }

  #close(id) {
    const fd = this.#handles.get(id);
    this.#handles.delete(id);
    if (fd !== undefined) fs.closeSync(fd);
  }

  /** Makes a segment in room that is free. */
  #make(name, len) {
    const [directory, fresh] = [this.#directory, name + NEW];
    try {
      this.#makeSpares();
      // What is there is left over from a call that failed.
      if (directory.has(fresh)) directory.remove(fresh);
      const fd = directory.create(fresh);
      return this.#or(fd, () => {
        this.#fill(fd, fresh, len);
        this.#nameIt(fresh, name, () => directory.remove(name));
      });
    } catch (error) {
      // The first error says more than one of this would.
      attempt(() => directory.remove(fresh));
      throw error;
    }
  }

  /** The descriptor, which is closed if something fails. */
  #or(fd, use) {
    try {
      use();
      return fd;
    } catch (error) {
      fs.closeSync(fd);
      throw error;
    }
  }

  /** Zeros written for real: blocks that are only set aside cost metadata at each append. */
  #fill(fd, name, len) {
    try {
      for (let at = 0; at < len; at += FILL.length) writeAll(fd, FILL.subarray(0, Math.min(FILL.length, len - at)), at);
      fs.fsyncSync(fd);
    } catch (error) {
      throw new StorageError('fill', `${name} in ${this.#directory.path}`, error);
    }
  }

  /** Gives a blank file its name, where nothing has it; takes it back if that is not durable. */
  #nameIt(fresh, name, takeBack) {
    const directory = this.#directory;
    if (directory.has(name)) throw new StorageError('create', `${name} in ${directory.path}`, Object.assign(new Error('there is a file of this name'), { code: 'EEXIST' }));
    directory.rename(fresh, name);
    try {
      directory.sync();
    } catch (error) {
      // If that fails, too, the next start discards it, as it is blank.
      attempt(takeBack);
      throw error;
    }
  }

  /** Makes the spares that are missing, and fills up those that are short. Their names survive a power cut when the directory is synced. */
  #makeSpares() {
    for (const [name, len] of this.#missingSpares()) {
      const fd = len === undefined ? this.#directory.create(name) : this.#directory.open(name);
      try {
        this.#fill(fd, name, SPARE);
      } catch (error) {
        if (len === undefined) attempt(() => this.#directory.remove(name));
        throw error;
      } finally {
        fs.closeSync(fd);
      }
    }
  }

  /** Makes a short segment of a spare; nothing if that cannot be. It stays a spare until it is whole. */
  #useSpare(name, len) {
    if (len > SPARE || len >= this.#segmentBytes) return undefined;
    for (const [spare, found] of this.#spares()) {
      if (found === undefined) continue;
      const fd = attempt(() => {
        const open = this.#directory.open(spare);
        return this.#or(open, () => {
          // In room that it has. Whatever stood there, a segment is blank at first.
          fs.ftruncateSync(open, Math.min(len, fs.fstatSync(open).size));
          this.#fill(open, spare, len);
          this.#nameIt(spare, name, () => this.#directory.rename(name, spare));
        });
      });
      if (fd !== undefined) return fd;
    }
    return undefined;
  }

  /**
   * Makes a missing spare of a segment that nobody needs any more, or removes that. It is a spare as soon as it has the name, whatever is in it
   * and however long it is: so neither an error nor a kill loses it.
   */
  #turnToSpare(name) {
    // What is not a file of this user alone becomes none.
    const isOurs = attempt(() => this.#directory.len(name)) !== undefined;
    const spare = isOurs ? this.#missingSpares(name).at(-1)?.[0] : undefined;
    if (spare !== undefined) this.#directory.rename(name, spare);
    // Else it was removed before, by a call that failed later on.
    else if (this.#directory.has(name)) this.#directory.remove(name);
  }

  /** Frees what spares have too much. That they are spares must be durable, or they are found under other names with less in them. */
  #cutSpares() {
    for (const [name, len] of this.#spares()) {
      if (!(len > SPARE)) continue;
      // If this fails they are cut later.
      attempt(() => {
        const fd = this.#directory.open(name);
        try {
          fs.ftruncateSync(fd, SPARE);
        } finally {
          fs.closeSync(fd);
        }
      });
    }
  }

  /** The spares there are or may be, with the length of those that are there. What else has such a name is left alone. */
  #spares() {
    const spares = [];
    for (let number = 1; number <= NAMES; number++) {
      const name = `spare-${this.#prefix}-${number}`;
      try {
        spares.push([name, this.#directory.len(name)]);
      } catch (error) {
        if (error.code === 'ENOENT') spares.push([name, undefined]);
      }
    }
    return spares;
  }

  /**
   * The spares that are to be made, or filled up: those come first. One of two counts as there while the newest segment, but for this one,
   * has notes alone: it will be a spare again.
   */
  #missingSpares(but) {
    const needed = SPARES - Number(this.#isSpareInUse(but));
    const first = this.#spares().slice(0, SPARES);
    const isWhole = ([, len]) => len >= SPARE;
    const missing = first.filter((spare) => !isWhole(spare)).sort(([, a], [, b]) => Number(a === undefined) - Number(b === undefined));
    return missing.slice(0, Math.max(0, needed - first.filter(isWhole).length));
  }

  /** Whether the newest segment but this one has notes alone: it is short, and stands for no others. */
  #isSpareInUse(but) {
    const others = (attempt(() => this.#segments()) ?? []).filter(([, name]) => name !== but);
    const newest = others.reduce((best, one) => (best && best[0] > one[0] ? best : one), undefined);
    return newest !== undefined && attempt(() => {
      const fd = this.#directory.open(newest[1]);
      try {
        const sources = new Uint8Array(SOURCES_LEN).fill(1);
        fs.readSync(fd, sources, 0, SOURCES_LEN, SOURCES_AT);
        return fs.fstatSync(fd).size === this.#lengthUnit && sources.every((byte) => byte === 0);
      } finally {
        fs.closeSync(fd);
      }
    }) === true;
  }
}

function writeAll(fd, bytes, offset) {
  for (let done = 0; done < bytes.length;) done += fs.writeSync(fd, bytes, done, bytes.length - done, offset + done);
}

/** What `use` gives; nothing if it fails. */
function attempt(use) {
  try {
    return use();
  } catch {
    return undefined;
  }
}
