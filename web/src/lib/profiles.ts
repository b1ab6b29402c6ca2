// Firmware profiles and templates of the gateway's HTTP contract, typed: the pages by which frames are read.

import { change, load, seg, type Entry, type EntryMeasurement } from './api';
import { parseExact, type ExactJson } from './json';

export interface Fault {
  line: number;
  column: number;
  width: number;
  message: string;
  source_line: string;
}

export interface ProfileRow {
  id: string;
  manufacturer: string;
  model: string;
  firmware: string | null;
  verified: string;
  codec: string;
  hash: string;
  source: 'shipped' | 'folder' | 'desk';
  /** Another page of this id is below it. */
  overrides: boolean;
  saved: { by: string; at: string } | null;
  links: string[];
  senders: number;
  captures: number;
}

export interface Capture {
  name: string;
  topic: string | null;
  golden: boolean;
  raw: { text: string; hex: string; sha256: string; bytes: number };
}

export interface ProfilePage extends Omit<ProfileRow, 'captures'> {
  text: string;
  /** What would be in force without the page saved at the desk. */
  before: string | null;
  caveats: { text: string; source: string }[];
  captures: Capture[];
  recent: Entry[];
}

export interface Checked {
  faults: Fault[];
  device: string | null;
  metrics: {
    matches: string;
    label: string;
    read_as: string;
    mdc: string;
    loinc: string;
    unit: string;
    group: string;
  }[];
}

export interface Ran {
  faults: Fault[];
  fits: boolean | null;
  measurements: EntryMeasurement[];
  findings: { code: string; place: string | null; text: string }[];
  held: string | null;
  ignored: string | null;
  fhir: ExactJson[];
  says: string;
  golden: string | null;
  before: string | null;
}

export interface Applied {
  at: string;
  hash: string;
  links: string[];
  restarted: string[];
  held: number;
}

export interface Templates {
  pages: { name: string; source: 'shipped' | 'folder' | 'desk'; bytes: number }[];
  messages: [string, string[]][];
}

export interface TemplateRan {
  faults: Fault[];
  findings: { code: string; place: string | null; text: string }[];
  fhir: ExactJson[];
  detail: string | null;
}

/** A JSON Schema as far as completion reads it. */
export interface Schema {
  $ref?: string;
  type?: string | string[];
  description?: string;
  enum?: unknown[];
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  anyOf?: Schema[];
  oneOf?: Schema[];
  allOf?: Schema[];
  additionalProperties?: Schema | boolean;
  $defs?: Record<string, Schema>;
}

async function posted<T>(path: string, body: object): Promise<T> {
  return (await (await change(path, body, 60_000)).json()) as T;
}

/** Numbers as the gateway wrote them: 2.0 stays 2.0. */
async function exact<T extends { fhir: ExactJson[] }>(path: string, body: object): Promise<T> {
  const text = await (await change(path, body, 60_000)).text();
  const said = JSON.parse(text) as T;
  const whole = parseExact(text) as unknown as { fhir?: ExactJson[] };
  return { ...said, fhir: whole.fhir ?? [] };
}

export const profiles = {
  list: async () => (await load<{ profiles: ProfileRow[] }>('/profiles')).profiles,
  page: (id: string) => load<ProfilePage>(`/profiles/${seg(id)}`),
  schema: () => load<Schema>('/profiles/schema'),
  check: (id: string, text: string) => posted<Checked>(`/profiles/${seg(id)}/check`, { text }),
  run: (id: string, text: string, on: { capture: string } | { entry: number }) =>
    exact<Ran>(`/profiles/${seg(id)}/run`, { text, ...on }),
  save: (id: string, text: string) => posted<Applied>(`/profiles/${seg(id)}/save`, { text }),
  async revert(id: string): Promise<Applied> {
    return (await (await change(`/profiles/${seg(id)}/revert`)).json()) as Applied;
  },
  /** Address of the packed folder. */
  folder: (id: string) => `/api/v1/profiles/${seg(id)}/export`,
  templates: () => load<Templates>('/templates'),
  template: async (name: string) => (await load<{ text: string }>(`/templates/${seg(name)}`)).text,
  checkTemplate: (name: string, text: string) =>
    posted<{ faults: Fault[] }>(`/templates/${seg(name)}/check`, { text }),
  runTemplate: (name: string, entry: number, text?: string) =>
    exact<TemplateRan>(`/templates/${seg(name)}/run`, { entry, ...(text === undefined ? {} : { text }) }),
};

/** What may be written where the cursor stands. */
export interface Offer {
  word: string;
  says: string;
  /** From where in the text it replaces. */
  from: number;
}

/** The name of the section the cursor is in, as dotted keys, and the line up to the cursor. */
export function place(text: string, cursor: number): { section: string[]; line: string; start: number } {
  const before = text.slice(0, cursor);
  const start = before.lastIndexOf('\n') + 1;
  const heads = [...before.slice(0, start).matchAll(/^\s*\[{1,2}([^\][\n]+)\]{1,2}/gm)];
  const section = heads.at(-1)?.[1]?.trim() ?? '';
  return {
    section: section ? section.split('.').map((part) => part.trim().replace(/^"|"$/g, '')) : [],
    line: before.slice(start),
    start,
  };
}

function resolve(schema: Schema | undefined, root: Schema): Schema | undefined {
  let found = schema;
  for (let hops = 0; found?.$ref && hops < 8; hops += 1) {
    const name = found.$ref.replace('#/$defs/', '');
    found = root.$defs?.[decodeURIComponent(name.replace(/~1/g, '/').replace(/~0/g, '~'))];
  }
  return found;
}

/** All that a schema may be, its alternatives taken apart, items of lists among them. */
function shapes(schema: Schema | undefined, root: Schema, depth = 0): Schema[] {
  const own = resolve(schema, root);
  if (!own || depth > 4) return [];
  const others = [...(own.anyOf ?? []), ...(own.oneOf ?? []), ...(own.allOf ?? [])];
  const items = own.items ? shapes(own.items, root, depth + 1) : [];
  return [own, ...others.flatMap((other) => shapes(other, root, depth + 1)), ...items];
}

function within(section: string[], root: Schema): Schema[] {
  let here = shapes(root, root);
  for (const key of section) {
    here = here.flatMap((schema) => {
      const member = schema.properties?.[key];
      if (member) return shapes(member, root);
      const free = schema.additionalProperties;
      return typeof free === 'object' ? shapes(free, root) : [];
    });
  }
  return here;
}

/** Keys, sections or words that fit where the cursor stands, by the JSON Schema of a page. */
export function offers(text: string, cursor: number, root: Schema): Offer[] {
  const { section, line, start } = place(text, cursor);
  const head = /^\s*(\[{1,2})([\w.-]*)$/.exec(line);
  if (head) {
    const typed = (head[2] ?? '').split('.');
    const last = typed.pop() ?? '';
    const from = cursor - last.length;
    return keysOf(within(typed, root), last, from, (schema) =>
      shapes(schema, root).some(({ properties, additionalProperties }) => properties ?? additionalProperties),
    );
  }
  const value = /^\s*([\w-]+)\s*=\s*(?:\[\s*(?:"[^"]*"\s*,\s*)*)?"([^"]*)$/.exec(line);
  if (value) {
    const [, key = '', typed = ''] = value;
    const here = within([...section, key], root);
    const words = here.flatMap((schema) => (schema.enum ?? []).filter((word) => typeof word === 'string'));
    return [...new Set(words as string[])]
      .filter((word) => word.startsWith(typed) && word !== typed)
      .map((word) => ({ word, says: '', from: cursor - typed.length }));
  }
  const key = /^\s*([\w-]*)$/.exec(line);
  if (!key) return [];
  const typed = key[1] ?? '';
  const taken = new Set(keysWritten(text, start));
  return keysOf(within(section, root), typed, cursor - typed.length, () => true).filter(
    ({ word }) => !taken.has(word),
  );
}

function keysOf(schemas: Schema[], typed: string, from: number, fits: (schema: Schema) => boolean): Offer[] {
  const found = new Map<string, Offer>();
  for (const { properties } of schemas)
    for (const [word, schema] of Object.entries(properties ?? {}))
      if (word.startsWith(typed) && word !== typed && fits(schema) && !found.has(word))
        found.set(word, { word, says: schema.description ?? '', from });
  return [...found.values()].slice(0, 12);
}

/** Keys that the section of this line says already. */
function keysWritten(text: string, start: number): string[] {
  const above = text.slice(0, start);
  const heads = [...above.matchAll(/^\s*\[{1,2}[^\][\n]+\]{1,2}/gm)];
  const begin = heads.at(-1)?.index ?? 0;
  const rest = text.slice(start).search(/^\s*\[/m);
  const end = rest < 0 ? text.length : start + rest;
  return [...text.slice(begin, end).matchAll(/^\s*([\w-]+)\s*=/gm)].map((match) => match[1] ?? '');
}
