import { describe, expect, it, vi } from 'vitest';
import { SseParser, readStream, type SseMessage } from './sse';

const STREAM =
  ': alive\n\nevent: overview\ndata: {"a":1}\n\nevent: point\r\ndata: one\r\ndata:two\r\n\r\ndata: plain\n\nevent: lost\n\n';
const MESSAGES = [
  { name: 'overview', text: '{"a":1}' },
  { name: 'point', text: 'one\ntwo' },
  { name: 'message', text: 'plain' },
];

describe('the event stream', () => {
  it('gives the same messages at any cut of the bytes', () => {
    for (let first = 0; first <= STREAM.length; first += 1) {
      for (let second = first; second <= STREAM.length; second += 7) {
        const parser = new SseParser();
        const cuts = [STREAM.slice(0, first), STREAM.slice(first, second), STREAM.slice(second)];
        expect(cuts.flatMap((cut) => parser.feed(cut))).toEqual(MESSAGES);
      }
    }
  });

  it('refuses a line without end', () => {
    const parser = new SseParser();
    expect(() => {
      for (let i = 0; i < 50; i += 1) parser.feed('x'.repeat(100_000));
    }).toThrow('too long');
  });

  it('takes a heartbeat as a sign of life but not as a message', async () => {
    const heard: SseMessage[] = [];
    const alive = vi.fn();
    await readStream(streamOf(': alive\n\n'), 1000, (message) => heard.push(message), alive);
    expect(heard).toEqual([]);
    expect(alive).toHaveBeenCalledOnce();
  });

  it('reads a character cut in two', async () => {
    const bytes = new TextEncoder().encode('data: é\n\n');
    const heard: SseMessage[] = [];
    await readStream(streamOf(bytes.slice(0, 7), bytes.slice(7)), 1000, (message) => heard.push(message));
    expect(heard).toEqual([{ name: 'message', text: 'é' }]);
  });

  it('gives up on a stream that fell silent', async () => {
    vi.useFakeTimers();
    const dead = new ReadableStream<Uint8Array>();
    const reading = expect(readStream(dead, 25_000, () => undefined)).rejects.toThrow('silent');
    await vi.advanceTimersByTimeAsync(25_000);
    await reading;
    vi.useRealTimers();
  });
});

function streamOf(...chunks: (string | Uint8Array)[]): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  return new ReadableStream({
    start(controller) {
      for (const chunk of chunks)
        controller.enqueue(typeof chunk === 'string' ? encoder.encode(chunk) : chunk);
      controller.close();
    },
  });
}
