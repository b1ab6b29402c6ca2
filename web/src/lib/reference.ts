// The gateway's own description of its API (OpenAPI 3.1), as the page about it shows it.

export interface Shape {
  $ref?: string;
  type?: string | string[];
  format?: string;
  description?: string;
  enum?: (string | number | null)[];
  properties?: Record<string, Shape>;
  required?: string[];
  items?: Shape;
  prefixItems?: Shape[];
  oneOf?: Shape[];
  allOf?: Shape[];
  minimum?: number;
  maximum?: number;
}

interface Parameter {
  name: string;
  in: 'path' | 'query';
  required: boolean;
  description?: string;
  schema: Shape;
}

type Content = Record<string, { schema: Shape; 'x-events'?: Record<string, Shape> }>;

interface Reply {
  $ref?: string;
  description?: string;
  content?: Content;
}

interface Described {
  operationId: string;
  tags: string[];
  summary: string;
  description: string;
  security: Record<string, string[]>[];
  parameters?: Parameter[];
  requestBody?: { required: boolean; content: Content };
  responses: Record<string, Reply>;
}

export interface OpenApi {
  info: { version: string; description: string };
  tags: { name: string; description: string }[];
  paths: Record<string, Record<string, Described>>;
  components: { schemas: Record<string, Shape>; responses: Record<string, Reply> };
}

export interface Operation extends Described {
  method: string;
  path: string;
}

export interface Group {
  name: string;
  says: string;
  operations: Operation[];
}

/** Operations by topic, those only that hold every word that is looked for. */
export function groups(api: OpenApi, text = ''): Group[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const all = Object.entries(api.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({
      ...operation,
      path,
      method: method.toUpperCase(),
    })),
  );
  const fits = ({ method, path, operationId, summary }: Operation) => {
    const own = `${method} ${path} ${operationId} ${summary}`.toLowerCase();
    return words.every((word) => own.includes(word));
  };
  return api.tags
    .map(({ name, description }) => ({
      name,
      says: description,
      operations: all.filter((operation) => operation.tags.includes(name) && fits(operation)),
    }))
    .filter(({ operations }) => operations.length > 0);
}

const nameOf = (ref: string): string => ref.slice(ref.lastIndexOf('/') + 1);

/** A type in one line: `[Entry]`, `integer or null`, `"up" | "down"`. */
export function typeOf(shape: Shape): string {
  if (shape.$ref) return nameOf(shape.$ref);
  if (shape.enum) return shape.enum.map((word) => JSON.stringify(word)).join(' | ');
  if (shape.oneOf) return shape.oneOf.map(typeOf).join(' or ');
  if (shape.allOf) return shape.allOf.map(typeOf).join(' and ');
  const kinds = [shape.type ?? 'anything'].flat();
  return kinds
    .map((kind) => {
      if (kind !== 'array') return shape.format && kind !== 'null' ? `${kind} (${shape.format})` : kind;
      if (shape.prefixItems) return `[${shape.prefixItems.map(typeOf).join(', ')}]`;
      return `[${typeOf(shape.items ?? {})}]`;
    })
    .join(' or ');
}

/** The types named in one, each once. */
export function named(shape: Shape): string[] {
  const inner = [shape.items, ...(shape.prefixItems ?? []), ...(shape.oneOf ?? []), ...(shape.allOf ?? [])];
  const all = [
    ...(shape.$ref ? [nameOf(shape.$ref)] : []),
    ...inner.flatMap((one) => (one ? named(one) : [])),
  ];
  return [...new Set(all)];
}

export interface Field {
  name: string;
  type: string;
  names: string[];
  needed: boolean;
  says: string;
}

/** The fields of a type; those of the types it is made of too. */
export function fields(shape: Shape, api: OpenApi): Field[] {
  if (shape.$ref) return fields(api.components.schemas[nameOf(shape.$ref)] ?? {}, api);
  const own = Object.entries(shape.properties ?? {}).map(([name, property]) => ({
    name,
    type: typeOf(property),
    names: named(property),
    needed: shape.required?.includes(name) ?? false,
    says: property.description ?? '',
  }));
  return [...(shape.allOf ?? []).flatMap((part) => fields(part, api)), ...own];
}

export interface Outcome {
  status: string;
  says: string;
  media: string;
  /** The type of the body, or of each event. */
  shapes: [name: string, shape: Shape][];
}

export function outcomes(operation: Operation, api: OpenApi): Outcome[] {
  return Object.entries(operation.responses).map(([status, reply]) => {
    const told = reply.$ref ? (api.components.responses[nameOf(reply.$ref)] ?? {}) : reply;
    const [media = '', content] = Object.entries(told.content ?? {})[0] ?? [];
    const events = Object.entries(content?.['x-events'] ?? {});
    const shapes: [string, Shape][] =
      events.length > 0 ? events : content?.schema ? [['', content.schema]] : [];
    return { status, says: told.description ?? '', media, shapes };
  });
}

const SAMPLE: Record<string, unknown> = {
  string: '…',
  integer: 1,
  number: 1,
  boolean: false,
  object: {},
  array: [],
};

/** A body with what has to be said, to be filled in. */
export function sample(shape: Shape, api: OpenApi, depth = 0): unknown {
  if (shape.$ref)
    return depth > 4 ? {} : sample(api.components.schemas[nameOf(shape.$ref)] ?? {}, api, depth + 1);
  if (shape.enum) return shape.enum[0];
  if (shape.oneOf) return sample(shape.oneOf.find(({ type }) => type !== 'null') ?? {}, api, depth + 1);
  if (shape.properties) {
    const needed = Object.entries(shape.properties).filter(([name]) => shape.required?.includes(name));
    return Object.fromEntries(needed.map(([name, property]) => [name, sample(property, api, depth + 1)]));
  }
  return SAMPLE[[shape.type ?? 'object'].flat()[0] ?? 'object'];
}

const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

/** The same on a command line, with a token from the environment. */
export function curl(operation: Operation, origin: string, api: OpenApi): string {
  const parameters = operation.parameters ?? [];
  const needed = parameters
    .filter((one) => one.in === 'query' && one.required)
    .map(({ name }) => `${name}=…`);
  const address = origin + operation.path + (needed.length > 0 ? `?${needed.join('&')}` : '');
  const lines = [`curl --cacert bedside.pem ${quoted(address)}`];
  if (operation.security.some((way) => 'bearer' in way))
    lines.push('-H "Authorization: Bearer $BEDSIDE_TOKEN"');
  if (operation.security.some((way) => 'scraper' in way))
    lines.push('-H "Authorization: Bearer $METRICS_TOKEN"');
  if (operation.method !== 'GET') lines.push(`-X ${operation.method}`);
  const body = operation.requestBody?.content['application/json']?.schema;
  if (body) {
    lines.push(`-H 'Content-Type: application/json'`);
    lines.push(`-d ${quoted(JSON.stringify(sample(body, api)))}`);
  }
  return lines.join(' \\\n  ');
}
