// The directory of a spool in Node: held open, for its owner alone. docs/spool-directory.md is the contract.
import fs from 'node:fs';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { EdgeReportError } from './error.js';

const { O_CREAT, O_DIRECTORY, O_EXCL, O_NOCTTY, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_RDWR } = fs.constants;
const IS_UNIX = process.platform !== 'win32';
/** Waits for nothing: a pipe in place of a file would. What a system does not know is not there. */
const CAREFUL = O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
const LACKS_ROOM = ['ENOSPC', 'EDQUOT'];
/** Why the system opens nothing now, whatever is in it. */
const OUTAGE = ['EMFILE', 'ENFILE', 'ENOMEM', 'EROFS'];
/** What the names of a spool's files begin with. */
const SPOOLS = /^(live-|dead-|spare-|owner)/;
/** A path as a shell takes it without quotes. */
const PLAIN = /^[\p{L}\p{N}/._+:@%-]+$/u;

/** What failed with a file, and on which one. */
export class StorageError extends Error {
  constructor(action, path, error) {
    // The system's own text has the path as it was opened.
    super(`cannot ${action} ${path}: ${error.syscall ? error.message.split(', ')[0] : error.message}`, { cause: error });
    this.code = error.code;
    this.lacksRoom = LACKS_ROOM.includes(error.code);
    this.isOutage = OUTAGE.includes(error.code);
  }
}

export class Directory {
  #fd;
  /** Names in the directory are found by its descriptor where the system has a way to say that: a path that is swapped leads nowhere. */
  #base;

  /** Makes the directory, if only its parent is there, and opens it. */
  constructor(place) {
    this.path = resolve(place instanceof URL ? fileURLToPath(place) : place);
    try {
      fs.mkdirSync(this.path, { mode: 0o700 });
    } catch (error) {
      if (error.code !== 'EEXIST') throw new StorageError('create', this.path, error);
    }
    this.#base = this.path;
    if (IS_UNIX) this.#hold();
  }

  #hold() {
    try {
      this.#fd = fs.openSync(this.path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    } catch (error) {
      if (fs.lstatSync(this.path, { throwIfNoEntry: false })?.isSymbolicLink()) throw unsafe(`${this.path} is a symbolic link: name the directory that it points to`);
      throw new StorageError('open', this.path, error);
    }
    try {
      this.#check();
      const base = `/proc/self/fd/${this.#fd}`;
      if (process.platform === 'linux' && fs.existsSync(`${base}/.`)) this.#base = base;
      // At each start: the one that made it may have been cut off right after.
      this.#syncParent();
    } catch (error) {
      this.close();
      throw error;
    }
  }

  #check() {
    const found = fs.fstatSync(this.#fd);
    const user = process.geteuid();
    const mode = found.mode & 0o7777;
    if (found.uid === user && !(mode & 0o077)) return;
    const isRoots = found.uid === 0 && user !== 0;
    // To give such a directory to this user alone would harm the others.
    if (mode & 0o1000 || isRoots || this.#hasOthersFiles()) throw unsafe(`${this.path} is a directory that others use, too: name one of its own`);
    if (found.uid !== user) {
      throw unsafe(`${this.path} belongs to user ${found.uid}, and this process runs as user ${user}: run it as user ${found.uid}, or chown -R ${user} ${inShell(this.path)}`);
    }
    const may = [mode & 0o055 && 'read', mode & 0o022 && 'written'].filter(Boolean).join(' and ');
    throw unsafe(`${this.path} may be ${may} by others than its owner (mode ${mode.toString(8).padStart(4, '0')}): chmod 700 ${inShell(this.path)}`);
  }

  /** Whether anything in it is not a spool's. */
  #hasOthersFiles() {
    return this.names().some((name) => !SPOOLS.test(name));
  }

  #syncParent() {
    this.#at('sync', '..', (path) => {
      const parent = fs.openSync(path, O_RDONLY | O_DIRECTORY);
      try {
        fs.fsyncSync(parent);
      } finally {
        fs.closeSync(parent);
      }
    });
  }

  /** Makes names that were added or removed survive a power cut. */
  sync() {
    if (this.#fd === undefined) return;
    this.#at('sync', '.', () => fs.fsyncSync(this.#fd));
  }

  names() {
    return this.#at('list', '.', (path) => fs.readdirSync(path));
  }

  /** Makes a file for its owner alone where there is none. */
  create(name, action = 'create') {
    return this.#at(action, name, (path) => fs.openSync(path, O_CREAT | O_EXCL | O_RDWR | CAREFUL, 0o600));
  }

  /** Opens a file that is nobody else's. */
  open(name, action = 'open') {
    return this.#at(action, name, (path) => {
      let fd;
      try {
        fd = fs.openSync(path, O_RDWR | CAREFUL);
      } catch (error) {
        throw error.code === 'ELOOP' ? is('a symbolic link') : error;
      }
      try {
        checkFile(fs.fstatSync(fd));
      } catch (error) {
        fs.closeSync(fd);
        throw error;
      }
      return fd;
    });
  }

  /** The length of a file that is nobody else's. */
  len(name) {
    return this.#at('use', name, (path) => {
      const found = fs.lstatSync(path);
      checkFile(found);
      return found.size;
    });
  }

  has(name) {
    return this.#at('use', name, (path) => fs.lstatSync(path, { throwIfNoEntry: false }) !== undefined);
  }

  /** Whether the open file still has its name: else nobody finds what is written to it at the next start. */
  isThere(name, fd) {
    return this.#at('sync', name, (path) => {
      const [found, opened] = [fs.lstatSync(path, { bigint: true, throwIfNoEntry: false }), fs.fstatSync(fd, { bigint: true })];
      return found?.dev === opened.dev && found.ino === opened.ino;
    });
  }

  rename(from, to) {
    this.#at('rename', from, (path) => fs.renameSync(path, this.#in(to)));
  }

  remove(name) {
    this.#at('remove', name, (path) => fs.unlinkSync(path));
  }

  /** The text of a small file; nothing if it is not there. */
  read(name, longest) {
    let fd;
    try {
      fd = this.open(name, 'use');
    } catch (error) {
      if (error.code === 'ENOENT') return undefined;
      throw error;
    }
    try {
      const bytes = Buffer.alloc(longest);
      return bytes.toString('utf8', 0, fs.readSync(fd, bytes, 0, longest, 0));
    } finally {
      fs.closeSync(fd);
    }
  }

  close() {
    if (this.#fd !== undefined) fs.closeSync(this.#fd);
    this.#fd = undefined;
  }

  /** Runs `use` on a path; what fails says on which file. */
  #at(action, name, use) {
    try {
      return use(this.#in(name));
    } catch (error) {
      throw new StorageError(action, name.startsWith('.') ? this.path : `${name} in ${this.path}`, error);
    }
  }

  /** Not joined: that would take `..` for the parent of the descriptor's name. */
  #in(name) {
    return `${this.#base}/${name}`;
  }
}

function unsafe(detail) {
  return new EdgeReportError('SpoolDirectory', { detail });
}

function checkFile(found) {
  if (found.isSymbolicLink()) throw is('a symbolic link');
  if (!found.isFile()) throw is('not a file');
  if (!IS_UNIX) return;
  if (found.uid !== process.geteuid()) throw is(`a file of user ${found.uid}`);
  // One that was removed since is noticed when it is synced.
  if (found.nlink > 1) throw is('a file with other names, too (hard links)');
}

function is(what) {
  return new Error(`it is ${what}`);
}

function inShell(path) {
  return PLAIN.test(path) ? path : `'${path.replaceAll("'", String.raw`'\''`)}'`;
}
