// Many entries at once: what is held, sets that are frozen before they are done, saved views, and what would be sent again.

import { ask, query, read, write, type Entry, type EntryId, type EntryPage, type Told } from './api';
import { t } from './i18n';

export type Step = Told['HeldStep'];
export type HeldGroup = Told['HeldGroup'];
export type Held = Told['Held'];

/** Which entries. `text` may be a patient's number: it travels in a body and never stands in an address. */
export interface Terms {
  state?: string;
  link?: string;
  device?: string;
  from?: string;
  until?: string;
  kind?: string;
  message?: string;
  reason?: string;
  text?: string;
  before?: string;
}

export type Deed = Told['Deed'];
export type FrozenSet = Told['Set'];
export type Comparison = Told['Comparison'];
export type SavedView = Told['SavedView'];

const set = (terms: Terms): Terms =>
  Object.fromEntries(Object.entries(terms).filter(([, value]) => value !== undefined && value !== ''));

export const sets = {
  held: () => read('/api/v1/held'),
  /** By address where no patient is named, else by body. */
  find(terms: Terms, limit = 50): Promise<EntryPage> {
    if (!terms.text) {
      const { kind, text: _, ...rest } = terms;
      return read('/api/v1/entries', {
        query: { ...set(rest), ...(kind ? { type: kind } : {}), limit } as object,
      });
    }
    const { before, ...rest } = set(terms);
    const body = { ...rest, limit, ...(before ? { before: Number(before) } : {}) };
    return write('/api/v1/search', { body }, 60_000);
  },
  freeze(deed: Deed, terms: Terms): Promise<FrozenSet> {
    const { before: _, ...filter } = set(terms);
    return write('/api/v1/sets', { body: { deed, filter } }, 60_000);
  },
  set: (token: string) => read('/api/v1/sets/{token}', { path: { token } }),
  run: (token: string, count: number) =>
    write('/api/v1/sets/{token}/run', { path: { token }, body: { count } }),
  compare: (id: EntryId) => read('/api/v1/entries/{id}/compare', { path: { id } }),
  views: async () => (await read('/api/v1/views')).views,
  async saveView(view: SavedView) {
    await ask('/api/v1/views', { body: view });
  },
  async removeView(name: string) {
    await ask('/api/v1/views/remove', { body: { name } });
  },
};

/** What takes the cause of a group away, in words, and where. */
export function nextStep(group: HeldGroup): { says: string; links: { href: string; name: string }[] } {
  const profiles = [...new Set(group.links.map(({ profile }) => profile))].filter(
    (profile): profile is string => profile !== null && profile !== 'by-sender' && profile !== 'hl7-system',
  );
  const pages = profiles.map((id) => ({
    href: `/profiles/edit${query({ id })}`,
    name: t('Open {id}', { id }),
  }));
  switch (group.step) {
    case 'pairing':
      return {
        says: t('Accept the sender: then what it sent goes by itself.'),
        links: [{ href: '/pairing', name: t('Open Pairing') }],
      };
    case 'association':
      return {
        says: t('Say whose it is: then it goes by itself.'),
        links: [{ href: '/patients', name: t('Open Patients') }],
      };
    case 'link':
      return {
        says: t('Its link is gone. Put a link of that name back, then release.'),
        links: [{ href: '/pairing', name: t('Open Pairing') }],
      };
    case 'server':
      return {
        says: t(
          'The FHIR server refused it. Its words say what it wants; mend it there, or in what is sent.',
        ),
        links: [{ href: '/upstream', name: t('Open Upstream') }, ...pages],
      };
    case 'template':
      return {
        says: t('No template reads it as it is. Try templates on it.'),
        links: [
          { href: `/templates${query({ entry: String(group.newest[0] ?? '') })}`, name: t('Open Templates') },
        ],
      };
    case 'disk':
      return { says: t('Its bytes changed on the disk. Ask for the result at the device.'), links: [] };
    case 'profile':
      return {
        says: t('The firmware profile does not read it. Mend the page on one of these, then release them.'),
        links: pages.map((page) => ({
          ...page,
          href: `${page.href}&entry=${encodeURIComponent(String(group.newest[0] ?? ''))}`,
        })),
      };
  }
}

/** One line of two texts laid side by side. */
export interface DiffLine {
  sign: ' ' | '-' | '+';
  text: string;
}

/** Lines of `before` and `after`, in order, by the longest common run of lines. Beyond a size: all out, all in. */
export function diff(before: string, after: string): DiffLine[] {
  const a = before.split('\n');
  const b = after.split('\n');
  let head = 0;
  while (head < a.length && head < b.length && a[head] === b[head]) head += 1;
  let tail = 0;
  while (
    tail < a.length - head &&
    tail < b.length - head &&
    a[a.length - 1 - tail] === b[b.length - 1 - tail]
  )
    tail += 1;
  const left = a.slice(head, a.length - tail);
  const right = b.slice(head, b.length - tail);
  const same = (lines: string[]): DiffLine[] => lines.map((text) => ({ sign: ' ', text }));
  return [...same(a.slice(0, head)), ...middle(left, right), ...same(a.slice(a.length - tail))];
}

function middle(a: string[], b: string[]): DiffLine[] {
  const out = a.map((text): DiffLine => ({ sign: '-', text }));
  const into = b.map((text): DiffLine => ({ sign: '+', text }));
  if (a.length === 0 || b.length === 0 || a.length * b.length > 1_000_000) return [...out, ...into];
  const width = b.length + 1;
  const run = new Uint32Array((a.length + 1) * width);
  const at = (i: number, j: number) => run[i * width + j] ?? 0;
  for (let i = a.length - 1; i >= 0; i -= 1)
    for (let j = b.length - 1; j >= 0; j -= 1)
      run[i * width + j] = a[i] === b[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1));
  const lines: DiffLine[] = [];
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      lines.push({ sign: ' ', text: a[i] ?? '' });
      i += 1;
      j += 1;
    } else if (j >= b.length || (i < a.length && at(i + 1, j) >= at(i, j + 1))) {
      lines.push({ sign: '-', text: a[i] ?? '' });
      i += 1;
    } else {
      lines.push({ sign: '+', text: b[j] ?? '' });
      j += 1;
    }
  }
  return lines;
}

/** The changed lines with `around` lines on both sides; a gap is told by its length. */
export function excerpt(lines: DiffLine[], around = 3): (DiffLine | { skipped: number })[] {
  const near = lines.map((_, at) =>
    lines.slice(Math.max(0, at - around), at + around + 1).some(({ sign }) => sign !== ' '),
  );
  const shown: (DiffLine | { skipped: number })[] = [];
  let skipped = 0;
  lines.forEach((line, at) => {
    if (near[at]) {
      if (skipped > 0) shown.push({ skipped });
      skipped = 0;
      shown.push(line);
    } else skipped += 1;
  });
  if (skipped > 0 && shown.length > 0) shown.push({ skipped });
  return shown;
}

export type { Entry };
