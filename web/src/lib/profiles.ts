// Firmware profiles and templates of the gateway's HTTP contract, typed: the pages by which frames are read.

import { ask, read, write, type Told } from './api';
import { parseExact, type ExactJson } from './json';

export type Fault = Told['PageFault'];
export type ProfileRow = Told['Profile'];
export type Capture = Told['Capture'];
export type ProfilePage = Told['ProfilePage'];
export type Checked = Told['ProfileChecked'];
export type Ran = Omit<Told['ProfileRan'], 'fhir'> & { fhir: ExactJson[] };
export type Applied = Told['PageApplied'];
export type Templates = Told['Templates'];
export type TemplateRan = Omit<Told['TemplateRan'], 'fhir'> & { fhir: ExactJson[] };

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

const PATIENCE_MS = 60_000;

/** Numbers as the gateway wrote them: 2.0 stays 2.0. */
async function exact<T>(answer: Promise<Response>): Promise<T & { fhir: ExactJson[] }> {
  const text = await (await answer).text();
  const said = JSON.parse(text) as T;
  const whole = parseExact(text) as unknown as { fhir?: ExactJson[] };
  return { ...said, fhir: whole.fhir ?? [] };
}

export const profiles = {
  list: async () => (await read('/api/v1/profiles')).profiles,
  page: (id: string) => read('/api/v1/profiles/{profile}', { path: { profile: id } }),
  schema: async () => (await read('/api/v1/profiles/schema')) as Schema,
  check: (id: string, text: string) =>
    write('/api/v1/profiles/{profile}/check', { path: { profile: id }, body: { text } }, PATIENCE_MS),
  run: (id: string, text: string, on: { capture: string } | { entry: number }) =>
    exact<Omit<Ran, 'fhir'>>(
      ask('/api/v1/profiles/{profile}/run', { path: { profile: id }, body: { text, ...on } }, PATIENCE_MS),
    ),
  save: (id: string, text: string) =>
    write('/api/v1/profiles/{profile}/save', { path: { profile: id }, body: { text } }, PATIENCE_MS),
  revert: (id: string) => write('/api/v1/profiles/{profile}/revert', { path: { profile: id } }),
  /** Address of the packed folder. */
  folder: (id: string) => `/api/v1/profiles/${encodeURIComponent(id)}/export`,
  templates: () => read('/api/v1/templates'),
  template: async (name: string) => (await read('/api/v1/templates/{name}', { path: { name } })).text,
  checkTemplate: (name: string, text: string) =>
    write('/api/v1/templates/{name}/check', { path: { name }, body: { text } }, PATIENCE_MS),
  runTemplate: (name: string, entry: number, text?: string) =>
    exact<Omit<TemplateRan, 'fhir'>>(
      ask(
        '/api/v1/templates/{name}/run',
        { path: { name }, body: { entry, ...(text === undefined ? {} : { text }) } },
        PATIENCE_MS,
      ),
    ),
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
