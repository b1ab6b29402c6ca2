import { describe, expect, it } from 'vitest';
import source from '../../openapi.json?raw';
import {
  curl,
  fields,
  groups,
  named,
  outcomes,
  sample,
  typeOf,
  type OpenApi,
  type Operation,
} from './reference';

const api = JSON.parse(source) as OpenApi;
const operation = (id: string): Operation => {
  const found = groups(api)
    .flatMap(({ operations }) => operations)
    .find(({ operationId }) => operationId === id);
  if (!found) throw new Error(`no ${id}`);
  return found;
};

describe('the description of the API', () => {
  it('shows every operation under one topic', () => {
    const shown = groups(api).flatMap(({ operations }) =>
      operations.map((one) => `${one.method} ${one.path}`),
    );
    const there = Object.entries(api.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
    );
    expect(shown.toSorted()).toEqual(there.toSorted());
    expect(shown.length).toBeGreaterThan(60);
  });

  it('finds operations by words of their address, name or sentence', () => {
    const ids = (text: string) =>
      groups(api, text).flatMap((one) => one.operations.map((each) => each.operationId));
    expect(ids('post worklist cancel')).toEqual(['cancelOrder']);
    expect(ids('RELEASEENTRY')).toEqual(['releaseEntry']);
    expect(ids('no such words')).toEqual([]);
  });

  it('names types in one line', () => {
    expect(typeOf({ type: ['string', 'null'] })).toBe('string or null');
    expect(typeOf({ type: 'array', items: { $ref: '#/components/schemas/Entry' } })).toBe('[Entry]');
    expect(typeOf({ oneOf: [{ type: 'null' }, { $ref: '#/components/schemas/Place' }] })).toBe(
      'null or Place',
    );
    expect(typeOf({ enum: ['up', null] })).toBe('"up" | null');
    expect(typeOf({ type: 'array', prefixItems: [{ type: 'integer' }, { type: 'number' }] })).toBe(
      '[integer, number]',
    );
    expect(typeOf({})).toBe('anything');
    expect(
      named({ oneOf: [{ $ref: 'x/A' }, { items: { $ref: 'x/A' } }, { items: { $ref: 'x/B' } }] }),
    ).toEqual(['A', 'B']);
  });

  it('shows the fields of everything a type is made of', () => {
    const names = fields({ $ref: '#/components/schemas/EntryDetail' }, api).map(({ name }) => name);
    for (const name of ['id', 'raw', 'measurements', 'timeline']) expect(names).toContain(name);
  });

  it('tells what each status means and what comes with it', () => {
    const all = outcomes(operation('releaseEntry'), api);
    expect(all.map(({ status }) => status)).toEqual([
      '202',
      '400',
      '401',
      '403',
      '404',
      '408',
      '409',
      '413',
      '503',
    ]);
    expect(all.find(({ status }) => status === '409')?.media).toBe('application/problem+json');
    const live = outcomes(operation('live'), api).find(({ status }) => status === '200');
    expect(live?.shapes.map(([name]) => name).toSorted()).toEqual(['overview', 'point']);
  });

  it('gives a command that asks for it, whatever stands in the address', () => {
    expect(curl(operation('deviceTrend'), 'https://box', api)).toBe(
      `curl --cacert bedside.pem 'https://box/api/v1/devices/{key}/trend?code=…' \\\n  -H "Authorization: Bearer $BEDSIDE_TOKEN"`,
    );
    const order = curl(operation('addOrder'), "https://o'box", api);
    expect(order).toContain(`'https://o'\\''box/api/v1/worklist'`);
    expect(order).toContain(`-d '{"specimen":"…","tests":[]}'`);
    expect(curl(operation('healthz'), 'https://box', api)).not.toContain('Bearer');
    expect(sample({ $ref: '#/components/schemas/LoginForm' }, api)).toEqual({ username: '…', password: '…' });
  });
});
