// The last 24 hours of a link in quarters of an hour: what stands in the picture, and the same in words.

import type { Told } from './api';

export type Day = Told['Day'];

export const QUARTER_MS = 15 * 60_000;

export interface Cell {
  begins_ms: number;
  /** `null`: not known. */
  entries: number | null;
  held: number;
  /** The box itself did not run for most of it. */
  off: boolean;
}

export interface Strip {
  cells: Cell[];
  entries: number;
  held: number;
  /** Quarters of an hour without an entry, while the box ran, since the link's first one of the day; the one that is not over is none. */
  silent: number;
  /** Quarters of an hour in which the box was off. */
  off: number;
  /** The last stretch of them. */
  gap: { from_ms: number; until_ms: number } | null;
}

/** Whether the box was off for more than half of the quarter of an hour that begins then. */
function isOff(stretches: Day['off'], begins_ms: number): boolean {
  const within = stretches.reduce((sum, { from, until }) => {
    const end = Math.min(Date.parse(until), begins_ms + QUARTER_MS);
    return sum + Math.max(0, end - Math.max(Date.parse(from), begins_ms));
  }, 0);
  return 2 * within > QUARTER_MS;
}

export function stripOf(day: Day, link: string): Strip {
  const cells = day.quarters.map(({ begins, entries, held }) => ({
    begins_ms: Date.parse(begins),
    entries: entries && (entries[link] ?? 0),
    held: held[link] ?? 0,
    off: !(entries?.[link] ?? 0) && isOff(day.off, Date.parse(begins)),
  }));
  const first = cells.findIndex(({ entries }) => (entries ?? 0) > 0);
  const over = first < 0 ? [] : cells.slice(first, -1);
  const isSilent = (cell: Cell | undefined) => cell?.entries === 0 && !cell.off;
  const silent = over.filter(isSilent);
  const last = silent.at(-1);
  let gap: Strip['gap'] = null;
  if (last) {
    const end = over.indexOf(last);
    let from = end;
    while (isSilent(over[from - 1])) from -= 1;
    const begin = over[from] ?? last;
    gap = { from_ms: begin.begins_ms, until_ms: last.begins_ms + QUARTER_MS };
  }
  return {
    cells,
    entries: cells.reduce((sum, { entries }) => sum + (entries ?? 0), 0),
    held: cells.reduce((sum, { held }) => sum + held, 0),
    silent: silent.length,
    off: cells.filter(({ off }) => off).length,
    gap,
  };
}

/** Whether this quarter is a gap: the box ran, the link was silent after its first entry of the day, and it is over. */
export function isGap(strip: Strip, at: number): boolean {
  const first = strip.cells.findIndex(({ entries }) => (entries ?? 0) > 0);
  const cell = strip.cells[at];
  return first >= 0 && at > first && at < strip.cells.length - 1 && cell?.entries === 0 && !cell.off;
}

/** Height of a bar, 0 to 1: by the square root, so that one entry is seen beside a thousand. */
export function heightOf(entries: number, most: number): number {
  return entries <= 0 || most <= 0 ? 0 : Math.max(0.2, Math.sqrt(entries / most));
}

export interface Paths {
  bars: string;
  held: string;
  gaps: string;
  off: string;
  unknown: string;
}

/** Outlines in a box of one unit a quarter and `high` units. */
export function pathsOf(strip: Strip, high: number): Paths {
  const most = Math.max(...strip.cells.map(({ entries }) => entries ?? 0), 1);
  const paths: Paths = { bars: '', held: '', gaps: '', off: '', unknown: '' };
  const box = (x: number, top: number, tall: number) => `M${x + 0.1} ${top}h0.8v${tall}h-0.8z`;
  strip.cells.forEach(({ entries, held, off }, at) => {
    // Side by side they are one bar: the box has no gaps between quarters of an hour.
    if (off) paths.off += `M${at} ${high / 2 - 1.5}h1v3h-1z`;
    else if (entries === null) paths.unknown += box(at, high - 1, 1);
    else if (entries > 0) {
      const tall = Math.round(heightOf(entries, most) * (high - 4) * 100) / 100;
      paths.bars += box(at, high - tall, tall);
    } else if (isGap(strip, at)) paths.gaps += box(at, 4, high - 4);
    if (held > 0) paths.held += box(at, 0, 3);
  });
  return paths;
}
