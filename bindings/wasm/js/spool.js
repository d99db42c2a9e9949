// A durable courier's outbox: the log of a spool, over a place that can keep files.
import { EdgeReportError } from './error.js';
import { glue } from './edge_report_spool.glue.js';
import { compile, instantiate } from './module.js';
import { platform } from './platform.js';

const MIB = 1024 * 1024;
const BLOCK = 4096;
const SMALL = 64 * 1024;
/** A log that is full has so many segments at the most, and at the least. */
const FULL = 64;
/** By default where all files must be opened beforehand. */
const FULL_OF_HANDLES = 16;
const FEWEST = 4;
/** What a module can count. */
const MOST_BYTES = 2 ** 32 - BLOCK;

/** The module, compiled once. */
let compiled;

/** Opens a place: a path where there are paths, or a directory's handle of a browser. */
export async function openSpool(place, { maxBytes = 64 * MIB, segmentBytes, deadLetterBytes = 16 * MIB, durability = 'each', module }) {
  const isHandle = typeof place?.getFileHandle === 'function';
  const limits = { live: room('maxBytes', maxBytes, segmentBytes, isHandle), dead: room('deadLetterBytes', deadLetterBytes, undefined, isHandle) };
  const batch = batchOf(durability);
  compiled ??= await compile(module ?? bundled());
  const kept = await openPlace(place, isHandle, limits);
  let failure;
  const fails = (error) => {
    failure = error;
  };
  const live = guarded(kept.live, fails);
  const dead = guarded(kept.dead, fails);
  const why = (error) => (error.code === 'Storage' && failure ? new EdgeReportError('Storage', { detail: failure.message, cause: failure }) : error);
  return {
    why,
    /** Reads the log, whatever a crash or a trap left of it. */
    start(policy, now, random) {
      const { Courier } = instantiate(glue, compiled);
      kept.restart();
      try {
        const courier = Courier.open(live, limits.live, dead, limits.dead, batch.reports, batch.ms, policy, now, random);
        // Only now: files of another version are left alone.
        kept.removeLeftovers();
        return courier;
      } catch (error) {
        throw typeof error === 'number' ? why(new EdgeReportError(error, { detail: kept.name })) : error;
      }
    },
    close: () => kept.close(),
  };
}

function bundled() {
  if (!platform.spoolModule) throw new EdgeReportError('NotUsable', { detail: 'give edge_report_spool.wasm as `module`' });
  return platform.spoolModule();
}

async function openPlace(place, isHandle, limits) {
  if (isHandle) {
    const { openHandles } = await import('./handles.js');
    return openHandles(place, limits);
  }
  if (typeof place !== 'string' && !(place instanceof URL)) throw new TypeError('a place is a path or the handle of a directory');
  if (!platform.openDirectory) throw new EdgeReportError('NotUsable', { detail: 'there are no paths here: give the handle of a directory' });
  return platform.openDirectory(place, limits);
}

/** What a log has: the bytes of a segment, of the shortest, and of all. */
function room(name, bytes, segmentBytes, isHandle) {
  const wrong = (detail) => new EdgeReportError('SpoolOptions', { detail });
  if (!Number.isSafeInteger(bytes) || bytes > MOST_BYTES) throw wrong(`${name} is a number of bytes, less than 4 GiB`);
  if (segmentBytes !== undefined && !Number.isSafeInteger(segmentBytes)) throw wrong('segmentBytes is a number of bytes');
  const quarter = Math.floor(bytes / FEWEST / BLOCK) * BLOCK;
  if (quarter <= 0) throw wrong(`${name} is ${bytes}; ${FEWEST * BLOCK} or more is needed`);
  const share = Math.ceil(bytes / FULL);
  const given = segmentBytes ?? Math.min(Math.max(isHandle ? bytes / FULL_OF_HANDLES : share, SMALL), quarter);
  const segment = Math.ceil(given / BLOCK) * BLOCK;
  if (segment < share || segment > quarter) throw wrong(`segmentBytes is ${given}; ${share} to ${quarter}, a 64th to a quarter of maxBytes, is needed`);
  // Slots keep no room for short ones: all have one length.
  return Uint32Array.of(segment, isHandle ? segment : Math.min(BLOCK, segment / 2), bytes);
}

function batchOf(durability) {
  if (durability === 'each') return { reports: undefined, ms: 0 };
  const { reports, ms } = durability ?? {};
  const isCount = (value) => Number.isSafeInteger(value) && value >= 1 && value < 2 ** 32;
  if (!isCount(reports) || !isCount(ms)) throw new EdgeReportError('SpoolOptions', { detail: "durability is 'each' or { reports, ms }" });
  return { reports, ms };
}

/** What the module's functions say. */
const [DONE, FAILED, NO_ROOM, OUTAGE] = [0, 1, 2, 3];

/** A place's segments, as the module wants them: nothing is thrown through it. */
function guarded(segments, fails) {
  const guard = (use) => {
    try {
      use();
      return DONE;
    } catch (error) {
      fails(error);
      if (error.isOutage) return OUTAGE;
      return error.lacksRoom ? NO_ROOM : FAILED;
    }
  };
  return {
    list() {
      let listed;
      guard(() => {
        listed = segments.list();
      });
      return listed;
    },
    create: (id, len) => guard(() => segments.create(id, len)),
    read: (id, offset, buffer) => guard(() => segments.read(id, offset, buffer)),
    write: (id, offset, bytes) => guard(() => segments.write(id, offset, bytes)),
    sync: (id) => guard(() => segments.sync(id)),
    discard: (id) => guard(() => segments.discard(id)),
  };
}
