import { afterEach, describe, expect, it, vi } from 'vitest';
import { api, query } from './api';
import { ExactNumber } from './json';
import { Problem } from './problem';

function answering(status: number, body = '', headers: Record<string, string> = {}) {
  const fetched = vi.fn((..._: Parameters<typeof fetch>) =>
    Promise.resolve(new Response(status === 204 ? null : body, { status, headers })),
  );
  vi.stubGlobal('fetch', fetched);
  return fetched;
}

afterEach(() => vi.unstubAllGlobals());

describe('the client', () => {
  it('marks every change with the header no foreign page can set', async () => {
    const fetched = answering(204);
    const changes = [
      () => api.logout(),
      () => api.login('a', 'b'),
      () => api.finishSetup('c', 'a', 'b'),
      () => api.release(7),
      () => api.replay(7),
    ];
    for (const change of changes) {
      await change();
      const init = fetched.mock.lastCall?.[1];
      expect(init?.method).toBe('POST');
      expect(new Headers(init?.headers).get('X-Bedside-Csrf')).toBe('1');
      expect(init?.credentials).toBe('same-origin');
      expect(init?.redirect).toBe('error');
    }
  });

  it('does not mark what only reads', async () => {
    const fetched = answering(200, '{}');
    await api.session();
    expect(new Headers(fetched.mock.lastCall?.[1]?.headers).has('X-Bedside-Csrf')).toBe(false);
  });

  it('escapes keys, so that a device cannot name another address', async () => {
    const fetched = answering(200, '{}');
    await api.device('../setup?x=1#y/é');
    expect(fetched.mock.lastCall?.[0]).toBe('/api/v1/devices/..%2Fsetup%3Fx%3D1%23y%2F%C3%A9');
    await api.trend('a b', 'c&d', 60);
    expect(fetched.mock.lastCall?.[0]).toBe('/api/v1/devices/a%20b/trend?code=c%26d&minutes=60');
  });

  it('keeps every digit of a resource and of the server’s answer', async () => {
    answering(200, '{"id":7,"fhir":[{"value":2.0}],"answer":{"at":"t","status":200,"body":{"total":1.50}}}');
    const entry = await api.entry(7);
    expect(entry.fhir).toEqual([{ value: new ExactNumber('2.0') }]);
    expect(entry.answer?.body).toEqual({ total: new ExactNumber('1.50') });
    expect(entry.answer?.status).toBe(200);
    expect(entry.id).toBe(7);
  });

  it('leaves an entry without an answer without one', async () => {
    answering(200, '{"id":7,"answer":null}');
    expect(await api.entry(7)).toMatchObject({ fhir: [], answer: null });
  });

  it('turns a refusal into a problem', async () => {
    answering(409, '{"title":"It is not held","detail":"It was accepted."}');
    await expect(api.release(7)).rejects.toMatchObject({ status: 409, title: 'It is not held' });
  });

  it('turns a dead line into a problem', async () => {
    vi.stubGlobal('fetch', () => Promise.reject(new TypeError('failed')));
    await expect(api.session()).rejects.toBeInstanceOf(Problem);
  });

  it('leaves out what is not set from a query', () => {
    expect(query({ state: 'held', link: '', device: undefined, before: null, limit: 50 })).toBe(
      '?state=held&limit=50',
    );
    expect(query({})).toBe('');
  });
});
