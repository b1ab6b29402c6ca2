// Server-sent events read from a fetch, not an EventSource: heartbeats count as signs of life here,
// and an answer of 401 is seen as such.

export interface SseMessage {
  name: string;
  text: string;
}

/** No single message of the gateway is near this; a stream without line ends is cut off. */
const PENDING_MAX = 4_000_000;

/** Feed it chunks; it gives the messages that are complete. Follows the WHATWG event stream grammar. */
export class SseParser {
  private pending = '';
  private name = '';
  private lines: string[] = [];

  feed(chunk: string): SseMessage[] {
    this.pending += chunk;
    if (this.pending.length > PENDING_MAX) throw new Error('a live message is too long');
    const messages: SseMessage[] = [];
    for (;;) {
      const end = /\r\n|\n|\r(?!$)/.exec(this.pending);
      if (!end) return messages;
      const line = this.pending.slice(0, end.index);
      this.pending = this.pending.slice(end.index + end[0].length);
      const message = this.line(line);
      if (message) messages.push(message);
    }
  }

  private line(line: string): SseMessage | undefined {
    if (line === '') return this.dispatch();
    const colon = line.indexOf(':');
    if (colon === 0) return undefined;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'event') this.name = value;
    if (field === 'data') this.lines.push(value);
    return undefined;
  }

  private dispatch(): SseMessage | undefined {
    const message = { name: this.name || 'message', text: this.lines.join('\n') };
    const some = this.lines.length > 0;
    this.name = '';
    this.lines = [];
    return some ? message : undefined;
  }
}

/** Reads until the stream ends or nothing, not even a heartbeat, came for `silence_ms`. */
export async function readStream(
  body: ReadableStream<Uint8Array>,
  silence_ms: number,
  hear: (message: SseMessage) => void,
  alive: () => void = () => undefined,
): Promise<void> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  const parser = new SseParser();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const silence = () =>
    new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error('the live stream fell silent')), silence_ms);
    });
  try {
    for (;;) {
      const { done, value } = await Promise.race([reader.read(), silence()]);
      clearTimeout(timer);
      if (done) return;
      alive();
      for (const message of parser.feed(decoder.decode(value, { stream: true }))) hear(message);
    }
  } finally {
    clearTimeout(timer);
    await reader.cancel().catch(() => undefined);
  }
}
