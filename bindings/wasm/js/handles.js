// A browser's private files (OPFS) as the place of a durable courier, in a worker.
//
// There, files are opened and named asynchronously, and the log cannot wait. So there are slots, opened beforehand, and a segment is what a slot
// says: 16 bytes with its id and length, written last and taken away first, then the segment from byte 4096 on. A handle is exclusive, so no
// other worker or tab has the same slots open.
import { EdgeReportError } from './error.js';

const MAGIC = 0x544c_5345;
const HEAD = 16;
/** A sector of its own for the head. */
const START = 4096;
/** Beyond those that a full log has: for what takes the place of others, and after a sync that failed. */
const MORE = 4;
const FILL = new Uint8Array(64 * 1024);

/** Opens the slots in a directory: the two logs. */
export async function openHandles(directory, limits) {
  const opened = [];
  const close = () => opened.splice(0).forEach((handle) => handle.close());
  const slots = async (prefix, [segment, , total]) => {
    const names = new Set();
    for await (const name of directory.keys()) if (name.startsWith(`${prefix}-slot-`)) names.add(name);
    for (let number = 1; number <= Math.ceil(total / segment) + MORE; number++) names.add(`${prefix}-slot-${number}`);
    const handles = [];
    for (const name of names) {
      const file = await directory.getFileHandle(name, { create: true });
      const handle = await file.createSyncAccessHandle();
      opened.push(handle);
      handles.push(handle);
    }
    return new Slots(prefix, handles);
  };
  try {
    const live = await slots('live', limits.live);
    const dead = await slots('dead', limits.dead);
    return { name: directory.name, live, dead, restart() {}, removeLeftovers() {}, close };
  } catch (error) {
    close();
    if (error.name === 'NoModificationAllowedError') throw new EdgeReportError('SpoolInUse', { detail: `${directory.name} is open in another tab or worker`, cause: error });
    if (error instanceof TypeError) throw new EdgeReportError('NotUsable', { detail: 'files stay open in a dedicated worker only', cause: error });
    throw new EdgeReportError('Storage', { detail: `cannot open ${directory.name}: ${error.message}`, cause: error });
  }
}

class Slots {
  #prefix;
  #free = [];
  /** By id: the slot, and the segment's length. */
  #used = new Map();

  constructor(prefix, handles) {
    this.#prefix = prefix;
    for (const handle of handles) {
      const head = readHead(handle);
      // Of two with an id, neither of which can be: the one that was made first.
      if (head && !this.#used.has(head.id)) this.#used.set(head.id, { handle, len: head.len });
      else this.#free.push(handle);
    }
  }

  list() {
    return [...this.#used].flatMap(([id, { len }]) => [id, len]);
  }

  create(id, len) {
    this.#try('create', id, () => {
      if (this.#used.has(id)) throw new Error('there is a segment of this id');
      const handle = this.#free.at(-1);
      if (!handle) throw Object.assign(new Error('all slots are taken'), { name: 'QuotaExceededError' });
      try {
        handle.truncate(0);
        // Written for real, so that the room is there.
        for (let at = 0; at < START + len; at += FILL.length) writeAll(handle, FILL.subarray(0, Math.min(FILL.length, START + len - at)), at);
        handle.flush();
        writeAll(handle, new Uint8Array(headOf(id, len).buffer), 0);
        handle.flush();
      } catch (error) {
        handle.truncate(0);
        throw error;
      }
      this.#free.pop();
      this.#used.set(id, { handle, len });
    });
  }

  read(id, offset, buffer) {
    this.#try('read', id, () => {
      const { handle, len } = this.#slot(id);
      if (offset + buffer.length > len || handle.read(buffer, { at: START + offset }) !== buffer.length) throw new Error('it is shorter than it was');
    });
  }

  write(id, offset, bytes) {
    this.#try('write', id, () => {
      const { handle, len } = this.#slot(id);
      if (offset + bytes.length > len) throw new Error('it is shorter than it was');
      writeAll(handle, bytes, START + offset);
    });
  }

  sync(id) {
    this.#try('sync', id, () => this.#slot(id).handle.flush());
  }

  discard(id) {
    this.#try('discard', id, () => {
      const slot = this.#used.get(id);
      if (!slot) return;
      slot.handle.truncate(0);
      slot.handle.flush();
      this.#used.delete(id);
      this.#free.push(slot.handle);
    });
  }

  #slot(id) {
    const slot = this.#used.get(id);
    if (!slot) throw new Error('it is not there');
    return slot;
  }

  #try(action, id, use) {
    try {
      use();
    } catch (error) {
      const failed = new Error(`cannot ${action} segment ${id} of ${this.#prefix}: ${error.message}`, { cause: error });
      throw Object.assign(failed, { lacksRoom: error.name === 'QuotaExceededError' });
    }
  }
}

function headOf(id, len) {
  return Uint32Array.of(MAGIC, id, len, ~(MAGIC ^ id ^ len));
}

/** What a slot says that is in it; nothing if it is free, or was being made. */
function readHead(handle) {
  const bytes = new Uint8Array(HEAD);
  if (handle.read(bytes, { at: 0 }) !== HEAD) return undefined;
  const [, id, len] = new Uint32Array(bytes.buffer);
  const isWhole = headOf(id, len).every((word, index) => word === new Uint32Array(bytes.buffer)[index]);
  return isWhole && handle.getSize() >= START + len ? { id, len } : undefined;
}

function writeAll(handle, bytes, at) {
  for (let done = 0; done < bytes.length;) {
    const count = handle.write(bytes.subarray(done), { at: at + done });
    if (count === 0) throw Object.assign(new Error('no room'), { name: 'QuotaExceededError' });
    done += count;
  }
}
