import { describe, expect, it } from 'vitest';
import { Problem, asProblem, problemFrom, retryAfter } from './problem';

const answer = (status: number, body: string, headers: Record<string, string> = {}) =>
  new Response(body, { status, headers });

describe('a problem', () => {
  it('carries the words of a problem document', async () => {
    const body = JSON.stringify({
      title: 'Too many tries',
      detail: 'Wait.',
      code: 'too_many_tries',
      status: 429,
    });
    const problem = await problemFrom(answer(429, body, { 'Retry-After': '30' }));
    expect(problem).toMatchObject({
      status: 429,
      title: 'Too many tries',
      detail: 'Wait.',
      code: 'too_many_tries',
    });
    expect(problem.advice).toBe('Wait 30 s, then try again.');
  });

  it('is still usable when the answer is no problem document', async () => {
    for (const body of ['<html>502</html>', '', 'null', '[]', '{"title":7}']) {
      const problem = await problemFrom(answer(502, body));
      expect(problem.title).toBe('The gateway answered 502');
      expect(problem.advice).toContain('bedside status');
    }
  });

  it('always says what to do', () => {
    for (const status of [-1, 0, 400, 401, 403, 404, 409, 410, 413, 422, 429, 500, 503]) {
      expect(new Problem(status, 't', 'd').advice.length).toBeGreaterThan(15);
    }
  });

  it('tells a late answer from none', () => {
    expect(Problem.unreachable(new DOMException('', 'TimeoutError')).title).toContain('too long');
    expect(Problem.unreachable(new TypeError('fetch failed')).title).toContain('does not answer');
  });

  it('wraps whatever was thrown', () => {
    const own = new Problem(409, 't', 'd');
    expect(asProblem(own)).toBe(own);
    expect(asProblem(new Error('boom')).detail).toBe('boom');
    expect(asProblem('boom').detail).toBe('boom');
  });

  it('reads both forms of Retry-After', () => {
    const now = Date.parse('2026-11-22T14:00:00Z');
    expect(retryAfter('120', now)).toBe(120);
    expect(retryAfter('Sun, 22 Nov 2026 14:00:30 GMT', now)).toBe(30);
    expect(retryAfter('Sun, 22 Nov 2026 13:00:00 GMT', now)).toBe(0);
    for (const none of [null, '', 'soon']) expect(retryAfter(none, now)).toBeNull();
  });
});
